"""The peer had closed, we wrote on, and our data met a closed socket (chapter 3.1)."""

from __future__ import annotations

from rsttrace.causes.case import ACCEPTED, JUDGEMENT, LIKELY, Case, Finding
from rsttrace.causes.features import JIFFY_MS
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    odd_evidence,
    packet_evidence,
    sender_evidence,
    unless_odd,
)
from rsttrace.packet import ACK

CAUSE = "peer-closed-first"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ("middlebox-reset",)

ABORTED = (
    "half-closed on purpose (shutdown): look at the peer, there is why it aborted",
    "the peer had closed for good: stop writing and close() when read() gives end of file",
)


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset in CLOSE_WAIT: sk_err becomes EPIPE."""
    if not accepted_in(case, "CLOSE_WAIT"):
        return None
    sender = known_sender(case)
    why = f" ({sender.words})" if sender else ""
    wrote = _wrote_on(case)
    packet, aborted = case.reset.packet, False
    if wrote is False and packet and packet.has(ACK):
        what = "had written nothing since, when the peer reset what was left"
    elif wrote and packet and packet.has(ACK) and not sender:
        aborted = True
        what = "wrote on, and the peer aborted (some systems answer late data so)"
    elif wrote:
        what = "wrote on, and the peer answered with a reset"
    else:
        what = "and then the peer reset what was left"
    return Finding(
        LIKELY if aborted else unless_odd(case),
        f"{case.remote} had closed its end; {case.who} had not, {what}{why}.",
        (
            "state CLOSE_WAIT: the peer's FIN had come",
            *(("data was sent after it",) if wrote else ()),
            *(("RST+ACK: an abort; an answer to late data has no ACK",) if aborted else ()),
            *packet_evidence(case),
            *sender_evidence(case),
            *odd_evidence(case),
        ),
        remedies=ABORTED if aborted else None,
    )


def _wrote_on(case: Case) -> bool | None:
    """Did we send data after the peer's FIN? None: not known."""
    sock, history = case.sock, case.history
    if not sock or not history or history.closed:
        return None
    if sock.spoke_ms is None:
        return False
    since_fin_ms = case.seconds_since(history.change_ns) * 1000
    if abs(sock.spoke_ms - since_fin_ms) <= JIFFY_MS:
        return None
    return sock.spoke_ms < since_fin_ms
