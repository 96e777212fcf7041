"""Is that all? The resets told, held against the kernel's own TcpOutRsts. Pure.

The kernel counts a RST when its TCP decides to send it, for each network namespace; a
firewall's or a raw socket's are not counted (kernel-resets.md 1 and 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rsttrace.explain import Explained
from rsttrace.model import BY_TCP, SENT, SUPPRESSED

NOT_EXPLAINED = ("unknown", "insufficient-data")


@dataclass(frozen=True)
class Reading:
    """TcpOutRsts of one namespace, and when it was read (CLOCK_MONOTONIC, ns).

    ``counters``: this and others that bear on resets, by nstat's names.
    """

    out_rsts: int
    time_ns: int
    counters: Mapping[str, int] = field(default_factory=dict)


Readings = Mapping[int, Reading]


def readings(answer: Any) -> Readings | None:
    """The helper's answer (enrich/answers/counters.py); None for none."""
    try:
        names = answer["names"]
        rows = {
            int(inode): (int(time_ns), _pairs(names, values))
            for inode, (time_ns, *values) in answer["rows"].items()
        }
        return {inode: Reading(row["TcpOutRsts"], at, row) for inode, (at, row) in rows.items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _pairs(names: list[str], values: list[int]) -> dict[str, int]:
    if len(names) != len(values):
        raise ValueError(names)
    return dict(zip(names, values))


def increments(
    before: Readings | None, after: Readings | None, netns: tuple[int, ...] = ()
) -> dict[str, int] | None:
    """What rose between two readings, summed over these namespaces (empty: all)."""
    if before is None or after is None:
        return None
    total: Counter[str] = Counter()
    for inode, last in after.items():
        known = before[inode].counters if inode in before else {}
        if any(last.counters.get(name, 0) < value for name, value in known.items()):
            known = {}  # a new namespace with the inode number of an old one
        if not netns or inode in netns:
            total.update({n: v - known.get(n, 0) for n, v in last.counters.items()})
    return {name: rise for name, rise in total.items() if rise > 0}


@dataclass(frozen=True)
class Completeness:
    """How the trace compares.

    ``explained``, ``unexplained`` (made by this host's TCP) and ``outside_tcp`` are what was told,
    ``lost`` counts records. ``counted`` is what the kernel counted in the namespaces that could
    be asked, ``told`` what was told of these; both None if they could not be compared, and
    ``why_not`` says why. ``missing``: counted in some namespace but not told, ``surplus``: told
    but not counted. ``gone``: namespaces that ended and took their counters with them.
    """

    explained: int = 0
    unexplained: int = 0
    outside_tcp: int = 0
    lost: int = 0
    counted: int | None = None
    told: int | None = None
    missing: int = 0
    surplus: int = 0
    namespaces: int = 0
    gone: int = 0
    why_not: str = ""

    @property
    def differs(self) -> bool:
        """Were there more or fewer RSTs than were told?"""
        return bool(self.missing or self.surplus)

    @property
    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.explained} explained"]
        if self.unexplained:
            parts.append(f"{self.unexplained} not understood")
        if self.outside_tcp:
            parts.append(f"{self.outside_tcp} made outside TCP")
        told = ", ".join(parts)
        if self.counted is None or self.told is None:
            return f"Sent by this host: {told}. Not held against TcpOutRsts: {self.why_not}."
        text = f"Sent by this host: {told}; the kernel counted {self.counted} (TcpOutRsts)"
        if self.gone:
            noun = "namespace" if self.gone == 1 else "namespaces"
            text += f", without {self.gone} {noun} that ended meanwhile"
        if self.missing:
            text += f". NOT seen: {self.missing}"
        if self.surplus:
            text += f". Seen but not counted: {self.surplus}"
        return text + "."


@dataclass
class Tally:
    """Counts what is told, by namespace; ``compare`` holds it against the counters."""

    _before: Readings | None = None
    # told before the first reading is known; None: nothing has to wait any more
    _waiting: list[tuple[int, bool, int, int]] | None = field(default_factory=list)
    _told: Counter[tuple[int, bool]] = field(default_factory=Counter)
    _after: Readings | None = None
    _outside_time: Counter[int] = field(default_factory=Counter)
    _outside: int = 0

    def start(self, before: Readings | None) -> None:
        """The counters as the trace began; resets of before are in them already. None: they
        could not be read.
        """
        self._before = before
        waiting, self._waiting = self._waiting, None
        for one in waiting or ():
            self._count(*one)

    def stop(self, after: Readings | None) -> None:
        """The counters as the trace ends; resets of later are told, but not in them. None: they
        could not be read.
        """
        self._after = after

    def add(self, one: Explained) -> None:
        """Count one explained reset, if it was made on this host."""
        reset = one.reset
        if reset.direction not in (SENT, SUPPRESSED):
            return
        if reset.maker not in BY_TCP:
            self._outside += one.count
            return
        known = one.verdict.cause not in NOT_EXPLAINED
        told = (reset.flow.netns, known, reset.time_ns, one.count)
        if self._waiting is None:
            self._count(*told)
        else:
            self._waiting.append(told)

    def _count(self, netns: int, known: bool, time_ns: int, count: int) -> None:
        reading = self._before.get(netns) if self._before else None
        if reading and time_ns < reading.time_ns:
            self._outside_time[netns] += count  # in the first reading already
        last = self._after.get(netns) if self._after else None
        if last and time_ns > last.time_ns:
            self._outside_time[netns] += count
        self._told[netns, known] += count

    def compare(self, lost: int, why_not: str = "") -> Completeness:
        """The result. ``why_not``: why the counters cannot be compared, empty if they can."""
        after = self._after
        told = Counter(self._told)
        for netns, known, _, count in self._waiting or ():
            told[netns, known] += count
        result = Completeness(
            explained=sum(n for (_, known), n in told.items() if known),
            unexplained=sum(n for (_, known), n in told.items() if not known),
            outside_tcp=self._outside,
            lost=lost,
            why_not=why_not or "the counters could not be read",
        )
        if why_not or after is None or self._before is None:
            return result
        counted = {netns: self._since(netns, r) for netns, r in after.items()}
        mine = {netns: told[netns, True] + told[netns, False] for netns in after}
        off = [counted[n] - (mine[n] - self._outside_time[n]) for n in after]
        missing = sum(n for n in off if n > 0)
        # told of a namespace that is not known (0, without BTF): it is one of those that lack some
        placed = min(missing, told[0, True] + told[0, False])
        seen = {netns for netns, _ in told if netns} | set(self._before)
        return replace(
            result,
            counted=sum(counted.values()),
            told=sum(counted.values()) - sum(off) + placed,
            missing=missing - placed,
            surplus=-sum(n for n in off if n < 0),
            namespaces=len(after),
            gone=len(seen - set(after)),
            why_not="",
        )

    def _since(self, netns: int, last: Reading) -> int:
        """Counted since the trace began; a smaller number is that of a new namespace."""
        first = self._before.get(netns) if self._before else None
        known = first.out_rsts if first and first.out_rsts <= last.out_rsts else 0
        return last.out_rsts - known
