"""Is that all? The resets told, held against the kernel's own TcpOutRsts. Pure.

The kernel counts a RST when its TCP decides to send it, for each network namespace; a
firewall's or a raw socket's are not counted (kernel-resets.md 1 and 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rsttrace.explain import Explained
from rsttrace.model import SENT, SUPPRESSED

NOT_EXPLAINED = ("unknown", "insufficient-data")
BY_TCP = ("tcp-active", "tcp-passive")


@dataclass(frozen=True)
class Reading:
    """TcpOutRsts of one namespace, and when it was read (CLOCK_MONOTONIC, ns)."""

    out_rsts: int
    time_ns: int


Readings = Mapping[int, Reading]


@dataclass(frozen=True)
class Completeness:
    """How the trace compares. All counts are RSTs made on this host while both readings cover.

    ``counted`` is None when the counters were not compared; ``why_not`` then says why.
    ``gone``: namespaces that took their counters with them.
    """

    counted: int | None
    explained: int
    unexplained: int
    outside_tcp: int
    lost: int
    namespaces: int = 0
    gone: int = 0
    why_not: str = ""

    @property
    def differs(self) -> bool:
        """Are there more or fewer RSTs than were told?"""
        return self.counted is not None and self.counted != self.explained + self.unexplained

    @property
    def sentence(self) -> str:
        """For people."""
        told = self.explained + self.unexplained
        if self.counted is None:
            return f"Not held against the kernel's TcpOutRsts: {self.why_not}."
        text = f"The kernel counted {self.counted} sent (TcpOutRsts), {self.explained} explained"
        if self.unexplained:
            text += f", {self.unexplained} not understood"
        if self.outside_tcp:
            text += f"; {self.outside_tcp} more made outside TCP"
        if self.gone:
            text += f"; {self.gone} namespaces ended before they could be asked"
        if self.differs:
            missing = self.counted - told
            text += f". {abs(missing)} {'were not seen' if missing > 0 else 'seen but not counted'}"
        return text + "."


@dataclass
class Tally:
    """Counts what is told, by namespace and time; ``compare`` holds it against the counters."""

    before: Readings = field(default_factory=dict)
    _told: Counter[tuple[int, bool]] = field(default_factory=Counter)
    _early: dict[int, list[tuple[int, bool, int]]] = field(default_factory=dict)
    _outside: int = 0

    def add(self, one: Explained) -> None:
        """Count one explained reset that was made on this host."""
        reset = one.reset
        if reset.direction not in (SENT, SUPPRESSED):
            return
        if reset.maker not in BY_TCP:
            self._outside += one.count
            return
        netns, known = reset.flow.netns, one.verdict.cause not in NOT_EXPLAINED
        reading = self.before.get(netns)
        if reading and reset.time_ns < reading.time_ns:
            return  # the counter had it already
        self._told[netns, known] += one.count

    def compare(self, after: Readings | None, lost: int, why_not: str = "") -> Completeness:
        """The result. ``why_not``: why the counters cannot be compared, empty if they can."""
        known = sum(n for (_, known), n in self._told.items() if known)
        unknown = sum(n for (_, known), n in self._told.items() if not known)
        if after is None or why_not:
            why = why_not or "the counters could not be read"
            return Completeness(None, known, unknown, self._outside, lost, why_not=why)
        gone = {netns for netns, _ in self._told} | set(self.before)
        gone -= set(after)
        counted = 0
        for netns, reading in after.items():
            start = self.before.get(netns)
            counted += reading.out_rsts - (start.out_rsts if start else 0)
        for (netns, was_known), number in self._told.items():
            if netns in gone:
                known -= number * was_known
                unknown -= number * (not was_known)
        spaces = len(after)
        return Completeness(counted, known, unknown, self._outside, lost, spaces, len(gone))
