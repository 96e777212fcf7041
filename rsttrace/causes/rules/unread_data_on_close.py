"""Last close() with received bytes unread (row A1)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    DECISION,
    LIKELY,
    SOCKET,
    STACK,
    Case,
    Finding,
    count_of,
    reason_evidence,
)

CAUSE = "unread-data-on-close"
WHEN = (ACTIVE,)
NEEDS = (STACK, DECISION, SOCKET)
AFTER = ("process-exit-unread-data",)
ABORT_ON_CLOSE = "TCP_ABORT_ON_CLOSE"


def closed_unread(case: Case) -> int | None:
    """Unread bytes if this is row A1, else None.

    __tcp_close() itself called tcp_send_active_reset(), and the socket was not orphaned yet:
    SOCK_DEAD is set only later, before rows A5 and A6.
    """
    reset, sock = case.reset, case.sock
    if not case.active_tcp or not sock or sock.dead:
        return None
    if not reset.in_stack("__tcp_close", "tcp_close") or reset.in_stack("tcp_disconnect"):
        return None
    if reset.reason not in (None, ABORT_ON_CLOSE, "NOT_SPECIFIED"):
        return None
    return sock.unread


def closing_evidence(case: Case, unread: int) -> tuple[str, ...]:
    """The facts that row A1 rests on."""
    return (
        f"{count_of(unread, 'byte')} received but not read (rcv_nxt - copied_seq)",
        case.stack_evidence("tcp_send_active_reset", "__tcp_close", "tcp_close", "do_exit"),
        case.state_evidence(),
        *reason_evidence(case),
    )


def rule(case: Case) -> Finding | None:
    """Row A1 while the process lives on."""
    unread = closed_unread(case)
    if unread is None:
        return None
    data = f"{count_of(unread, 'received byte')} {'was' if unread == 1 else 'were'} still unread"
    if not unread:
        data = "the receive queue was not empty"
    return Finding(
        CERTAIN if unread or case.reset.reason == ABORT_ON_CLOSE else LIKELY,
        f"{case.who} closed the socket while {data}, so the kernel reset instead of FIN.",
        closing_evidence(case, unread),
    )
