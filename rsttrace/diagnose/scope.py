"""Which resets belong to what is watched. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from rsttrace.enrich import Process
from rsttrace.explain import Explained

Wanted = Callable[[Explained], bool]
REMEMBER = 16384


def everything(_one: Explained) -> bool:
    """The whole host."""
    return True


def all_of(*wanted: Wanted) -> Wanted:
    """Each of them must want it."""
    return lambda one: all(want(one) for want in wanted)


def processes_of(one: Explained) -> set[int]:
    """Whose connection it is: owner, actor, closer, the task that opened it, who listens there.

    A listener has no part in a connection that was opened from this end.
    """
    facts, history = one.facts, one.reset.history
    opened_here = bool(history and history.active)
    known = (facts.owner, facts.actor, facts.closer, None if opened_here else facts.listener)
    found = {process.pid for process in known if process}
    return found | ({history.pid} if history and history.pid else set())


def by_processes(has: Callable[[int], bool]) -> Wanted:
    """Connections of processes that ``has`` knows."""
    return lambda one: any(has(pid) for pid in processes_of(one))


def by_netns(inodes: Collection[int]) -> Wanted:
    """What happened in these network namespaces."""
    return lambda one: one.reset.flow.netns in inodes


def by_container(holds: Callable[[Process], bool], netns: int | None) -> Wanted:
    """Connections of processes that live in a container.

    ``netns``: its own, None if it shares the host's. There also what nobody is known to have had a
    part in counts; what another process had does not, since the containers of a pod share one.
    """

    def wanted(one: Explained) -> bool:
        facts = one.facts
        known = [p for p in (facts.owner, facts.actor, facts.closer, facts.listener) if p]
        if netns is not None and one.reset.flow.netns != netns:
            return False
        return any(holds(process) for process in known) or (netns is not None and not known)

    return wanted


@dataclass(frozen=True)
class Visited:
    """One connection as it was tried: from this local port, at this time (CLOCK_MONOTONIC)."""

    lport: int
    remote: str
    rport: int
    since_ns: int


def by_visits(pid: int, netns: int, visits: Collection[Visited]) -> Wanted:
    """Connections that process ``pid`` made, from namespace ``netns``.

    A firewall or NAT may change the ports: what happens with the same remote end at that time
    counts as well, unless it is known to be another process's.
    """

    def wanted(one: Explained) -> bool:
        reset, processes = one.reset, processes_of(one)
        if pid in processes:
            return True
        if reset.flow.netns != netns or processes:
            return False
        return any(_same_end(one, visit) for visit in visits)

    return wanted


def _same_end(one: Explained, visit: Visited) -> bool:
    flow = one.reset.flow
    to_there = (flow.remote, flow.rport) == (visit.remote, visit.rport)
    return to_there and one.reset.time_ns >= visit.since_ns


@dataclass(eq=False)
class _Incident:
    """The ends of one reset, and their echoes. ``missing``: ends that must still come."""

    wanted: bool = False
    seen: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    waiting: list[Explained] = field(default_factory=list)


class Choice:
    """Takes explained resets in order and gives back those that are wanted.

    The other end of a wanted reset is wanted, whichever of the two comes first: the first one
    waits for the second. So is an echo of a wanted one. ``others`` counts the rest.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._incidents: dict[int, _Incident] = {}  # by id of a reset
        self.others = 0

    def take(self, one: Explained) -> list[Explained]:
        """What is known to be wanted now, in the order in which it came."""
        incident = self._incident_of(one)
        incident.waiting.append(one)
        incident.wanted = incident.wanted or self._wanted(one)
        if incident.wanted:
            found, incident.waiting = incident.waiting, []
            return found
        if not incident.missing:
            self._refuse(incident)
        return []

    def end(self) -> None:
        """No more will come: what still waits has no other end that is wanted."""
        for incident in self._incidents.values():
            self._refuse(incident)

    def _incident_of(self, one: Explained) -> _Incident:
        own, peer, related = one.reset.id, one.reset.peer, one.related
        ids = [own, *([peer.id] if peer else []), *([related.id] if related else [])]
        known = (self._incidents[n] for n in ids if n in self._incidents)
        incident = next(known, None) or _Incident()
        self._incidents.update(dict.fromkeys(ids, incident))
        incident.seen.add(own)
        incident.missing.discard(own)
        if peer and peer.id not in incident.seen:
            incident.missing.add(peer.id)
        while len(self._incidents) > REMEMBER:
            self._refuse(self._incidents.pop(next(iter(self._incidents))))
        return incident

    def _refuse(self, incident: _Incident) -> None:
        self.others += sum(one.count for one in incident.waiting)
        incident.waiting = []
