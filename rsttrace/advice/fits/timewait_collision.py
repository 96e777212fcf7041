"""Who chose the source port, and what keeps the peer from taking the SYN for a new one."""

from __future__ import annotations

from rsttrace.advice.commands import sysctl
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "timewait-collision"
WANTS = ("conntrack",)
RANGE, TIMESTAMPS = "net.ipv4.ip_local_port_range", "net.ipv4.tcp_timestamps"
LOW = 16384


def fit(case: Case, place: Place) -> Fit | None:
    """Timestamps are what lets TIME_WAIT see that a connection is new."""
    remedies, evidence = [], []
    if place.number(TIMESTAMPS) == 0:
        why = "is 0: with them a new SYN is known as new"
        remedies.append(sysctl(case, TIMESTAMPS, 1, why))
    port, ports = case.reset.flow.lport, _range(place)
    if ports:
        first, last = ports
        evidence.append(f"{RANGE} is {first} to {last} there; this port was {port}")
        if first <= port <= last:
            remedies.append(_widen(case, first, last))
        else:
            remedies.append(
                f"let {case.who} not bind port {port} itself: it is outside of {first} to {last}, "
                "so the kernel did not choose it"
            )
    tracked = place.conntrack
    if tracked and tracked.natted:
        evidence.append(f"connection tracking translates it: {tracked.natted}")
    settles = ("client: do not bind",) if ports else ()
    return Fit(tuple(remedies), tuple(evidence), settles=settles)


def _widen(case: Case, first: int, last: int) -> str:
    """Below 32768 there may be servers: ports they want must be reserved."""
    count = last - first + 1
    if first <= LOW:
        return f"the range has {count} ports already: keep connections open, or use more addresses"
    why = (
        f"{last - LOW + 1} ports in place of {count}; name those of servers in "
        "ip_local_reserved_ports"
    )
    return sysctl(case, RANGE, f"{LOW} {last}", why)


def _range(place: Place) -> tuple[int, int] | None:
    parts = place.settings.get(RANGE, "").split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])
