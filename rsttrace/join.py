"""Records in order of time to resets: one ``Reset`` for each RST and end. Pure: the clock is
the records' own.

Order of events (kernel-resets.md, chapter 0 rule 9): a passive reset is traced before the
segment leaves and the provoking segment is freed after; an active one is traced after it
left, on loopback even after the peer got it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from rsttrace.model import FORWARDED, RECEIVED, REJECTED, SENT, SUPPRESSED, Reset, maker_of
from rsttrace.packet import RST, Packet
from rsttrace.records import Flow, Record

SETTLE_NS = 5_000_000  # a reset with all its parts waits this long for late details
PATIENCE_NS = 100_000_000  # one with parts missing, e.g. a judgement out of the backlog
SAME_ACT_NS = 1_000_000  # two hooks of one act on one CPU

# the stack of tcp_receive_reset when data, not a RST, met a closed reader (row P7)
_GENUINE = ("tcp_validate_incoming", "tcp_check_req")


def packet_key(p: Packet) -> tuple[object, ...]:
    """What stays the same of a RST on its way through this host."""
    return (p.src, p.sport, p.dst, p.dport, p.seq, p.ack, p.flags, p.ip_id)


def is_genuine(record: Record) -> bool:
    """Is this tcp_receive_reset really about a RST? (rows of chapter 3.1)"""
    if record.state == "SYN_SENT" or not record.in_stack("tcp_rcv_state_process"):
        return True
    return record.in_stack(*_GENUINE)


def reverse(flow: Flow) -> Flow:
    """The same connection seen from the other end."""
    return Flow(flow.remote, flow.rport, flow.local, flow.lport, flow.netns)


class Joiner:
    """Feed records in order of time; take finished resets with ``advance`` and ``flush``."""

    def __init__(self) -> None:
        self._open: list[Reset] = []
        self._sent: dict[Flow, list[Reset]] = defaultdict(list)
        self._received: dict[Flow, list[Reset]] = defaultdict(list)
        self._triggers: dict[int, Reset] = {}
        self._not_a_reset: dict[int, Record] = {}
        self._on_wire: dict[tuple[object, ...], list[Reset]] = defaultdict(list)
        self._next_id = 1
        self._handlers: dict[str, Callable[[Record], None]] = {
            "tcp_send_reset": self._decided,
            "tcp_receive_reset": self._judged,
            "kfree_skb": self._dropped,
            "net_dev_queue": self._left,
            "netif_receive_skb": self._arrived,
            "inet_sk_error_report": self._reported,
        }

    def feed(self, record: Record) -> None:
        """Take one record. Kinds that are not known (a newer recording) are passed over."""
        handler = self._handlers.get(record.kind)
        if handler and record.flow:
            handler(record)

    def advance(self, now_ns: int) -> list[Reset]:
        """Resets that are complete at ``now_ns``, in order of time."""
        return self._finish(lambda r: now_ns - r.time_ns >= _patience(r))

    def flush(self) -> list[Reset]:
        """All that are left, complete or not."""
        return self._finish(lambda r: True)

    # -- the hooks

    def _decided(self, record: Record) -> None:
        reset = None if record.skb else self._active_wire(record)
        if reset:
            reset.decided = record
        else:
            reset = self._new(SENT, record)
            reset.decided = record
        if record.skb:
            self._triggers[record.skb] = reset
            reset.unread_judgement = self._not_a_reset.pop(record.sk, None)

    def _left(self, record: Record) -> None:
        packet = record.packet
        if packet is None or _lower_device(record):
            return
        maker = maker_of(record.frames)
        reset = None
        if maker == "tcp-passive":
            reset = self._passive_decision(record)
        elif maker in (None, "forward") and record.skb_iif:
            if self._passed_through(record):
                return
            reset = self._new(FORWARDED, record)
        if reset is None:
            reset = self._new(SENT, record)
        reset.wire = record
        self._on_wire[packet_key(packet)].append(reset)

    def _arrived(self, record: Record) -> None:
        packet = record.packet
        if packet is None:
            return
        key = packet_key(packet)
        if any(
            other.wire and other.wire.skb == record.skb and not other.judged
            for other in self._on_wire[key]
            if other.direction == RECEIVED and other.flow == record.flow
        ):
            return  # a bridge hands the same packet up once more
        reset = self._new(RECEIVED, record)
        reset.wire = record
        sender = _newest(r for r in self._on_wire[key] if r.direction != RECEIVED and not r.peer)
        if sender and sender.direction == SENT:
            reset.peer, sender.peer = sender, reset
        self._on_wire[key].append(reset)

    def _judged(self, record: Record) -> None:
        if not is_genuine(record):
            self._not_a_reset[record.sk] = record
            return
        flow = _flow(record)
        reset = _oldest(r for r in self._received[flow] if not r.judged)
        if reset is None:
            reset = self._translated(record)
        if reset is None:
            reset = self._new(RECEIVED, record)
        reset.judged = record
        reset.flow = flow

    def _dropped(self, record: Record) -> None:
        packet = record.packet
        if packet is None:
            return
        reset = self._triggers.pop(record.skb, None)
        if reset and not packet.has(RST):
            reset.trigger_drop = record
        elif packet.has(RST):
            self._dropped_reset(record)
        else:
            self._rejected_segment(record)

    def _reported(self, record: Record) -> None:
        for reset in reversed(self._open):
            owner = reset.judged or reset.decided
            if owner and owner.sk == record.sk and owner.sk and not reset.error:
                if record.time_ns - reset.time_ns <= PATIENCE_NS:
                    reset.error = record
                return

    # -- finding the other parts

    def _active_wire(self, record: Record) -> Reset | None:
        """The RST that tcp_send_active_reset() has sent just before it was traced."""

        def fits(reset: Reset) -> bool:
            return bool(
                reset.wire and not reset.decided and maker_of(reset.wire.frames) == "tcp-active"
            )

        same = _newest(r for r in self._sent[_flow(record)] if fits(r))
        return same or _newest(
            r for r in self._open if fits(r) and r.wire and _same_act(r.wire, record)
        )

    def _passive_decision(self, record: Record) -> Reset | None:
        """The decision that a passive RST on the wire belongs to (NAT may have changed it)."""

        def fits(reset: Reset) -> bool:
            return bool(reset.decided and reset.decided.skb and not reset.wire)

        same = _oldest(r for r in self._sent[_flow(record)] if fits(r))
        return same or _newest(
            r for r in self._open if fits(r) and r.decided and _same_act(r.decided, record)
        )

    def _translated(self, record: Record) -> Reset | None:
        """The packet a judgement is about when NAT changed its addresses on the way in."""
        if not record.sock:
            return None
        for reset in reversed(self._open):
            wire = reset.wire
            if (
                reset.direction == RECEIVED
                and wire
                and wire.packet
                and not reset.judged
                and wire.packet.seq == record.sock.rcv_nxt
                and wire.flow
                and wire.flow.netns == _flow(record).netns
                and _same_act(wire, record)
            ):
                return reset
        return None

    def _passed_through(self, record: Record) -> bool:
        """A RST that came in and leaves again: turn the received one into a forwarded one."""
        assert record.packet is not None
        key = packet_key(record.packet)
        for reset in self._on_wire[key]:
            same_place = reset.flow.netns in (0, _flow(record).netns)
            if reset.direction == FORWARDED and same_place:
                return True
            if reset.direction == RECEIVED and same_place and not reset.judged:
                self._received[reset.flow].remove(reset)
                reset.direction = FORWARDED
                reset.flow = _flow(record)
                if reset.peer:
                    reset.peer.peer, reset.peer = None, None
                return True
        return False

    def _dropped_reset(self, record: Record) -> None:
        """A RST that was dropped: our own on its way out, or one that was not accepted."""
        # the drop hook takes every packet as incoming; ours was outgoing
        outgoing = reverse(_flow(record))
        ours = _oldest(r for r in self._sent[outgoing] if r.decided and not r.wire)
        made_here = maker_of(record.frames) in ("tcp-active", "tcp-passive", "firewall")
        if made_here or (ours and record.in_stack("__ip_local_out", "ip6_xmit")):
            if ours is None:
                ours = self._new(SENT, record, outgoing)
            ours.direction = SUPPRESSED
            ours.judged = record
            return
        assert record.packet is not None
        key = packet_key(record.packet)
        reset = _oldest(
            r
            for r in self._on_wire[key]
            if r.direction == RECEIVED and not r.judged and r.flow.netns in (0, _flow(record).netns)
        )
        if reset is None:
            reset = self._new(REJECTED, record)
        reset.direction = REJECTED
        reset.judged = record

    def _rejected_segment(self, record: Record) -> None:
        """A segment that a firewall dropped after it answered with a RST."""
        reset = _newest(
            r
            for r in self._sent[_flow(record)]
            if r.wire and not r.trigger_drop and maker_of(r.wire.frames) == "firewall"
        )
        if reset:
            reset.trigger_drop = record

    # -- keeping

    def _new(self, direction: str, record: Record, flow: Flow | None = None) -> Reset:
        reset = Reset(self._next_id, direction, flow or _flow(record), record.time_ns)
        self._next_id += 1
        self._open.append(reset)
        table = self._received if direction in (RECEIVED, REJECTED) else self._sent
        table[reset.flow].append(reset)
        return reset

    def _finish(self, done: Callable[[Reset], bool]) -> list[Reset]:
        ready = [r for r in self._open if done(r)]
        if not ready:
            return []
        gone = set(map(id, ready))
        self._open = [r for r in self._open if id(r) not in gone]
        for table in (self._sent, self._received, self._on_wire):
            _forget(table, gone)
        self._triggers = {k: r for k, r in self._triggers.items() if id(r) not in gone}
        if not self._open:
            self._not_a_reset.clear()
        return sorted(ready, key=lambda r: (r.time_ns, r.id))


def _patience(reset: Reset) -> int:
    """How long to wait for more parts of this reset, in ns."""
    if reset.direction == SENT:
        complete = bool(reset.wire and (reset.decided or maker_of(reset.wire.frames)))
    else:
        complete = bool(reset.judged or reset.direction == FORWARDED)
    return SETTLE_NS if complete else PATIENCE_NS


def _lower_device(record: Record) -> bool:
    """Is this the same packet at a device below the first (bridge port, VLAN's device)?

    Between the hook and the function that made the packet stands __dev_queue_xmit() once
    for each device.
    """
    depth = 0
    for frame in record.frames:
        if frame == "__dev_queue_xmit":
            depth += 1
        elif maker_of((frame,)):
            return depth > 1
    return False


def _flow(record: Record) -> Flow:
    assert record.flow is not None
    return record.flow


def _same_act(a: Record, b: Record) -> bool:
    return a.cpu == b.cpu and abs(a.time_ns - b.time_ns) <= SAME_ACT_NS


def _oldest(resets: Iterable[Reset]) -> Reset | None:
    return next(iter(resets), None)


def _newest(resets: Iterable[Reset]) -> Reset | None:
    return next(iter(reversed(list(resets))), None)


def _forget(table: dict[object, list[Reset]] | dict, gone: set[int]) -> None:  # type: ignore[type-arg]
    for key in list(table):
        kept = [r for r in table[key] if id(r) not in gone]
        if kept:
            table[key] = kept
        else:
            del table[key]
