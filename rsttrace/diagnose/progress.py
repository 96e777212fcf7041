"""How far it is, on stderr: one line that is written again on a terminal, else one at the start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO

from rsttrace.causes.case import count_of

EVERY_SECONDS = 0.25
ERASE = "\r\x1b[K"
HINT = "; Ctrl-C: report now"
COLUMNS = 79


def how_far(seconds: float, limit: float | None, resets: int) -> str:
    """``12 s of 30, 5 resets``."""
    of = "" if limit is None else f" of {limit:g}"
    return f"{int(seconds)} s{of}, {count_of(resets, 'reset')}{HINT}"


class Progress:
    """``alone``: nobody else writes to this terminal, so one line can be written over and over."""

    def __init__(
        self,
        stream: IO[str],
        what: str,
        limit: float | None,
        alone: bool,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._what, self._limit = stream, what, limit
        self._quiet, self._clock = quiet, clock
        self._rewrites = alone and stream.isatty() and not quiet
        self._shown = 0.0
        self._dirty = False

    def start(self) -> None:
        """Say once what is done, where no line is written again."""
        if not self._rewrites:
            limit = "" if self._limit is None else f" for {self._limit:g} s"
            self.say(f"watching {self._what}{limit}{HINT}.")

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self.erase()
            self._write(f"rsttrace: {text}\n")

    def show(self, seconds: float, resets: int) -> None:
        """Write the line again, if it is time."""
        now = self._clock()
        if self._rewrites and now - self._shown >= EVERY_SECONDS:
            self._shown, self._dirty = now, True
            self._write(ERASE + how_far(seconds, self._limit, resets)[:COLUMNS])

    def erase(self) -> None:
        """Leave no trace of it."""
        if self._dirty:
            self._dirty = False
            self._write(ERASE)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # nobody reads it any more
            self._quiet, self._rewrites = True, False
