"""When a diagnosis is over: its time, its subject, or Ctrl-C; and then until all of it is told."""

from __future__ import annotations

import time
from collections.abc import Callable

from rsttrace.fold import HOLD_NS
from rsttrace.matching import PATIENCE_NS

SETTLE_NS = PATIENCE_NS + 20_000_000


class Ending:
    """Ask it before every poll; True: stop.

    What belongs to the last reset comes a moment later. A poll speaks for the time at which it
    began, and one begins after each call.
    """

    def __init__(
        self,
        over: Callable[[], bool],
        busy: Callable[[], bool],
        seconds: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``over``: is it over before its time? ``busy``: do resets wait for their parts?"""
        self._over, self._busy, self._clock = over, busy, clock
        self._last_ns = clock()
        self._limit_ns = None if seconds is None else self._last_ns + int(seconds * 1e9)
        self._until_ns: int | None = None

    def __call__(self) -> bool:
        spoken_for, self._last_ns = self._last_ns, self._clock()
        if self._until_ns is None:
            late = self._limit_ns is not None and self._last_ns >= self._limit_ns
            if late or self._over():
                self._until_ns = self._last_ns + SETTLE_NS
            return False
        if spoken_for < self._until_ns:
            return False
        return not self._busy() or spoken_for >= self._until_ns + HOLD_NS
