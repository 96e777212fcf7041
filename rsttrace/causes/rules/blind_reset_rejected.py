"""A RST inside the window but not at its start: challenge ACK (chapters 3.2 and 3.4)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, JUDGEMENT, LIKELY, REFUSED, Case, Finding, count_of
from rsttrace.causes.rules._refused import (
    REQUEST,
    SYNCHRONIZED,
    UNPROVEN,
    is_forged,
    knows_numbers,
    maker_words,
    met,
    offset_evidence,
    proven,
    reason_of,
    refused_evidence,
    refused_reset,
    request_offset,
    unnamed,
)
from rsttrace.packet import ACK, RST
from rsttrace.records import Record

CAUSE = "blind-reset-rejected"
WHEN = (REFUSED,)
NEEDS = (JUDGEMENT,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """kfree_skb with TCP_RESET in a connection, or without a reason at a half-open one."""
    judged = refused_reset(case)
    if judged is None:
        return None
    where = met(case, judged)
    if where == REQUEST and unnamed(judged):
        return _half_open(case, judged)
    if where not in SYNCHRONIZED or reason_of(judged) != "TCP_RESET":
        return None
    sock = case.sock
    others = [p for p in case.reset.siblings if p.has(RST)]
    # the first half of a genuine abort looks like this, until the second comes
    packet = case.reset.packet
    fits = knows_numbers(case) if sock else bool(packet and packet.has(ACK))
    genuine = fits and not is_forged(case)
    return Finding(
        CERTAIN if proven(judged) and not genuine else LIKELY,
        f"A reset in the name of {case.remote}{maker_words(case)} did not have the exact sequence "
        f"number: the kernel asked {case.remote} to confirm (challenge ACK), and the connection "
        f"of {case.who} lives.",
        (
            f"state {where}",
            *offset_evidence(case.reset.packet, sock.rcv_nxt if sock else None),
            _nature(case, len(others)),
            *refused_evidence(case, judged),
        ),
        benign=not others,
        sees="nothing: the connection goes on",
        missing=_missing(judged, genuine),
    )


def _missing(judged: Record, genuine: bool) -> str:
    if genuine:
        return "what the peer answered to the challenge"
    return "" if proven(judged) else UNPROVEN


def _nature(case: Case, others: int) -> str:
    """What the packet says about who made it."""
    if others:
        return f"{count_of(others, 'more RST')} of this connection at about that time: guesses"
    if knows_numbers(case):
        return (
            "its ACK fits, so its sender sees the connection: perhaps an abort that came before "
            "lost data; the peer then answers the challenge with a RST that fits"
        )
    return "a sender that saw the connection would know the number: a guess, or late"


def _half_open(case: Case, judged: Record) -> Finding | None:
    """Only LIKELY: some kernels believe any RST in the window there, and say no more of it."""
    offset = request_offset(judged)
    if not offset:
        return None
    packet = judged.packet
    return Finding(
        LIKELY,
        f"A reset in the name of {case.remote}{maker_words(case)} did not have the exact sequence "
        f"number, so it should not have ended the half-open connection to {case.local}.",
        (
            "a half-open connection (NEW_SYN_RECV)",
            *offset_evidence(packet, packet.seq - offset if packet else None),
            *refused_evidence(case, judged),
        ),
        phase="establishment",
        sees="nothing: no application knows of the connection yet",
        missing="whether this kernel asks for the exact number in a handshake",
    )
