"""The accept queue of a listener: how full, which limit counts, and how to raise it."""

from __future__ import annotations

from dataclasses import dataclass

from rsttrace.advice.commands import acceptor, boxed, service_of, sysctl
from rsttrace.causes.case import Case, duration, name_of
from rsttrace.enrich.place import Place

SOMAXCONN = "net.core.somaxconn"
AMPLE, MOST = 4096, 65535


@dataclass(frozen=True)
class Queue:
    """``waiting`` connections at the time of the reset, ``limit`` as listen() set it.

    ``half_open``: handshakes that were not complete soon after; ``somaxconn``: as it is now. Both
    None if not known.
    """

    who: str
    waiting: int
    limit: int
    half_open: int | None
    somaxconn: int | None
    evidence: tuple[str, ...] = ()

    @property
    def wanted(self) -> int:
        """A limit with room."""
        return min(MOST, max(AMPLE, 2 * self.limit))


def queue_of(case: Case, place: Place) -> Queue | None:
    """From the reset's own record if that is of the listener, else as it was soon after."""
    sock = case.sock if case.reset.state == "LISTEN" else None
    listening = place.sockets.listening if place.sockets else None
    somaxconn = place.number(SOMAXCONN)
    half_open = listening.half_open if listening else None
    evidence = [] if somaxconn is None else [f"{SOMAXCONN} is {somaxconn} there"]
    if listening:
        evidence.append(
            f"accept queue {later(case, place)} later: {listening.waiting} waiting, limit "
            f"{listening.limit}"
        )
    if sock:
        waiting, limit = sock.ack_backlog, sock.max_ack_backlog
    elif listening:
        waiting, limit = listening.waiting, listening.limit
    else:
        return None
    who = name_of(acceptor(case), "the application")
    return Queue(who, waiting, limit, half_open, somaxconn, tuple(evidence))


def later(case: Case, place: Place) -> str:
    """How long after the reset the host was asked."""
    return duration(max(0, place.time_ns - case.reset.time_ns) / 1e9)


def raise_limit(case: Case, queue: Queue) -> tuple[str, ...]:
    """listen() takes the smaller of its backlog and somaxconn, once: it has to be called again."""
    who, limit, somaxconn = queue.who, queue.limit, queue.somaxconn
    restart = service_of(acceptor(case), who)
    if limit >= MOST:
        return ()
    if somaxconn is None:
        return (
            f"raise the limit of {limit}: the smaller of the backlog that {who} gives to listen() "
            f"and {SOMAXCONN}, which could not be read",
        )
    if limit < somaxconn:
        return (
            f"raise the backlog that {who} gives to listen() from {limit} to "
            f"{min(somaxconn, queue.wanted)} and restart {restart} (a restart alone may do if "
            f"{SOMAXCONN}, now {somaxconn}, was raised after it started)",
        )
    if limit > somaxconn:
        raised = f"is {somaxconn}, less than the limit of {limit}, so it was lowered since"
    else:
        raised = f"is {somaxconn}, the limit that listen() got"
    return (
        _raise_somaxconn(case, queue.wanted, raised, restart),
        f"raise the backlog that {who} gives to listen(), too, if that is not above {limit}",
    )


def _raise_somaxconn(case: Case, wanted: int, why: str, restart: str) -> str:
    """Of a container it is to be told at its start: each start makes a new namespace."""
    if box := boxed(case, acceptor(case)):
        return (
            f"recreate {box} with --sysctl {SOMAXCONN}={wanted} (Kubernetes: "
            f"securityContext.sysctls): {SOMAXCONN} {why}"
        )
    return sysctl(case, SOMAXCONN, wanted, f"{why}; then restart {restart}")
