"""What the rules on RSTs and SYNs that were not believed share (chapter 3.2)."""

from __future__ import annotations

from rsttrace.causes.case import Case
from rsttrace.causes.rules._handshake import HANDSHAKE_NS
from rsttrace.causes.rules._received import known_sender, packet_evidence
from rsttrace.packet import ACK, RST, Packet, signed
from rsttrace.records import Record
from rsttrace.strays import TCP_INPUT

# what the segment met, where it is not simply a TCP state
NOTHING, REQUEST = "nothing", "NEW_SYN_RECV"
# states in which both ends have numbers to compare
SYNCHRONIZED = (
    "ESTABLISHED",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
)
# what is missing where the kernel does not name it
UNPROVEN = "which socket the RST met"
STILL_THERE = "whether the entry of the finished connection was still there"
_UNNAMED = (None, "NOT_SPECIFIED")
_PROCESSED = ("tcp_v4_do_rcv", "tcp_v6_do_rcv")


def refused_reset(case: Case) -> Record | None:
    """kfree_skb of a RST that came in, or what its numbers say where the kernel was silent."""
    judged = case.reset.judged
    if judged is None or (judged.kind != "kfree_skb" and not judged.inferred):
        return None
    return judged if judged.packet and judged.packet.has(RST) else None


def met(case: Case, record: Record) -> str | None:
    """A TCP state, NOTHING or REQUEST; None where the kernel does not tell (before 6.11 the drop
    names no socket, and only the functions it came through speak).
    """
    if record.drop_reason == "NO_SOCKET":
        return NOTHING
    if record.state == "LISTEN":
        processed = record.inferred or record.in_stack(*_PROCESSED)
        return record.state if processed else REQUEST
    if record.state:
        return record.tw_substate or record.state
    if record.in_stack("tcp_validate_incoming", "tcp_rcv_established"):
        return "ESTABLISHED"
    if record.in_stack(*_PROCESSED):
        return _without_socket(case)
    return _without_reason(case, record)


def proven(record: Record) -> bool:
    """Did the kernel itself say what the segment met?"""
    return record.state is not None or record.drop_reason == "NO_SOCKET"


def told_by_kernel(record: Record) -> bool:
    """Does the drop name the socket, or its reason rule out that there was none?"""
    return not record.found or record.drop_reason is not None


def _without_socket(case: Case) -> str | None:
    """LISTEN or SYN_SENT: a connection's RST would have come through other functions."""
    shake, flow, table = case.reset.handshake, case.reset.flow, case.facts.listeners
    if shake and shake.tx_ns and not shake.rx_ns:
        return "SYN_SENT"
    listens = table and table.accepting(flow.netns, flow.local, flow.lport)
    return "LISTEN" if listens else None


def _without_reason(case: Case, record: Record) -> str | None:
    """Dropped by tcp_v4_rcv() itself: a request had it, or nothing did."""
    if not record.in_stack(*TCP_INPUT) or record.drop_reason not in _UNNAMED:
        return None
    shake, flow, table = record.handshake, case.reset.flow, case.facts.listeners
    # the peer's SYN came in and was answered, and no connection was made of it
    asked = shake and shake.rx_ns > 0 and case.reset.time_ns - shake.rx_ns <= HANDSHAKE_NS
    listens = table is None or table.accepting(flow.netns, flow.local, flow.lport)
    if asked and listens and not case.recent:
        return REQUEST
    return NOTHING if record.drop_reason is None else None


def request_offset(record: Record) -> int | None:
    """How far the number is from the one that ends a half-open connection, if its SYN was seen."""
    shake, packet = record.handshake, record.packet
    if not shake or not shake.rx_ns or not packet:
        return None
    return signed(packet.seq - shake.rx_seq - 1)


def unnamed(record: Record) -> bool:
    """Freed without a reason, as tcp_check_req() and the timewait code do."""
    return reason_of(record) in _UNNAMED


def reason_of(record: Record) -> str | None:
    """The drop reason, or the one that a newer kernel would have given."""
    return record.inferred or record.drop_reason


def offset_evidence(packet: Packet | None, expected: int | None) -> tuple[str, ...]:
    """How far the number is off."""
    if packet is None or expected is None:
        return ()
    off = signed(packet.seq - expected)
    where = f"{abs(off):,} {'ahead of' if off > 0 else 'behind'} the next one expected"
    return (f"sequence number {packet.seq}: {where if off else 'exactly the next one expected'}",)


def maker_words(case: Case) -> str:
    """Who made the segment, if that is known: a clause for the sentence, or nothing."""
    sender = known_sender(case)
    return f" ({sender.words})" if sender else ""


def refused_evidence(case: Case, record: Record) -> tuple[str, ...]:
    """The drop, the packet, and the sender's record."""
    sender = known_sender(case)
    there = (f"its sender is on this host: {sender.summary}",) if sender else ()
    return (*_judgement(record), *packet_evidence(case), *there)


def _judgement(record: Record) -> tuple[str, ...]:
    if record.inferred:
        return ("this kernel drops it without a word: told by its numbers",)
    return () if unnamed(record) else (f"drop reason {record.drop_reason}",)


def is_forged(case: Case) -> bool:
    """Is it known that somebody else than the peer's TCP made it?"""
    sender = known_sender(case)
    return bool(sender and sender.cause in ("injected-by-local-tool", "firewall-reject"))


def knows_numbers(case: Case) -> bool:
    """Does the RST acknowledge just what this end had sent? A blind guess would not."""
    packet, sock = case.reset.packet, case.sock
    if not packet or not sock or not packet.has(ACK):
        return False
    return 0 <= signed(packet.ack - sock.snd_una) <= signed(sock.snd_nxt - sock.snd_una)
