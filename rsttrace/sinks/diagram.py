"""The time-sequence diagram of one reset: two lanes, the other end on the left. Pure.

The diagrams of the catalogue have the same form: ``arrow`` draws theirs as well.
"""

from __future__ import annotations

import textwrap

from rsttrace.causes.case import duration
from rsttrace.explain import Explained
from rsttrace.model import FORWARDED
from rsttrace.records import at
from rsttrace.sinks.sequence import (
    BOTH,
    DROPPED,
    MADE_BY,
    NO_ARROW,
    TO_PEER,
    Event,
    events_of,
    reset_ns,
)

MIN_WIDTH = 60  # with less there is no room for two lanes and a note
BODY = 33  # columns of an arrow, as in the catalogue
NARROW_BODY = 25
GAP_NS = 1_000_000_000  # a longer pause is shown


def arrow(way: str, label: str, size: int = BODY) -> str:
    """An arrow of ``size`` columns with its label in the middle: ``<---- RST -----``.

    ``way``: as in sequence.py; a dropped one was on its way to the left.
    """
    tail = " " * (size // 4) if way == DROPPED else ""
    size -= len(tail)
    middle = f" {label[: size - 6]} " if label else ""
    dashes = size - len(middle) - len(way)
    left = dashes // 2
    body = "-" * left + middle + "-" * (dashes - left)
    if way in (TO_PEER, DROPPED):
        return tail + way + body
    return f"<{body}>" if way == BOTH else body + way


def diagram(explained: Explained, width: int = 80) -> list[str]:
    """Lines of at most ``width`` columns; none if nothing was seen or there is no room."""
    events = events_of(explained)
    if width < MIN_WIDTH or not events:
        return []
    zero = reset_ns(explained.reset)
    clocks = [_clock(event, zero) for event in events]
    sheet = _Sheet(max(map(len, (*clocks, "..."))), width)
    lines = sheet.head(*_ends(explained))
    for number, (clock, event) in enumerate(zip(clocks, events)):
        if number:
            lines += sheet.pause(events[number - 1], event)
        lines += sheet.event(clock, event)
    return [line.rstrip() for line in [*lines, sheet.lanes()]]


def _clock(event: Event, zero: int) -> str:
    """Time before or after the reset."""
    if not event.timed:
        return ""
    seconds = (event.time_ns - zero) / 1e9
    apart = duration(abs(seconds))
    return "0" if apart == "0 us" else f"{'-' if seconds < 0 else '+'}{apart}"


def _ends(explained: Explained) -> tuple[str, str, str]:
    """Labels of the left and the right lane, and the process on the right.

    A RST that passes, or that TCP did not make, need not be from an address of this host.
    """
    reset, facts = explained.reset, explained.facts
    process = facts.owner or facts.closer
    elsewhere = reset.direction == FORWARDED or reset.maker in MADE_BY
    left, right = ("to", "from") if elsewhere else ("peer", "here")
    return (
        f"{left} {at(reset.flow.remote, reset.flow.rport)}",
        f"{right} {at(reset.flow.local, reset.flow.lport)}",
        _one_line(process.name) if process and reset.direction != FORWARDED else "",
    )


def _one_line(text: str) -> str:
    """Without line ends and control characters: a process may have any name."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _rows(note: str, room: int) -> list[str]:
    """A note in rows, broken at its commas first."""
    rows: list[str] = []
    for part in _one_line(note).split(", "):
        if rows and len(rows[-1]) + 2 + len(part) <= room:
            rows[-1] += f", {part}"
        else:
            rows.append(part)
    return [line for row in rows for line in textwrap.wrap(row, room, break_on_hyphens=False)]


class _Sheet:
    """Where the columns are: time, left lane, arrows, right lane, notes."""

    def __init__(self, time: int, width: int) -> None:
        self._time = time
        self._width = width
        self._left = time + 2
        self._body = BODY if width >= 76 else NARROW_BODY
        self._right = self._left + self._body + 3
        self._notes = max(12, width - self._right - 3)

    def head(self, left: str, right: str, process: str) -> list[str]:
        """The labels above their lanes; one below the other where they are long."""
        whole = f"{right} {process}".rstrip()
        below = []
        if self._right + len(whole) > self._width and process:
            whole, below = right, [self._label(process, self._right)]
        if self._left + len(left) + 2 > self._right or self._right + len(whole) > self._width:
            return [self._label(left, self._left), self._label(whole, self._right), *below]
        return [f"{' ' * self._left}{left}".ljust(self._right) + whole, *below]

    def _label(self, text: str, column: int) -> str:
        text = text[: self._width]
        return " " * min(column, self._width - len(text)) + text

    def lanes(self, body: str = "", time: str = "", note: str = "", lane: str = "|") -> str:
        """A row: time, the left lane, what is between, the right lane, a note."""
        row = f"{time:>{self._time}}  {lane} {body:{self._body}} {lane}"
        return f"{row}  {note}" if note else row

    def event(self, clock: str, event: Event) -> list[str]:
        """The rows of one event."""
        notes = [row for note in event.notes for row in _rows(note, self._notes)]
        body = "" if event.way == NO_ARROW else arrow(event.way, event.label, self._body)
        first, *rest = notes or [""]
        return [self.lanes(body, clock, first), *(self.lanes(note=note) for note in rest)]

    def pause(self, before: Event, after: Event) -> list[str]:
        """A row that says how long nothing was seen, if that was long."""
        gap = after.time_ns - before.time_ns
        if gap < GAP_NS:
            return []
        return [self.lanes(duration(gap / 1e9).center(self._body), "...", lane=":")]
