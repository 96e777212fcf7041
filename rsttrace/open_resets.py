"""The resets that may still get parts, and how to find the one a record belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from rsttrace.matching import flow_of, forget, newest, oldest, same_act
from rsttrace.model import RECEIVED, REJECTED, SENT, SUPPRESSED, Reset, maker_of
from rsttrace.records import Flow, Record
from rsttrace.wirepath import WirePath


class OpenResets:
    """Tables of the open resets: by flow, by provoking packet, by packet on the wire."""

    def __init__(self) -> None:
        self._open: list[Reset] = []
        self.sent: dict[Flow, list[Reset]] = defaultdict(list)
        self.received: dict[Flow, list[Reset]] = defaultdict(list)
        self.triggers: dict[int, Reset] = {}
        self.wire = WirePath()
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._open)

    def __reversed__(self) -> Iterator[Reset]:
        return reversed(self._open)

    def new(self, direction: str, record: Record, flow: Flow | None = None) -> Reset:
        """A reset of which this record is the first sign."""
        reset = Reset(self._next_id, direction, flow or flow_of(record), record.time_ns)
        self._next_id += 1
        self._open.append(reset)
        table = self.received if direction in (RECEIVED, REJECTED) else self.sent
        table[reset.flow].append(reset)
        return reset

    def discard(self, reset: Reset | None) -> None:
        """It is part of another one, or meant for another host."""
        if reset:
            self._open.remove(reset)
            self._drop_from_tables({id(reset)})

    def _drop_from_tables(self, gone: set[int]) -> None:
        forget(self.sent, gone)
        forget(self.received, gone)
        self.wire.forget(gone)
        self.triggers = {k: r for k, r in self.triggers.items() if id(r) not in gone}

    def finish(self, done: Callable[[Reset], bool]) -> list[Reset]:
        """Take out those that are done, in order of time; of one flow, none overtakes another."""
        ready: list[Reset] = []
        held: set[int] = set()
        waiting: set[Flow] = set()
        for reset in self._open:
            # what came later may be an echo; a receiver's text names the sender's cause
            later = reset.flow in waiting or (reset.peer and id(reset.peer) in held)
            if later or not done(reset):
                waiting.add(reset.flow)
                held.add(id(reset))
            else:
                ready.append(reset)
        if not ready:
            return []
        gone = set(map(id, ready))
        self._open = [r for r in self._open if id(r) not in gone]
        self._drop_from_tables(gone)
        return sorted(ready, key=lambda r: (r.time_ns, r.id))

    def active_wire(self, record: Record) -> Reset | None:
        """The RST that tcp_send_active_reset() has sent just before it was traced."""

        def fits(reset: Reset) -> bool:
            # on its way out it was seen at the device, or dropped by a firewall before
            seen = {SENT: reset.wire, SUPPRESSED: reset.judged}.get(reset.direction)
            by_tcp = seen and maker_of(seen.frames) in ("tcp-active", None)
            return bool(by_tcp and not reset.decided)

        same = newest(r for r in self.sent[flow_of(record)] if fits(r))
        return same or newest(r for r in self._open if fits(r) and same_act(r.main, record))

    def passive_decision(self, record: Record) -> Reset | None:
        """The decision that a passive RST on the wire belongs to (NAT may have changed it)."""

        def fits(reset: Reset) -> bool:
            waiting = reset.direction == SENT and not reset.wire
            return bool(waiting and reset.decided and reset.decided.skb)

        same = oldest(r for r in self.sent[flow_of(record)] if fits(r))
        return same or newest(
            r for r in self._open if fits(r) and r.decided and same_act(r.decided, record)
        )

    def leaving(self, outgoing: Flow, record: Record) -> Reset | None:
        """The reset whose packet this drop hook saw on its way out."""
        mine = [r for r in self.sent[outgoing] if r.direction == SENT]
        decided = oldest(r for r in mine if r.decided and not r.wire)
        return decided or newest(r for r in mine if r.wire and r.wire.skb == record.skb)

    def early_decision(self, record: Record) -> Reset | None:
        """The active reset whose packet leaves only now, long after it was decided."""
        waiting = (r for r in self.sent[flow_of(record)] if r.direction == SENT and not r.wire)
        return oldest(r for r in waiting if r.decided and not r.decided.skb)

    def translated(self, record: Record) -> Reset | None:
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
