"""Keepalive probes were not answered (row A8, TCP_USER_TIMEOUT not set)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    SOCKET,
    STACK,
    Case,
    Finding,
    count_of,
    duration,
    reason_evidence,
)
from rsttrace.records import Sock

CAUSE = "keepalive-timeout"
WHEN = (ACTIVE,)
NEEDS = (STACK, SOCKET)
AFTER = ()
TIMER = "tcp_keepalive_timer"


def silent_sock(case: Case) -> Sock | None:
    """The socket whose peer did not answer keepalive probes if this is row A8, else None.

    The same timer also ends orphans in FIN_WAIT2 (row A9). Subflows of MPTCP have it as well.
    """
    sock = case.sock
    if not sock or not case.reset.in_stack(TIMER):
        return None
    return None if sock.dead and case.reset.state == "FIN_WAIT2" else sock


def silence(sock: Sock) -> str:
    """`` for 2.1 h``: how long nothing was heard, empty if that is not known."""
    return "" if sock.heard_ms is None else f" for {duration(sock.heard_ms / 1000)}"


def silence_evidence(case: Case, sock: Sock) -> tuple[str, ...]:
    """The facts that row A8 rests on."""
    heard = f"no data and no ACK came from {case.remote}{silence(sock)}"
    return (
        f"{count_of(sock.probes_out, 'keepalive probe')} sent, none answered",
        heard if sock.heard_ms is not None else "",
        case.stack_evidence("tcp_send_active_reset", TIMER),
        f"the state was still {case.reset.state}",
        *reason_evidence(case),
    )


def rule(case: Case) -> Finding | None:
    """tcp_keepalive_timer() counts probes only if TCP_USER_TIMEOUT is 0."""
    sock = silent_sock(case)
    if sock is None or sock.user_timeout:
        return None
    probes = count_of(sock.probes_out, "keepalive probe")
    return Finding(
        CERTAIN,
        f"{case.remote} was silent{silence(sock)} and did not answer {probes} of {case.who}: "
        "the kernel gave the connection up.",
        ("TCP_USER_TIMEOUT is not set", *silence_evidence(case, sock)),
    )
