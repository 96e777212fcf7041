"""RSTs on the wires of this host: one packet may pass several devices and namespaces."""

from __future__ import annotations

from collections import defaultdict

from rsttrace.matching import flow_of, forget, newest, oldest, packet_key, same_act
from rsttrace.model import FORWARDED, RECEIVED, SENT, Reset
from rsttrace.packet import Packet
from rsttrace.records import Record

DELIVERY_NS = 1_000_000_000  # from one namespace of this host to another, however busy it is
REMEMBERED = 256


class WirePath:
    """Finds other sightings of the packet in a ``net_dev_queue`` or ``netif_receive_skb``."""

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], list[Reset]] = defaultdict(list)
        self._arrived: list[Reset] = []
        # a busy machine may deliver after the sender's record was told
        self._told: dict[tuple[object, ...], Reset] = {}

    def add(self, reset: Reset, record: Record) -> None:
        """This reset's packet was seen in this record."""
        reset.wire = record
        self._seen[packet_key(_packet(record))].append(reset)
        if reset.direction == RECEIVED:
            self._arrived.append(reset)

    def sender(self, record: Record) -> Reset | None:
        """The end that sent what arrives here, if that is on this host."""
        for other in reversed(self._seen[packet_key(_packet(record))]):
            source = other.origin if other.direction == FORWARDED else other
            if source and source.direction == SENT and not source.peer:
                return source
        told = self._told.get(packet_key(_packet(record)))
        late = told and not told.peer and record.time_ns - told.time_ns <= DELIVERY_NS
        return told if late else None

    def below(self, record: Record) -> Reset | None:
        """The same packet at a device below: of a bridge, or of a macvlan in a namespace."""
        return newest(
            other
            for other in self._seen[packet_key(_packet(record))]
            if _waiting(other)
            and other.wire
            and other.wire.ifindex != record.ifindex
            and same_act(other.wire, record)
        )

    def arrival(self, record: Record) -> Reset | None:
        """What arrived in this namespace and waits to be judged."""
        netns = flow_of(record).netns
        return oldest(
            other
            for other in self._seen[packet_key(_packet(record))]
            if _waiting(other) and other.flow.netns in (0, netns)
        )

    def was_judged(self, record: Record) -> bool:
        """Has tcp_receive_reset spoken of this very packet?"""
        return any(
            other.judged and other.judged.kind == "tcp_receive_reset"
            for other in self._seen[packet_key(_packet(record))]
            if other.direction == RECEIVED and other.flow == flow_of(record)
        )

    def passing(self, record: Record) -> Reset | None:
        """What arrived in this namespace and leaves it again, perhaps with another address."""
        netns = flow_of(record).netns
        same = oldest(
            other
            for other in self._seen[packet_key(_packet(record))]
            if other.flow.netns == netns and (other.direction == FORWARDED or _waiting(other))
        )
        return same or newest(
            other
            for other in self._arrived
            if other.flow.netns == netns and _waiting(other) and _translated(other, record)
        )

    def forward(self, reset: Reset, record: Record) -> None:
        """It did not end here: its sender's other end is further on."""
        reset.direction = FORWARDED
        reset.flow = flow_of(record)
        if reset.peer:
            reset.origin, reset.peer = reset.peer, None
            reset.origin.peer = None
        self.add(reset, record)

    def forget(self, gone: set[int]) -> None:
        """These resets are finished."""
        for key, resets in self._seen.items():
            for reset in resets:
                if id(reset) in gone and reset.direction == SENT and not reset.peer:
                    self._told[key] = reset
        while len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        forget(self._seen, gone)
        self._arrived = [r for r in self._arrived if id(r) not in gone]


def _packet(record: Record) -> Packet:
    assert record.packet is not None
    return record.packet


def _waiting(reset: Reset) -> bool:
    return reset.direction == RECEIVED and not reset.judged


def _translated(reset: Reset, record: Record) -> bool:
    """Is it the same packet with addresses or ports changed by NAT?"""
    if not reset.wire or not reset.wire.packet or not same_act(reset.wire, record):
        return False
    a, b = reset.wire.packet, _packet(record)
    return (a.seq, a.ack, a.flags, a.ip_id) == (b.seq, b.ack, b.flags, b.ip_id)
