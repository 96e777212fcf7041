"""Words that the rules on received resets share."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, LIKELY, UNKNOWN, Case, Sender, count_of, duration
from rsttrace.causes.features import ahead, doubtful, oddities, told
from rsttrace.model import RECEIVED
from rsttrace.packet import ACK, Packet
from rsttrace.rstpayload import describe


def accepted_in(case: Case, *states: str) -> bool:
    """Was a received RST believed by a socket in one of these states?"""
    judged = case.reset.judged
    if case.reset.direction != RECEIVED or judged is None:
        return False
    return judged.kind == "tcp_receive_reset" and judged.state in states


def packet_evidence(case: Case) -> tuple[str, ...]:
    """The RST as it came in, what it carried, and what came before it in the same abort."""
    packet = case.reset.packet
    if packet is None:
        return ("the packet itself was not seen", *_refused_first(case))
    shake = case.reset.handshake
    ttl = f"TTL {packet.ttl}"
    if shake and shake.rx_ttl:
        ttl += f" (handshake {shake.rx_ttl})"
    words = describe(packet.payload, packet.length)
    return (
        f"{packet.flag_text}, window {packet.window}, {ttl}",
        *((f"the RST carries: {words}",) if words else ()),
        *_refused_first(case),
    )


def _refused_first(case: Case) -> tuple[str, ...]:
    """The first RST of an abort whose data was lost (chapter 3.4)."""
    first, packet = case.reset.refused_first, case.reset.packet
    if first is None:
        return ()
    missing = ""
    if first.packet and packet and (lost := ahead(first.packet.seq, packet.seq)) > 0:
        missing = f", {count_of(lost, 'byte')} ahead"
    ago = duration(case.seconds_since(first.time_ns))
    return (
        f"first half of the same abort: a RST {ago} before{missing}; data before it was lost, so "
        "it drew a challenge ACK, and this RST answers that",
    )


def known_sender(case: Case) -> Sender | None:
    """The other end's verdict, when that end is on this host and was understood."""
    sender = case.sender
    return sender if sender and sender.confidence != UNKNOWN else None


def sender_evidence(case: Case) -> tuple[str, ...]:
    """What the other end's record says, when that end is on this host."""
    if case.sender is None:
        return ()
    return (f"the other end is on this host: {case.sender.cause}: {case.sender.summary}",)


def odd_evidence(case: Case) -> tuple[str, ...]:
    """What about the RST does not fit the peer, where it is too little to accuse a device."""
    return told(oddities(case))


def unless_odd(case: Case) -> str:
    """How sure a verdict is that rests on the peer's having sent the RST."""
    return LIKELY if doubtful(oddities(case)) else CERTAIN


def fingerprint(packet: Packet | None) -> str:
    """What kind of reset a Linux peer would have meant by this packet (chapter 5.4)."""
    if packet is None:
        return ""
    if packet.has(ACK):
        return "the other application or its kernel aborted the connection"
    if packet.window == 0 and not packet.option_kinds:
        return "the other end has no such connection (any more)"
    return ""
