"""Echoes of an abort are told once, with their number and with the reset they belong to. Pure.

One abort draws several resets: each segment that was still on its way meets no connection and
is answered, and each answer meets no socket at the other end (kernel-resets.md 5.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rsttrace.explain import Explained, Related
from rsttrace.model import FORWARDED
from rsttrace.records import Flow

ECHOES = ("late-segment", "reset-no-socket")
# causes that say something about a connection that ended earlier
FOLLOWERS = (*ECHOES, "stale-connection", "unexpected-syn-ack", "data-after-close")
HOLD_NS = 200_000_000
REMEMBER = 16384

_Group = tuple[int, str, str, str, bool]


class Fold:
    """Feed explained resets in order of time; take them back with their echoes folded."""

    def __init__(self) -> None:
        self._first: dict[Flow, Related] = {}
        self._held: dict[_Group, Explained] = {}

    @property
    def busy(self) -> bool:
        """Is an echo held back?"""
        return bool(self._held)

    def feed(self, explained: Iterable[Explained]) -> list[Explained]:
        """What can be told at once: all but echoes."""
        return [one for one in map(self._take, explained) if one]

    def advance(self, now_ns: int | None) -> list[Explained]:
        """Echoes that were held long enough, in order of time; None: all."""
        done = [
            key
            for key, one in self._held.items()
            if now_ns is None or now_ns - one.reset.time_ns >= HOLD_NS
        ]
        return [self._held.pop(key) for key in done]

    def _take(self, one: Explained) -> Explained | None:
        cause, flow = one.verdict.cause, one.reset.flow
        first = self._first.get(flow) if cause in FOLLOWERS else None
        if first and first.time_ns <= one.reset.time_ns:
            one = replace(one, related=first)
        if first is None or cause not in ECHOES:
            self._remember(one)
            return one
        group = (first.id, cause, one.reset.direction, one.verdict.confidence, one.verdict.benign)
        held = self._held.get(group)
        self._held[group] = replace(held, count=held.count + 1) if held else one
        return None

    def _remember(self, one: Explained) -> None:
        reset = one.reset
        if reset.direction == FORWARDED:
            return
        self._first.pop(reset.flow, None)
        self._first[reset.flow] = Related(
            reset.id, one.verdict.cause, reset.direction, reset.time_ns
        )
        if len(self._first) > REMEMBER:
            del self._first[next(iter(self._first))]
