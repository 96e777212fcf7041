"""An orphan in FIN_WAIT2 was not to be waited for any longer (rows A5, A9, P6).

Three ways: close() in FIN_WAIT2 with TCP_LINGER2 negative (A5); the same option, and the ACK of
the FIN comes after close() (P6); tcp_keepalive_timer() finds the time over (A9).
"""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    LIKELY,
    PASSIVE,
    Case,
    Finding,
    duration,
    name_of,
    reason_evidence,
)
from rsttrace.packet import ACK, SYN

CAUSE = "linger2-expired"
WHEN = (ACTIVE, PASSIVE)
NEEDS = ()  # each way by its own facts, see below
AFTER = ()
NO_WAIT = "TCP_LINGER2 is negative: do not wait for the peer's FIN"

TIME_OVER = (
    "peer that never closes its end: let it close() when it reads end of file",
    "a longer wait: TCP_LINGER2 or net.ipv4.tcp_fin_timeout; up to 60 s it ends without a RST",
)


def rule(case: Case) -> Finding | None:
    """Whichever of the three it is."""
    if case.passive:
        return fin_acknowledged(case)
    return closed_in_fin_wait2(case) or time_over(case)


def closer_of(case: Case) -> str:
    """Who closed it, as far as is known."""
    return name_of(case.facts.closer or case.facts.owner, "the application")


def fin_acknowledged(case: Case) -> Finding | None:
    """Row P6 without data: tcp_rcv_state_process() in FIN_WAIT1, linger2 < 0."""
    reset, trigger, sock = case.reset, case.trigger, case.sock
    # with data it is data-after-close, whatever the option says
    if not trigger or trigger.length or trigger.has(SYN) or not trigger.has(ACK):
        return None
    if reset.state != "CLOSE" or not sock or not sock.dead or sock.linger2 >= 0:
        return None
    if reset.reason not in (None, "TCP_ABORT_ON_DATA", "NOT_SPECIFIED"):
        return None
    return Finding(
        CERTAIN,
        f"{closer_of(case)} had closed with TCP_LINGER2 negative, so the kernel answered the ACK "
        "of its FIN by a reset and did not wait for the peer's FIN.",
        (
            NO_WAIT,
            f"{trigger.flag_text} without data acknowledged the FIN of an orphan",
            *reason_evidence(case),
        ),
    )


def closed_in_fin_wait2(case: Case) -> Finding | None:
    """Row A5: __tcp_close() itself, after the socket was orphaned (SOCK_DEAD; row A1: before)."""
    reset, sock = case.reset, case.sock
    named = reset.reason == "TCP_ABORT_ON_LINGER"
    if not named and not _looks_like_a5(case):
        return None
    waiting = reset.state_before == "FIN_WAIT2"
    return Finding(
        CERTAIN if named or waiting else LIKELY,
        f"{closer_of(case)} closed the socket in FIN_WAIT2 with TCP_LINGER2 negative, so the "
        "kernel reset and did not wait for the peer's FIN.",
        (
            NO_WAIT if sock and sock.linger2 < 0 else "",
            case.stack_evidence("tcp_send_active_reset", "__tcp_close", "tcp_close", "do_exit"),
            case.state_evidence(),
            *reason_evidence(case),
        ),
        missing="" if named or waiting else "the state before close()",
    )


def _looks_like_a5(case: Case) -> bool:
    """Without the kernel's reason (before 6.12)."""
    reset, sock = case.reset, case.sock
    if reset.reason not in (None, "NOT_SPECIFIED") or not sock or not sock.dead:
        return False
    if not reset.in_stack("__tcp_close", "tcp_close") or reset.in_stack("tcp_disconnect"):
        return False
    return sock.linger2 < 0 and reset.state_before in (None, "FIN_WAIT2")


def time_over(case: Case) -> Finding | None:
    """Row A9: a full socket, because the wait was to be longer than TCP_TIMEWAIT_LEN (60 s)."""
    reset, sock, history = case.reset, case.sock, case.history
    if not reset.in_stack("tcp_keepalive_timer") or reset.state != "FIN_WAIT2":
        return None
    if not sock or not sock.dead:
        return None
    since = ""
    if history and not history.closed and history.old_state:
        since = f" {duration(case.seconds_since(history.change_ns))} after it began"
    return Finding(
        CERTAIN,
        f"{closer_of(case)} had closed; the wait for the peer's FIN was over{since}, so the kernel "
        "reset what was left of the connection.",
        (
            "an orphan in FIN_WAIT2: everything sent was acknowledged, the peer's FIN had not come",
            NO_WAIT if sock.linger2 < 0 else "its time (TCP_LINGER2 or tcp_fin_timeout) was over",
            case.stack_evidence("tcp_send_active_reset", "tcp_keepalive_timer"),
            *reason_evidence(case),
        ),
        remedies=TIME_OVER,
    )
