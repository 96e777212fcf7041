"""Echoes and repetitions are told once, with their number and the reset they belong to. Pure.

One abort draws several resets: each segment that was still on its way meets no connection and
is answered, and each answer meets no socket at the other end (kernel-resets.md 5.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from rsttrace.explain import Explained, Related
from rsttrace.model import FORWARDED
from rsttrace.records import Flow

ECHOES = ("late-segment", "reset-no-socket")
# causes that say something about a connection that ended earlier
FOLLOWERS = (*ECHOES, "stale-connection", "unexpected-syn-ack", "data-after-close")
# whoever forges resets sends many: the first is told at once
REPEATED = (
    *("injected-by-local-tool", "out-of-window-reset", "blind-reset-rejected"),
    "blind-syn-rejected",
)
REPEAT_NS = 10_000_000_000
RELATED_NS = 3_600_000_000_000
HOLD_NS = 200_000_000
REMEMBER = 16384

_Group = tuple[int, str, str, str, bool]
_Key = TypeVar("_Key")


class Fold:
    """Feed explained resets in order of time; take them back with their echoes folded."""

    def __init__(self) -> None:
        self._first: dict[Flow, Related] = {}
        self._held: dict[_Group, Explained] = {}
        self._repeated: dict[tuple[Flow, str, str], Related] = {}

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
        first = self._first.get(flow) if cause in FOLLOWERS else self._before(one)
        if first and one.reset.time_ns - first.time_ns > RELATED_NS:
            first = None  # ports are used again
        if first and first.time_ns > one.reset.time_ns:
            return one  # it waited for a part of it: this first one came after
        if first:
            one = replace(one, related=first)
        if first is None or cause not in (*ECHOES, *REPEATED):
            self._remember(one)
            return one
        group = (first.id, cause, one.reset.direction, one.verdict.confidence, one.verdict.benign)
        held = self._held.get(group)
        self._held[group] = replace(held, count=held.count + 1) if held else one
        return None

    def _before(self, one: Explained) -> Related | None:
        """The first of a series that this one goes on with."""
        cause, reset = one.verdict.cause, one.reset
        first = self._repeated.get((reset.flow, cause, reset.direction))
        return first if first and reset.time_ns - first.time_ns <= REPEAT_NS else None

    def _remember(self, one: Explained) -> None:
        reset, cause = one.reset, one.verdict.cause
        if reset.direction == FORWARDED:
            return
        this = Related(reset.id, cause, reset.direction, reset.time_ns)
        _keep(self._first, reset.flow, this)
        if cause in REPEATED:
            _keep(self._repeated, (reset.flow, cause, reset.direction), this)


def _keep(table: dict[_Key, Related], key: _Key, this: Related) -> None:
    table.pop(key, None)
    table[key] = this
    if len(table) > REMEMBER:
        del table[next(iter(table))]
