"""A TCP Fast Open connection met a second SYN, or had no place (rows P13, A12)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    PASSIVE,
    STACK,
    Case,
    Finding,
    reason_evidence,
)

CAUSE = "fastopen-reset"
WHEN = (ACTIVE, PASSIVE)
NEEDS = (STACK,)
AFTER = ("closed-port",)


def rule(case: Case) -> Finding | None:
    """tcp_check_req() out of the connection's own code, or a child dropped within the SYN."""
    if case.passive and case.reset.in_stack("tcp_rcv_state_process"):
        return _second_syn(case) if case.reset.in_stack("tcp_check_req") else None
    if case.active_tcp and case.reset.in_stack("inet_child_forget"):
        return _no_place(case) if case.reset.in_stack("tcp_conn_request") else None
    return None


def _second_syn(case: Case) -> Finding:
    sock, trigger = case.sock, case.trigger
    held = "held by an application" if sock and sock.has_socket else "not accepted yet"
    what = trigger.flag_text if trigger else "SYN"
    return Finding(
        CERTAIN,
        f"A second {what} in the name of {case.remote} came into the Fast Open connection to "
        f"{case.local} before its handshake was complete; it was refused, and the connection lives "
        "on.",
        (
            f"state {case.reset.state or 'not known'} of a Fast Open connection, {held}",
            case.stack_evidence("tcp_check_req", "tcp_rcv_state_process"),
            *reason_evidence(case),
        ),
    )


def _no_place(case: Case) -> Finding:
    return Finding(
        CERTAIN,
        f"The Fast Open SYN of {case.remote} came just when {case.local} stopped listening: the "
        "connection it made had no place in an accept queue.",
        (
            case.stack_evidence(
                "inet_child_forget", "inet_csk_reqsk_queue_add", "tcp_conn_request"
            ),
            *reason_evidence(case),
        ),
        sees="ECONNRESET on the first read or write although connect() succeeded",
        remedies=(
            "before a restart take the host out of the load balancer, then let it close its "
            "listening socket",
        ),
    )
