"""The peer aborted an established connection (chapters 3.1 and 5.4)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, Case, Finding, count_of
from rsttrace.causes.rules._received import (
    accepted_in,
    fingerprint,
    packet_evidence,
    sender_evidence,
)

CAUSE = "peer-reset"


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset in ESTABLISHED. Why the peer did it is known only if it is here too."""
    if not accepted_in(case, "ESTABLISHED"):
        return None
    sock = case.sock
    why = fingerprint(case.reset.packet)
    if case.sender:
        why = case.sender.words
    evidence = ["state ESTABLISHED", *packet_evidence(case), *sender_evidence(case)]
    if sock and sock.unread:
        evidence.append(f"{count_of(sock.unread, 'received byte')} not read yet")
    if sock and sock.unacked:
        evidence.append(f"{count_of(sock.unacked, 'byte')} sent but not acknowledged")
    return Finding(
        CERTAIN,
        f"{case.remote} reset the connection of {case.who}{': ' + why if why else ''}.",
        tuple(evidence),
    )
