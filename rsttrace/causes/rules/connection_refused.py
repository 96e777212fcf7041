"""Our SYN was answered by a RST: connect() gives ECONNREFUSED (chapter 3.1)."""

from __future__ import annotations

from rsttrace.causes.case import ACCEPTED, CERTAIN, JUDGEMENT, SERVER, Case, Finding, duration
from rsttrace.causes.features import distance
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
    where = "there, on the way or here" if case.blind else "there"
    why = sender.words if sender else f"nothing listens there, or a firewall {where} rejects"
    summary = f"{case.remote} refused the connection of {case.who}: {why}."
    if sender and sender.cause == "firewall-reject":
        summary = (
            f"A firewall on this host, not {case.remote} itself, refused the connection "
            f"of {case.who} to {case.remote}."
        )
    return Finding(
        CERTAIN,
        summary,
        ("state SYN_SENT", *packet_evidence(case), *_how_far(case), *sender_evidence(case)),
        initiator=None if sender or case.blind else SERVER,
    )


def _how_far(case: Case) -> tuple[str, ...]:
    """Time and hops: a device nearby answers sooner and from nearer than a far server."""
    shake, wire, packet = case.reset.handshake, case.reset.wire, case.reset.packet
    found = []
    if shake and shake.tx_ns and wire:
        found.append(f"answered {duration((wire.time_ns - shake.tx_ns) / 1e9)} after our SYN")
    if packet and not case.sender:
        found.append(f"by its TTL it was made {distance(packet.ttl)} away")
    return tuple(found)
