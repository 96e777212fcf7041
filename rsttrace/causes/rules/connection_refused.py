"""Our SYN was answered by a RST: connect() gives ECONNREFUSED (chapter 3.1)."""

from __future__ import annotations

from rsttrace.causes.case import ACCEPTED, CERTAIN, JUDGEMENT, SERVER, Case, Finding, duration
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    packet_evidence,
    sender_evidence,
)

CAUSE = "connection-refused"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset in SYN_SENT."""
    if not accepted_in(case, "SYN_SENT"):
        return None
    sender = known_sender(case)
    shake = case.reset.handshake
    after: tuple[str, ...] = ()
    if shake and shake.tx_ns and case.reset.wire:
        took = duration((case.reset.wire.time_ns - shake.tx_ns) / 1e9)
        after = (f"answered {took} after our SYN",)
    why = "nothing listens there, or a firewall there rejects"
    if sender:
        why = sender.words
    summary = f"{case.remote} refused the connection of {case.who}: {why}."
    if sender and sender.cause == "firewall-reject":
        summary = (
            f"A firewall on this host, not {case.remote} itself, refused the connection "
            f"of {case.who} to {case.remote}."
        )
    return Finding(
        CERTAIN,
        summary,
        ("state SYN_SENT", *packet_evidence(case), *after, *sender_evidence(case)),
        initiator=None if sender else SERVER,
    )
