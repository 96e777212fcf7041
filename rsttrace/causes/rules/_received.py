"""Words that the rules on received resets share."""

from __future__ import annotations

from rsttrace.causes.case import UNKNOWN, Case, Sender
from rsttrace.model import RECEIVED
from rsttrace.packet import ACK, Packet


def accepted_in(case: Case, *states: str) -> bool:
    """Was a received RST believed by a socket in one of these states?"""
    judged = case.reset.judged
    if case.reset.direction != RECEIVED or judged is None:
        return False
    return judged.kind == "tcp_receive_reset" and judged.state in states


def packet_evidence(case: Case) -> tuple[str, ...]:
    """The RST as it came in."""
    packet = case.reset.packet
    if packet is None:
        return ("the packet itself was not seen",)
    shake = case.reset.handshake
    ttl = f"TTL {packet.ttl}"
    if shake and shake.rx_ttl:
        ttl += f" (handshake {shake.rx_ttl})"
    return (f"{packet.flag_text}, window {packet.window}, {ttl}",)


def known_sender(case: Case) -> Sender | None:
    """The other end's verdict, when that end is on this host and was understood."""
    sender = case.sender
    return sender if sender and sender.confidence != UNKNOWN else None


def ttl_differs(case: Case) -> bool:
    """Is the RST's TTL off the handshake's by more than routes change (chapter 5.4)?"""
    packet, shake = case.reset.packet, case.reset.handshake
    return bool(packet and shake and shake.rx_ttl and abs(packet.ttl - shake.rx_ttl) > 2)


def sender_evidence(case: Case) -> tuple[str, ...]:
    """What the other end's record says, when that end is on this host."""
    if case.sender is None:
        return ()
    return (f"the other end is on this host: {case.sender.cause}: {case.sender.summary}",)


def fingerprint(packet: Packet | None) -> str:
    """What kind of reset a Linux peer would have meant by this packet (chapter 5.4)."""
    if packet is None:
        return ""
    if packet.has(ACK):
        return "the other application or its kernel aborted the connection"
    if packet.window == 0 and not packet.option_kinds:
        return "the other end has no such connection (any more)"
    return ""
