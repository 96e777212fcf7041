"""A RST whose numbers do not fit the connection: dropped in silence (chapter 3.2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, JUDGEMENT, LIKELY, REFUSED, Case, Finding
from rsttrace.causes.rules._refused import (
    REQUEST,
    SYNCHRONIZED,
    UNPROVEN,
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
from rsttrace.packet import ACK
from rsttrace.records import Record

CAUSE = "out-of-window-reset"
WHEN = (REFUSED,)
NEEDS = (JUDGEMENT,)
AFTER = ()

_OUTSIDE = ("TCP_OLD_SEQUENCE", "TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE")
_JUDGED_WHILE_CONNECTING = (
    *("TCP_RESET", "TCP_INVALID_ACK_SEQUENCE", "NOT_SPECIFIED", "TCP_FLAGS"),
    None,
)
_OUTSIDE_REQUEST = (*_OUTSIDE, "TCP_OVERWINDOW", "TCP_RFC7323_PAWS")


def rule(case: Case) -> Finding | None:
    """Outside the window, or not the answer to our SYN."""
    judged = refused_reset(case)
    if judged is None:
        return None
    where = met(case, judged)
    confidence = CERTAIN if proven(judged) else LIKELY
    if where == "SYN_SENT" and reason_of(judged) not in _JUDGED_WHILE_CONNECTING:
        return None  # a signature, a TTL limit or a policy threw it away before
    if where == "SYN_SENT":
        return _connecting(case, judged, confidence)
    if where == REQUEST and reason_of(judged) in _OUTSIDE_REQUEST:
        return _ignored(case, judged, confidence, where, _start_of_request(judged))
    if judged.tw_substate == "FIN_WAIT2" and unnamed(judged):
        return _ignored(case, judged, confidence, "FIN_WAIT2", judged.tw_rcv_nxt)
    if where in SYNCHRONIZED and reason_of(judged) in _OUTSIDE:
        sock = case.sock
        return _ignored(case, judged, confidence, where, sock.rcv_nxt if sock else None)
    return None


def _ignored(
    case: Case, judged: Record, confidence: str, where: str, expected: int | None
) -> Finding:
    held = where != REQUEST and not judged.tw_substate
    owner = f" of {case.who}" if held else ""
    old = reason_of(judged) == "TCP_OLD_SEQUENCE"
    hint = ("a number used up before: most likely a late copy",) if old else ()
    return Finding(
        confidence,
        f"A reset in the name of {case.remote}{maker_words(case)} lay outside the receive window; "
        f"it was ignored, and the connection{owner} goes on.",
        (
            f"state {where}",
            *offset_evidence(judged.packet, expected),
            *hint,
            *refused_evidence(case, judged),
        ),
        phase="establishment" if where == REQUEST else None,
        missing="" if confidence == CERTAIN else UNPROVEN,
    )


def _start_of_request(judged: Record) -> int | None:
    offset, packet = request_offset(judged), judged.packet
    return None if offset is None or packet is None else packet.seq - offset


def _connecting(case: Case, judged: Record, confidence: str) -> Finding | None:
    """SYN_SENT: only a RST that acknowledges our SYN counts (RFC 9293 3.10.7.3)."""
    packet = judged.packet
    if packet is None:
        return None
    flaw = "acknowledged something else than our SYN" if packet.has(ACK) else "had no ACK"
    return Finding(
        confidence,
        f"A reset in the name of {case.remote}{maker_words(case)} {flaw}; it was ignored, and "
        f"{case.who} is still connecting.",
        (
            "state SYN_SENT",
            "an answer to an earlier attempt from the same port, or a forged one",
            *refused_evidence(case, judged),
        ),
        phase="establishment",
        sees="nothing: connect() goes on",
        missing="" if confidence == CERTAIN else UNPROVEN,
    )
