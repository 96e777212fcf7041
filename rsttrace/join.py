"""Records in order of time to resets: one ``Reset`` for each RST and end. Pure: the clock is
the records' own.

Order of events (kernel-resets.md, chapter 0 rule 9): a passive reset is traced before the
segment leaves and the provoking segment is freed after; an active one is traced after it
left, on loopback even after the peer got it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from rsttrace.matching import (
    COPIES,
    PATIENCE_NS,
    at_lower_device,
    ends_request,
    flow_of,
    forget,
    is_challenged_syn,
    is_genuine,
    is_quiet_abort,
    is_trigger,
    kills_timewait,
    newest,
    oldest,
    outdate,
    patience,
    reverse,
    same_abort,
    same_act,
)
from rsttrace.model import FORWARDED, NONE, RECEIVED, REJECTED, SENT, SUPPRESSED, Reset, maker_of
from rsttrace.packet import RST
from rsttrace.records import Flow, Record
from rsttrace.wirepath import WirePath


class Joiner:
    """Feed records in order of time; take finished resets with ``advance`` and ``flush``."""

    def __init__(self) -> None:
        self._open: list[Reset] = []
        self._sent: dict[Flow, list[Reset]] = defaultdict(list)
        self._received: dict[Flow, list[Reset]] = defaultdict(list)
        self._triggers: dict[int, Reset] = {}
        # row P7: tcp_reset() speaks before the answer is decided
        self._not_a_reset: dict[int, Record] = {}
        self._early_errors: dict[int, Record] = {}
        self._wire = WirePath()
        self._next_id = 1
        self._handlers: dict[str, Callable[[Record], None]] = {
            "tcp_send_reset": self._decided,
            "tcp_receive_reset": self._judged,
            "kfree_skb": self._dropped,
            "net_dev_queue": self._left,
            "netif_receive_skb": self._arrived,
            "inet_sk_error_report": self._reported,
        }

    @property
    def busy(self) -> bool:
        """Are there resets that may get more parts?"""
        return bool(self._open or self._early_errors)

    def feed(self, record: Record) -> None:
        """Take one record. Kinds that are not known (a newer recording) are passed over."""
        handler = self._handlers.get(record.kind)
        if handler and record.flow:
            handler(record)

    def advance(self, now_ns: int) -> list[Reset]:
        """Resets that are complete at ``now_ns``, in order of time."""
        outdate(self._not_a_reset, now_ns - PATIENCE_NS)
        self._quiet_aborts(outdate(self._early_errors, now_ns - PATIENCE_NS))
        return self._finish(lambda r: now_ns - r.time_ns >= patience(r))

    def flush(self) -> list[Reset]:
        """All that are left, complete or not."""
        self._not_a_reset.clear()
        self._quiet_aborts(outdate(self._early_errors, None))
        return self._finish(lambda r: True)

    # -- the hooks

    def _decided(self, record: Record) -> None:
        sent = None if record.skb else self._active_wire(record)
        reset = sent or self._new(SENT, record)
        reset.decided = record
        if record.skb:
            self._triggers[record.skb] = reset
            reset.unread_judgement = self._not_a_reset.pop(record.sk, None)
            reset.error = self._early_errors.pop(record.sk, None)
            self._goes_on(record)

    def _left(self, record: Record) -> None:
        packet = record.packet
        if packet is None or at_lower_device(record):
            return
        maker = maker_of(record.frames)
        reset = None
        if maker in (None, "forward") and record.skb_iif:
            self._forwarded(record)
            return
        if maker in (None, "tcp-passive"):  # None: the kernel hides its symbols
            reset = self._passive_decision(record)
        self._wire.add(reset or self._new(SENT, record), record)

    def _forwarded(self, record: Record) -> None:
        """A RST that came in and leaves again; seen once for each device it leaves by."""
        reset = self._wire.passing(record)
        if reset is None:
            self._wire.add(self._new(FORWARDED, record), record)
        elif reset.direction == RECEIVED:
            self._received[reset.flow].remove(reset)
            self._wire.forward(reset, record)

    def _arrived(self, record: Record) -> None:
        if record.packet is None:
            return
        below = self._wire.below(record)
        if below:
            self._received[below.flow].remove(below)
            below.flow = flow_of(record)
            self._received[below.flow].append(below)
            below.wire = record
            return
        sender = self._wire.sender(record)
        reset = self._new(RECEIVED, record)
        for other in self._received[reset.flow][:-1]:
            if other.packet:
                other.siblings += (record.packet,)
                reset.siblings += (other.packet,)
        if sender:
            reset.peer, sender.peer = sender, reset
        self._wire.add(reset, record)

    def _judged(self, record: Record) -> None:
        if not is_genuine(record):
            self._not_a_reset[record.sk] = record
            return
        flow = flow_of(record)
        reset = oldest(r for r in self._received[flow] if not r.judged)
        if reset is None:
            reset = self._translated(record)
        if reset is None and not record.named:
            self._not_a_reset[record.sk] = record  # cannot tell, so no claim
            return
        if reset is None:
            reset = self._new(RECEIVED, record)
        reset.judged = record
        reset.flow = flow
        first = newest(r for r in self._received[flow] if same_abort(r, record))
        if first:
            self._merge(first, reset)

    def _merge(self, first: Reset, reset: Reset) -> None:
        """The two RSTs of one abort: its sender is the first one's."""
        reset.refused_first = first.judged
        first_packet = first.packet
        reset.siblings = tuple(p for p in reset.siblings if p is not first_packet)
        if first.peer:
            if reset.peer:
                reset.peer.peer = None
            reset.peer, first.peer.peer = first.peer, reset
            first.peer = None
        self._discard(first)

    def _goes_on(self, record: Record) -> None:
        """Data that met no socket: was a RST believed here that its sender knows nothing of?"""
        packet = record.packet
        if record.sk or not packet or not packet.length:
            return
        for reset in self._received[flow_of(record)]:
            if reset.direction == RECEIVED and reset.judged:
                reset.after += (packet,)

    def _dropped(self, record: Record) -> None:
        packet = record.packet
        if packet is None:
            return
        if record.in_stack(*COPIES):
            return
        reset = self._triggers.get(record.skb)
        if reset and is_trigger(reset, packet):
            del self._triggers[record.skb]
            reset.trigger_drop = record
        elif packet.has(RST):
            self._dropped_reset(record)
        elif is_challenged_syn(record):
            self._new(REJECTED, record).judged = record
        else:
            self._rejected_segment(record)

    def _reported(self, record: Record) -> None:
        if not record.sk:
            return
        for reset in reversed(self._open):
            owner = reset.judged or reset.decided
            if owner and owner.sk == record.sk:
                if not reset.error:  # tcp_disconnect() reports once more
                    reset.error = record
                return
        self._early_errors[record.sk] = record

    # -- finding the other parts

    def _active_wire(self, record: Record) -> Reset | None:
        """The RST that tcp_send_active_reset() has sent just before it was traced."""

        def fits(reset: Reset) -> bool:
            # on its way out it was seen at the device, or dropped by a firewall before
            seen = {SENT: reset.wire, SUPPRESSED: reset.judged}.get(reset.direction)
            by_tcp = seen and maker_of(seen.frames) in ("tcp-active", None)
            return bool(by_tcp and not reset.decided)

        same = newest(r for r in self._sent[flow_of(record)] if fits(r))
        return same or newest(r for r in self._open if fits(r) and same_act(r.main, record))

    def _passive_decision(self, record: Record) -> Reset | None:
        """The decision that a passive RST on the wire belongs to (NAT may have changed it)."""

        def fits(reset: Reset) -> bool:
            waiting = reset.direction == SENT and not reset.wire
            return bool(waiting and reset.decided and reset.decided.skb)

        same = oldest(r for r in self._sent[flow_of(record)] if fits(r))
        return same or newest(
            r for r in self._open if fits(r) and r.decided and same_act(r.decided, record)
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
                and wire.flow.netns == flow_of(record).netns
                and same_act(wire, record)
            ):
                return reset
        return None

    def _dropped_reset(self, record: Record) -> None:
        """A RST that was dropped: our own on its way out, or one that was not accepted."""
        # the drop hook takes every packet as incoming; ours was outgoing
        outgoing = reverse(flow_of(record))
        ours = oldest(r for r in self._sent[outgoing] if r.decided and not r.wire)
        made_here = maker_of(record.frames) in ("tcp-active", "tcp-passive", "firewall")
        if made_here or (ours and record.in_stack("__ip_local_out", "ip6_xmit")):
            if ours is None:
                ours = self._new(SENT, record, outgoing)
            ours.direction = SUPPRESSED
            ours.judged = record
            return
        reset = self._wire.arrival(record)
        if record.drop_reason == "OTHERHOST":
            self._discard(reset)
            return
        if reset is None:
            reset = self._new(REJECTED, record)
        timewait = record.state == "TIME_WAIT" and kills_timewait(record)
        believed = timewait or ends_request(record)
        reset.direction = RECEIVED if believed else REJECTED
        reset.judged = record

    def _rejected_segment(self, record: Record) -> None:
        """A segment that a firewall dropped after it answered with a RST."""
        reset = newest(
            r
            for r in self._sent[flow_of(record)]
            if r.wire and not r.trigger_drop and maker_of(r.wire.frames) == "firewall"
        )
        if reset:
            reset.trigger_drop = record

    def _quiet_aborts(self, reports: list[Record]) -> None:
        """Error reports that no reset explains: an abort without a RST, or nothing of ours."""
        for record in filter(is_quiet_abort, reports):
            self._new(NONE, record).error = record

    # -- keeping

    def _new(self, direction: str, record: Record, flow: Flow | None = None) -> Reset:
        reset = Reset(self._next_id, direction, flow or flow_of(record), record.time_ns)
        self._next_id += 1
        self._open.append(reset)
        table = self._received if direction in (RECEIVED, REJECTED) else self._sent
        table[reset.flow].append(reset)
        return reset

    def _discard(self, reset: Reset | None) -> None:
        """A RST meant for another host, seen because a device is promiscuous."""
        if reset:
            self._open.remove(reset)
            self._drop_from_tables({id(reset)})

    def _drop_from_tables(self, gone: set[int]) -> None:
        forget(self._sent, gone)
        forget(self._received, gone)
        self._wire.forget(gone)
        self._triggers = {k: r for k, r in self._triggers.items() if id(r) not in gone}

    def _finish(self, done: Callable[[Reset], bool]) -> list[Reset]:
        ready = [r for r in self._open if done(r)]
        if not ready:
            return []
        gone = set(map(id, ready))
        self._open = [r for r in self._open if id(r) not in gone]
        self._drop_from_tables(gone)
        return sorted(ready, key=lambda r: (r.time_ns, r.id))
