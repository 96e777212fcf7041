"""The peer aborted an established connection (chapters 3.1 and 5.4)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACCEPTED,
    CERTAIN,
    JUDGEMENT,
    LIKELY,
    POSSIBLE,
    Case,
    Finding,
    count_of,
)
from rsttrace.causes.rules._received import (
    accepted_in,
    fingerprint,
    known_sender,
    packet_evidence,
    sender_evidence,
    ttl_differs,
)

CAUSE = "peer-reset"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset in ESTABLISHED. Why the peer did it is known only if it is here too."""
    if not accepted_in(case, "ESTABLISHED"):
        return None
    sender = known_sender(case)
    sock = case.sock
    why = fingerprint(case.reset.packet)
    if sender:
        why = sender.words
    evidence = ["state ESTABLISHED", *packet_evidence(case), *sender_evidence(case)]
    if sock and sock.unread:
        evidence.append(f"{count_of(sock.unread, 'received byte')} not read yet")
    if sock and sock.unacked:
        evidence.append(f"{count_of(sock.unacked, 'byte')} sent but not acknowledged")
    confidence = CERTAIN if sender else LIKELY
    if not sender and ttl_differs(case):
        confidence = POSSIBLE
        evidence.append("the TTL differs from the handshake's: perhaps a device in the path")
    return Finding(
        confidence,
        f"{case.remote} reset the connection of {case.who}{': ' + why if why else ''}.",
        tuple(evidence),
    )
