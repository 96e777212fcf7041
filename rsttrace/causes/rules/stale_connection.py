"""A segment of a connection that this host does not know (rows P1, P2)."""

from __future__ import annotations

from rsttrace.causes.case import (
    LIKELY,
    PASSIVE,
    POSSIBLE,
    RECENT_NS,
    TRIGGER,
    Case,
    Finding,
    count_of,
    duration,
)
from rsttrace.packet import ACK, FIN, SYN

CAUSE = "stale-connection"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("late-segment", "accept-queue-overflow")
# an echo of a connection that ended before the trace began comes within a few round trips
ECHO_NS = 2_000_000_000


def rule(case: Case) -> Finding | None:
    """Data, ACK or FIN that matched no connection, and none with this tuple ended lately."""
    reset, trigger = case.reset, case.trigger
    handshake = case.mptcp_join or reset.in_stack("tcp_check_req")
    listener = case.passive and reset.state == "LISTEN" and not handshake
    if not (case.socketless or listener) or case.recent:
        return None
    if not trigger or trigger.has(SYN) or not trigger.has(ACK):
        return None
    spoke = bool(trigger.length or trigger.has(FIN))
    watched = case.facts.watched_ns
    young = watched is not None and watched < RECENT_NS
    known = "no connection with these addresses and ports ended here within the last minute"
    if young:
        age = duration((watched or 0) / 1e9)
        known = f"none with these addresses and ports ended here in the {age} of this trace"
    what = f"{trigger.flag_text} with {count_of(trigger.length, 'byte')}"
    where = "the port still listens, so the service is up" if listener else "no socket matched"
    return Finding(
        LIKELY if spoke and not (young and (watched or 0) < ECHO_NS) else POSSIBLE,
        f"{case.remote} still uses a connection that this host does not know (any more): "
        "a restart, a time-out without goodbye, or a NAT or load balancer that moved it.",
        (
            f"{what} to {case.local}",
            where,
            known,
            *(() if spoke else ("a bare ACK can also be a scan",)),
        ),
    )
