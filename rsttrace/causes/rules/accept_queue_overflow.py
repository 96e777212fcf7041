"""The accept queue was full and tcp_abort_on_overflow is 1 (row P5)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    POSSIBLE,
    SOCKET,
    STACK,
    TRIGGER,
    Case,
    Finding,
    reason_evidence,
)
from rsttrace.packet import SYN

CAUSE = "accept-queue-overflow"
WHEN = (PASSIVE,)
NEEDS = (STACK, TRIGGER, SOCKET)
AFTER = ("closed-port",)


def rule(case: Case) -> Finding | None:
    """tcp_check_req() answered the last ACK of a handshake, the queue is over its limit."""
    reset, sock, trigger = case.reset, case.sock, case.trigger
    if not case.passive or not reset.in_stack("tcp_check_req") or reset.state != "LISTEN":
        return None
    if not trigger or trigger.has(SYN) or not sock or case.mptcp_join:
        return None
    used = f"{sock.ack_backlog} waiting, limit {sock.max_ack_backlog}"
    evidence = (
        f"accept queue: {used}",
        case.stack_evidence("tcp_check_req", "tcp_v4_rcv", "tcp_v6_rcv"),
        *reason_evidence(case),
        *((f"drop reason {reset.drop_reason}",) if reset.drop_reason else ()),
    )
    if sock.ack_backlog <= sock.max_ack_backlog:
        return _no_socket(case, used, evidence)
    return Finding(
        CERTAIN,
        f"The accept queue of {case.who} on {case.local} is full ({used}), and "
        "tcp_abort_on_overflow=1 makes the kernel reset.",
        evidence,
    )


def _no_socket(case: Case, used: str, evidence: tuple[str, ...]) -> Finding:
    """The same exit of tcp_check_req() serves every failure to make the new socket."""
    # one place less than full: an accept() may have taken one since
    sock = case.sock
    drained = bool(sock and sock.ack_backlog == sock.max_ack_backlog)
    return Finding(
        LIKELY if drained else POSSIBLE,
        f"The connection of {case.remote} could not be handed to {case.who} on {case.local}: its "
        f"accept queue was full until just now ({used}), or memory or a route was missing; "
        "tcp_abort_on_overflow=1 makes the kernel reset.",
        evidence,
        missing="how full the queue was at that moment (TcpExtListenOverflows counts it)",
    )
