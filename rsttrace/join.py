"""Records in order of time to resets: one ``Reset`` for each RST and end. Pure: the clock is
the records' own.

Order of events (kernel-resets.md, chapter 0 rule 9): a passive reset is traced before the
segment leaves and the provoking segment is freed after; an active one is traced after it
left, on loopback even after the peer got it.
"""

from __future__ import annotations

from collections.abc import Callable

from rsttrace import strays
from rsttrace.matching import (
    COPIES,
    PATIENCE_NS,
    at_lower_device,
    ends_request,
    flow_of,
    is_answer,
    is_challenged_syn,
    is_exact,
    is_genuine,
    is_outgoing,
    is_quiet_abort,
    is_trigger,
    kills_timewait,
    newest,
    oldest,
    outdate,
    patience,
    reverse,
    same_abort,
)
from rsttrace.model import FORWARDED, NONE, RECEIVED, REJECTED, SENT, SUPPRESSED, Reset, maker_of
from rsttrace.open_resets import OpenResets
from rsttrace.packet import RST
from rsttrace.records import Record


class Joiner:
    """Feed records in order of time; take finished resets with ``advance`` and ``flush``."""

    def __init__(self) -> None:
        self._resets = OpenResets()
        # row P7: tcp_reset() speaks before the answer is decided
        self._not_a_reset: dict[int, Record] = {}
        self._early_errors: dict[int, Record] = {}
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
        return bool(self._resets or self._early_errors)

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

    def _finish(self, done: Callable[[Reset], bool]) -> list[Reset]:
        finished = self._resets.finish(done)
        for reset in finished:
            self._refused_in_silence(reset)
        return finished

    # -- the hooks

    def _decided(self, record: Record) -> None:
        sent = None if record.skb else self._resets.active_wire(record)
        reset = sent or self._resets.new(SENT, record)
        reset.decided = record
        if record.skb:
            self._resets.triggers[record.skb] = reset
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
        # None: the kernel hides its symbols, or the packet had to wait for the neighbour's address
        if maker in (None, "tcp-passive"):
            reset = self._resets.passive_decision(record)
        if maker is None and reset is None:
            reset = self._resets.early_decision(record)
        self._resets.wire.add(reset or self._resets.new(SENT, record), record)

    def _forwarded(self, record: Record) -> None:
        """A RST that came in and leaves again; seen once for each device it leaves by."""
        reset = self._resets.wire.passing(record)
        if reset is None:
            self._resets.wire.add(self._resets.new(FORWARDED, record), record)
        elif reset.direction == RECEIVED:
            self._resets.received[reset.flow].remove(reset)
            self._resets.wire.forward(reset, record)

    def _arrived(self, record: Record) -> None:
        if record.packet is None:
            return
        if not record.packet.has(RST):
            self._challenged(record, strays.judgement(record))
            return
        below = self._resets.wire.below(record)
        if below:
            self._resets.received[below.flow].remove(below)
            below.flow = flow_of(record)
            self._resets.received[below.flow].append(below)
            below.wire = record
            return
        sender = self._resets.wire.sender(record)
        reset = self._resets.new(RECEIVED, record)
        for other in self._resets.received[reset.flow][:-1]:
            if other.packet and other.packet.has(RST):  # not a SYN that was not believed
                other.siblings += (record.packet,)
                reset.siblings += (other.packet,)
        if sender:
            reset.peer, sender.peer = sender, reset
        self._resets.wire.add(reset, record)

    def _challenged(self, record: Record, judgement: Record | None) -> None:
        """A SYN that an established connection did not believe."""
        if judgement:
            self._resets.new(REJECTED, record).judged = judgement

    def _judged(self, record: Record) -> None:
        if not is_genuine(record):
            self._not_a_reset[record.sk] = record
            return
        flow = flow_of(record)
        waiting = [r for r in self._resets.received[flow] if not r.judged]
        reset = oldest(r for r in waiting if is_exact(r, record)) or oldest(waiting)
        for earlier in waiting[: waiting.index(reset)] if reset else ():
            self._refused_in_silence(earlier)
        if reset is None:
            reset = self._resets.translated(record)
        if reset is None and not record.named:
            self._not_a_reset[record.sk] = record  # cannot tell, so no claim
            return
        if reset is None:
            reset = self._resets.new(RECEIVED, record)
        reset.judged = record
        reset.flow = flow
        first = newest(r for r in self._resets.received[flow] if same_abort(r, record))
        if first:
            self._merge(first, reset)

    def _refused_in_silence(self, reset: Reset) -> None:
        """Kernels that free a refused RST without a word leave it to its numbers."""
        if reset.direction == RECEIVED and not reset.judged and reset.wire:
            reset.judged = strays.judgement(reset.wire)
            if reset.judged:
                reset.direction = REJECTED

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
        self._resets.discard(first)

    def _goes_on(self, record: Record) -> None:
        """Data that met no socket: was a RST believed here that its sender knows nothing of?"""
        packet = record.packet
        nobody = not record.sk or record.state == "LISTEN"
        if not nobody or not packet or not packet.length:
            return
        for reset in self._resets.received[flow_of(record)]:
            if reset.direction == RECEIVED and reset.judged:
                reset.after += (packet,)

    def _dropped(self, record: Record) -> None:
        packet = record.packet
        if packet is None:
            return
        if record.in_stack(*COPIES):
            return
        reset = self._resets.triggers.get(record.skb)
        if reset and is_trigger(reset, packet):
            del self._resets.triggers[record.skb]
            reset.trigger_drop = record
        elif packet.has(RST):
            self._dropped_reset(record)
        elif is_challenged_syn(record):
            self._challenged(record, record)
        else:
            self._answered_segment(record)

    def _reported(self, record: Record) -> None:
        if not record.sk:
            return
        for reset in reversed(self._resets):
            owner = reset.judged or reset.decided or reset.error
            if owner and owner.sk == record.sk and reset.direction != REJECTED:
                if not reset.error:  # tcp_disconnect() reports once more
                    reset.error = record
                return
        if is_quiet_abort(record) and record.named:
            self._resets.new(NONE, record).error = record
        else:  # tcp_reset() of row P7 reports before the answer is decided
            self._early_errors[record.sk] = record

    def _dropped_reset(self, record: Record) -> None:
        """A RST that was dropped: our own on its way out, or one that was not accepted."""
        record = strays.credible(record)
        if is_outgoing(record):
            self._suppressed(record)
            return
        reset = self._resets.wire.arrival(record)
        if reset is None and self._resets.wire.was_judged(record):
            return  # a Fast Open child: believed, and then freed as a drop
        if record.drop_reason == "OTHERHOST":
            self._resets.discard(reset)
            return
        if reset is None:
            reset = self._resets.new(REJECTED, record)
        timewait = record.state == "TIME_WAIT" and kills_timewait(record)
        believed = timewait or ends_request(record)
        reset.direction = RECEIVED if believed else REJECTED
        reset.judged = record

    def _suppressed(self, record: Record) -> None:
        # the drop hook takes every packet as incoming; this one was outgoing
        outgoing = reverse(flow_of(record))
        ours = self._resets.leaving(outgoing, record)
        if ours is None and record.named and maker_of(record.frames) in (None, "forward"):
            return  # it waited long (for the neighbour's address): told already
        if ours is None:
            ours = self._resets.new(SENT, record, outgoing)
        ours.direction = SUPPRESSED
        ours.judged = record

    def _answered_segment(self, record: Record) -> None:
        """A segment that was dropped after a firewall, or TCP without a socket, answered it."""
        reset = newest(r for r in self._resets.sent[flow_of(record)] if is_answer(r, record))
        if reset is None:
            return
        reset.trigger_drop = strays.without_socket(record)
        if reset.maker == "tcp-passive":
            reset.decided = strays.decision(record)
            self._goes_on(reset.decided)

    def _quiet_aborts(self, reports: list[Record]) -> None:
        """Error reports that no reset explains: an abort without a RST, or nothing of ours."""
        for record in filter(is_quiet_abort, reports):
            self._resets.new(NONE, record).error = record
