"""What was seen of one connection around its reset, in order of time. Pure.

Only what a record tells is here: a FIN or a challenge ACK that no hook shows is left out.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from rsttrace.causes.case import CLIENT, SERVER, Case, count_of, how_it_ended
from rsttrace.explain import Explained, role_of_local_end
from rsttrace.model import FORWARDED, NONE, RECEIVED, REJECTED, SUPPRESSED, Reset
from rsttrace.packet import RST, SYN, Packet
from rsttrace.records import Handshake, History, Record

# ways of an arrow: the other end is on the left, this host on the right
TO_HOST, TO_PEER, BOTH, DROPPED, NO_ARROW = ">", "<", "<>", "x", ""
# a time in jiffies (4 ms, on some kernels 10) is no nearer to another than this
NEAR_NS = 20_000_000
SEVERAL = 3  # of many alike so many are drawn
_CLOSING = ("FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "TIME_WAIT")

MADE_BY = {
    "firewall": "made by this host's firewall",
    "raw-socket": "made by a raw socket",
    "packet-socket": "made by a packet socket",
}
_ENDED_BY = {"tcp_abort": "destroyed by", "__inet_stream_connect": "connect(AF_UNSPEC) by"}


@dataclass(frozen=True)
class Event:
    """One line of the diagram. ``time_ns``: CLOCK_MONOTONIC; not ``timed``: only its place."""

    time_ns: int
    way: str
    label: str
    notes: tuple[str, ...] = ()
    timed: bool = True


def events_of(explained: Explained) -> list[Event]:
    """All events in order of time; of equal times, in the order of the functions below."""
    reset = explained.reset
    found = [
        *_handshake(explained),
        *_life(reset),
        *_data(reset),
        *_refused_first(reset),
        *_trigger(reset),
        *_reset(explained),
        *_told(explained),
    ]
    found.sort(key=lambda e: e.time_ns)
    return [*found, *_several(reset, reset.siblings), *_several(reset, reset.after)]


def reset_ns(reset: Reset) -> int:
    """When the RST itself was seen; the abort, where there is none."""
    seen = reset.wire or reset.judged or reset.decided or reset.error
    return seen.time_ns if seen else reset.time_ns


# -- before ----------------------------------------------------------------------------------------


def _handshake(explained: Explained) -> Iterator[Event]:
    """The SYN and SYN+ACK that were seen, unless one of them is what this reset is about."""
    reset, shake = explained.reset, explained.reset.handshake
    if not shake:
        return
    role = role_of_local_end(Case(reset, explained.facts))
    if role is None and shake.rx_ns and shake.tx_ns:
        role = SERVER if shake.rx_ns < shake.tx_ns else CLIENT
    names = {CLIENT: ("SYN+ACK", "SYN"), SERVER: ("SYN", "SYN+ACK")}
    came, left = names.get(role or "", ("SYN or SYN+ACK",) * 2)
    if shake.rx_ns and not _told_by_packet(reset, shake):
        yield Event(shake.rx_ns, TO_HOST, came)
    if shake.tx_ns:
        yield Event(shake.tx_ns, TO_PEER, left)


def _told_by_packet(reset: Reset, shake: Handshake) -> bool:
    """Is the arrived SYN the trigger, or the refused SYN itself?"""
    found = (reset.trigger, reset.packet if reset.direction == REJECTED else None)
    return any(p and p.has(SYN) and p.seq == shake.rx_seq for p in found)


def _life(reset: Reset) -> Iterator[Event]:
    """ESTABLISHED and closed: of this connection, or of the last one with these ports."""
    history = reset.history
    if not history:
        return
    whose = "earlier: " if history.closed else ""
    if history.established_ns:
        yield Event(history.established_ns, NO_ARROW, "", (f"{whose}ESTABLISHED",))
    if history.close_ns:
        yield Event(history.close_ns, NO_ARROW, "", (whose + _closing(reset, history),))
    if history.closed and history.change_ns:
        yield Event(history.change_ns, NO_ARROW, "", (whose + _end(history),))


def _closing(reset: Reset, history: History) -> str:
    """Who closed, and how."""
    who = f"{history.close_comm}[{history.close_pid}]" if history.close_comm else ""
    if not history.closed_by_process or not who:
        return "closed"
    if history.closed_by_exit:
        return f"closed: {who} {how_it_ended(history.close_exit_code)}"
    act = next((a for f, a in _ENDED_BY.items() if reset.in_stack(f)), "closed by")
    return f"{'closed by' if history.closed else act} {who}"


def _end(history: History) -> str:
    """How the earlier connection ended."""
    if history.sent_reset:
        return "reset by this host"
    if history.got_reset:
        return "reset by the peer"
    if history.errno:
        return f"gave up, {errno_word(history.errno)}"
    return f"ended in {history.old_state}" if history.old_state else "ended"


def _data(reset: Reset) -> list[Event]:
    """When data last went and came, if there was any before the end."""
    sock, found = reset.sock, []
    if not sock or reset.state == "LISTEN":
        return []
    if sock.spoke_ms is not None and (sock.bytes_acked > 1 or sock.unacked):
        time_ns, timed = _when(reset, sock.spoke_ms)
        found.append(Event(time_ns, TO_PEER, "data", ("last data sent",), timed))
    if sock.heard_ms is not None and sock.bytes_received:
        time_ns, timed = _when(reset, sock.heard_ms)
        # what came just now can be the trigger, or the ACK of our FIN
        if timed or not (reset.trigger or reset.state_before in _CLOSING):
            event = Event(time_ns, TO_HOST, "data or ACK", ("last heard of the peer",), timed)
            found.append(event)
    if len(found) == 2 and not any(e.timed for e in found):
        latest = max(e.time_ns for e in found)
        return [Event(latest, BOTH, "data, ACKs", ("just before",), timed=False)]
    return found


def _when(reset: Reset, ago_ms: int) -> tuple[int, bool]:
    """The time that a socket's clock in jiffies names, and whether it tells it from the end's.

    Where it does not, the place is before the close, after which an application sends nothing.
    """
    history = reset.history if reset.history and not reset.history.closed else None
    began_ns, close_ns = (history.established_ns, history.close_ns) if history else (0, 0)
    told_ns = next(r.time_ns for r in reset.records if r.sock is reset.sock)
    end_ns = min(told_ns, reset_ns(reset), close_ns or told_ns)
    time_ns = told_ns - ago_ms * 1_000_000
    if abs(end_ns - time_ns) >= NEAR_NS:
        return max(time_ns, began_ns), True
    return max(min(time_ns, end_ns - 1), began_ns), False


def _refused_first(reset: Reset) -> Iterator[Event]:
    """The first RST of the abort, which was ahead of what had arrived (RFC 5961 3.2)."""
    first = reset.refused_first
    if first and first.packet:
        why = f"refused: {first.drop_reason}" if first.drop_reason else "refused"
        notes = (why, _numbers(reset, first.packet))
        yield Event(first.time_ns, TO_HOST, first.packet.flag_text, notes)


def _trigger(reset: Reset) -> Iterator[Event]:
    """The segment that provoked the RST."""
    packet = reset.trigger
    if not packet:
        return
    seen = [r.time_ns for r in (reset.decided, reset.trigger_drop) if r and r.packet]
    shake = reset.handshake
    if shake and shake.rx_ns and packet.has(SYN) and packet.seq == shake.rx_seq:
        seen.append(shake.rx_ns)
    ours = (packet.src, packet.sport) == (reset.flow.local, reset.flow.lport)
    yield Event(
        min(*seen, reset_ns(reset)),
        TO_PEER if ours else TO_HOST,
        _flags_and_length(packet),
        ("provokes the RST", *_kind(packet)),
    )


# -- the reset -------------------------------------------------------------------------------------


def _reset(explained: Explained) -> Iterator[Event]:
    """The RST, if it was seen; else that the kernel decided on it, or believed it."""
    reset, packet = explained.reset, explained.reset.packet
    if reset.direction == NONE:
        return
    judgement = _judgement(reset)
    if explained.count > 1:
        judgement = (*judgement, f"one of {explained.count} alike")
    if packet:
        way = TO_HOST if reset.direction in (RECEIVED, REJECTED) else TO_PEER
        way = DROPPED if reset.direction == SUPPRESSED else way
        notes = (*judgement, _numbers(reset, packet))
        yield Event(reset_ns(reset), way, _flags_and_length(packet), notes)
    elif reset.direction in (RECEIVED, REJECTED):
        yield Event(reset_ns(reset), NO_ARROW, "", ("RST (the packet was not seen)", *judgement))
    else:
        notes = ("RST decided (not seen leaving)", *judgement)
        yield Event(reset_ns(reset), NO_ARROW, "", notes)


def _judgement(reset: Reset) -> tuple[str, ...]:
    """What became of it here."""
    judged = reset.judged
    drop = f": {judged.drop_reason}" if judged and judged.drop_reason else ""
    if reset.direction == SUPPRESSED:
        return (f"dropped on this host{drop}",)
    if reset.direction == REJECTED:
        return (f"refused{drop}",)
    if reset.direction == FORWARDED:
        return ("passed on by this host",)
    if reset.direction == RECEIVED:
        return (_belief(judged),) if judged else ()
    made = MADE_BY.get(reset.maker or "")
    return (made,) if made else ()


def _belief(judged: Record) -> str:
    """The state in which the RST was believed; what is no full socket is dropped with it."""
    state = judged.tw_substate or judged.state
    if judged.kind == "kfree_skb" and state == "LISTEN":
        return "believed: ends the half-open connection"
    if judged.kind == "kfree_skb" and state:
        return f"believed: ends {state}"
    return f"believed in {state}" if state else "believed"


def _told(explained: Explained) -> Iterator[Event]:
    """The errno that the application on this end gets."""
    reset = explained.reset
    if reset.direction == NONE and reset.error:
        word = errno_word(reset.error.errno)
        yield Event(reset.error.time_ns, NO_ARROW, "", (f"given up without a RST: {word}",))
    elif reset.error and explained.verdict.errno:
        notes = (f"application gets {explained.verdict.errno}",)
        yield Event(max(reset.error.time_ns, reset_ns(reset)), NO_ARROW, "", notes)


def _several(reset: Reset, packets: tuple[Packet, ...]) -> Iterator[Event]:
    """Other RSTs of about then, or data that went on coming; their times are not recorded."""
    now = reset_ns(reset)
    for number, packet in enumerate(packets[:SEVERAL]):
        ours = (packet.src, packet.sport) == (reset.flow.local, reset.flow.lport)
        if packet.has(RST):
            notes = ["" if number else "also came at about then", _numbers(reset, packet)]
        else:
            notes = ["" if number else "after the RST; no socket now", *_kind(packet)]
        way = TO_PEER if ours else TO_HOST
        yield Event(now, way, _flags_and_length(packet), tuple(filter(None, notes)), timed=False)
    if len(packets) > SEVERAL:
        more = f"and {len(packets) - SEVERAL} more of these"
        yield Event(now, NO_ARROW, "", (more,), timed=False)


# -- words -----------------------------------------------------------------------------------------


def errno_word(number: int) -> str:
    """``ECONNRESET``; the number where it has no name."""
    return errno.errorcode.get(number, f"errno {number}")


def _flags_and_length(packet: Packet) -> str:
    """``PSH+ACK 6 bytes``."""
    flags = packet.flag_text
    return f"{flags} {count_of(packet.length, 'byte')}" if packet.length else flags


def _kind(packet: Packet) -> tuple[str, ...]:
    """A payload that tells something."""
    kind = packet.payload_kind
    return (kind,) if kind not in (None, "data", "unknown") else ()


def _numbers(reset: Reset, packet: Packet) -> str:
    """Sequence number (counted from the sender's SYN if that was seen), window and TTL."""
    shake, number = reset.handshake, str(packet.seq)
    if shake:
        ours = (packet.src, packet.sport) == (reset.flow.local, reset.flow.lport)
        start = (shake.tx_ns and shake.tx_seq) if ours else (shake.rx_ns and shake.rx_seq)
        ahead = (packet.seq - start) & 0xFFFFFFFF
        if start and ahead < 1 << 31:
            number = f"SYN+{ahead}"
    return f"seq {number}, win {packet.window}, TTL {packet.ttl}"
