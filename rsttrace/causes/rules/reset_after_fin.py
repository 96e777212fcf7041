"""We had closed; a RST cut the goodbye short (chapter 3.1)."""

from __future__ import annotations

from rsttrace.causes.case import ACCEPTED, JUDGEMENT, Case, Finding, count_of
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    odd_evidence,
    packet_evidence,
    sender_evidence,
    unless_odd,
)
from rsttrace.model import RECEIVED
from rsttrace.packet import ACK, signed

CAUSE = "reset-after-fin"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ("middlebox-reset",)
CLOSING = ("FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK")

CUT_SHORT = (
    "look at the peer, or the load balancer before it: why did it reset before all had arrived?",
    "to know that all has arrived, wait for the peer's FIN (shutdown(SHUT_WR), then read) "
    "before close()",
)


def _ended_minisocket(case: Case) -> bool:
    """After close() and the ACK of our FIN only a small entry waits for the peer's FIN; any
    in-window RST ends it, and is freed as a drop (tcp_timewait_state_process()).
    """
    judged = case.reset.judged
    believed = case.reset.direction == RECEIVED and judged and judged.kind == "kfree_skb"
    return bool(believed and judged and judged.tw_substate == "FIN_WAIT2")


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset after our own FIN, or a RST that ended the timewait entry of FIN_WAIT2."""
    orphan = _ended_minisocket(case)
    if not orphan and not accepted_in(case, *CLOSING):
        return None
    sender = known_sender(case)
    sock = case.sock
    # without BTF: inet_sk_error_report speaks only where an application is to be told
    still_open = bool(sock.has_socket if sock else case.blind and case.reset.error)
    # after the peer's own FIN a read finds the end of the stream before the error
    fin_came = case.reset.state in ("CLOSING", "LAST_ACK")
    # a FIN counts one; what the RST acknowledges has arrived
    packet = case.reset.packet
    lost = max(0, sock.unacked - 1) if sock else 0
    if sock and packet and packet.has(ACK):
        lost = min(lost, max(0, signed(sock.write_seq - 1 - packet.ack)))
    if case.blind and not still_open:
        harm, sees = "whether all that was sent has arrived is not known", None
    elif lost and not still_open:
        left = count_of(lost, "byte")
        harm, sees = f"{left} written before close() may not have arrived", None
    elif not still_open:
        harm, sees = "no application holds the socket any more", None
    elif fin_came:
        harm, sees = f"{case.who} still holds the socket", "end of file; SO_ERROR is ECONNRESET"
    else:
        harm, sees = f"{case.who} still holds the socket", "ECONNRESET on the next read"
    why = f" ({sender.words})" if sender else ""
    return Finding(
        unless_odd(case),
        f"This end had already closed when {case.remote} reset the connection{why}; {harm}.",
        (
            f"state {case.reset.state_before}" + (" (a timewait entry)" if orphan else ""),
            *packet_evidence(case),
            *sender_evidence(case),
            *odd_evidence(case),
        ),
        benign=not still_open and not lost and not case.blind,
        remedies=CUT_SHORT if lost and not still_open else None,
        sees=sees,
    )
