"""The silence beside the keepalive settings of this end, which can prevent it."""

from __future__ import annotations

from rsttrace.advice.commands import sysctl
from rsttrace.advice.fit import Fit
from rsttrace.advice.timers import TIME
from rsttrace.causes.case import Case, duration
from rsttrace.enrich.place import Place
from rsttrace.records import Sock

CAUSE = "idle-expired"
WANTS = ("conntrack",)
TRACKED = "net.netfilter.nf_conntrack_tcp_timeout_established"
USUAL_S = 300  # below 350 s, the shortest limit that is common
GENERAL = "SO_KEEPALIVE with TCP_KEEPIDLE"


def fit(case: Case, place: Place) -> Fit | None:
    """Nothing is known of the limit but that it is not above this silence."""
    sock = case.sock
    if sock is None or sock.heard_ms is None:
        return None
    idle_s = sock.heard_ms / 1000
    below = max(1, min(USUAL_S, int(idle_s / 2)))
    return Fit(
        (*_own_table(case, place, idle_s), *_keepalive(case, place, sock, below)),
        _evidence(place),
        settles=(GENERAL,),
    )


def _keepalive(case: Case, place: Place, sock: Sock, below: int) -> tuple[str, ...]:
    """tcp_keepalive_time counts only for sockets with SO_KEEPALIVE and no TCP_KEEPIDLE."""
    default = place.number(TIME)
    idle = duration((sock.heard_ms or 0) / 1000)
    if not sock.keepalive:
        late = f": the default, {default} s, is too late" if default and default > below else ""
        return (
            f"switch SO_KEEPALIVE on in {case.who} with TCP_KEEPIDLE={below}{late}; the connection "
            f"was idle for {idle}",
        )
    if default is None or default <= below:
        return (f"{case.who} has SO_KEEPALIVE, but probes too late: set TCP_KEEPIDLE={below}",)
    why = f"is {default}, and the connection was idle for {idle}"
    return (sysctl(case, TIME, below, f"{why}; per socket: TCP_KEEPIDLE={below}"),)


def _own_table(case: Case, place: Place, idle_s: float) -> tuple[str, ...]:
    """Was it this namespace's own connection tracking that forgot? Without NAT it does no harm."""
    limit, tracked = place.number(TRACKED), place.conntrack
    if limit is None or limit > idle_s or not tracked or not tracked.natted:
        return ()
    why = f"is {limit}: this namespace itself forgets connections sooner than that"
    table = "(table size: net.netfilter.nf_conntrack_max)"
    return (sysctl(case, TRACKED, int(idle_s * 2), f"{why} {table}"),)


def _evidence(place: Place) -> tuple[str, ...]:
    default, tracked = place.number(TIME), place.conntrack
    found = [] if default is None else [f"keepalive starts after {default} s there ({TIME})"]
    if tracked and tracked.natted:
        found.append(f"connection tracking translates it: {tracked.natted}")
    return tuple(found)
