"""Do two records, or a record and a reset, belong together? Pure predicates for the join."""

from __future__ import annotations

from collections.abc import Iterable

from rsttrace.model import FORWARDED, SENT, Reset, maker_of
from rsttrace.packet import RST, Packet
from rsttrace.records import Flow, Record

SETTLE_NS = 5_000_000  # a reset with all its parts waits this long for late details
PATIENCE_NS = 100_000_000  # one with parts missing, e.g. a judgement out of the backlog
SAME_ACT_NS = 1_000_000  # two hooks of one act on one CPU

# packet and raw sockets get copies of packets and drop them when they are full or closed
COPIES = (
    "packet_rcv",
    "tpacket_rcv",
    "packet_rcv_fanout",
    "raw_rcv",
    "rawv6_rcv",
    "raw_v4_input",
    "skb_queue_purge_reason",
    "__skb_queue_purge_reason",
    "skb_queue_purge",
    "inet_sock_destruct",
    "packet_sock_destruct",
)
# without these below tcp_rcv_state_process(), data met a closed reader: row P7, no RST
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


def patience(reset: Reset) -> int:
    """How long to wait for more parts of this reset, in ns.

    A received reset waits for its sender's record, whose verdict its own text names.
    """
    return max(_own_patience(reset), _own_patience(reset.peer) if reset.peer else 0)


def _own_patience(reset: Reset) -> int:
    if reset.direction == SENT:
        complete = bool(reset.wire and (reset.decided or maker_of(reset.wire.frames)))
    else:
        complete = bool(reset.judged or reset.direction == FORWARDED)
    return SETTLE_NS if complete else PATIENCE_NS


def at_lower_device(record: Record) -> bool:
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


def is_trigger(reset: Reset, packet: Packet) -> bool:
    """Addresses of packets are used again at once: is it really the one that was answered?"""
    trigger = reset.trigger
    return not packet.has(RST) and (trigger is None or trigger.seq == packet.seq)


def flow_of(record: Record) -> Flow:
    assert record.flow is not None
    return record.flow


def same_act(a: Record, b: Record) -> bool:
    return a.cpu == b.cpu and abs(a.time_ns - b.time_ns) <= SAME_ACT_NS


def oldest(resets: Iterable[Reset]) -> Reset | None:
    return next(iter(resets), None)


def newest(resets: Iterable[Reset]) -> Reset | None:
    return next(iter(reversed(list(resets))), None)


def forget(table: dict[object, list[Reset]] | dict, gone: set[int]) -> None:  # type: ignore[type-arg]
    for key in list(table):
        kept = [r for r in table[key] if id(r) not in gone]
        if kept:
            table[key] = kept
        else:
            del table[key]


def outdate(table: dict[int, Record], before_ns: int) -> None:
    """Forget records of before: socket addresses are used again."""
    for key in [k for k, record in table.items() if record.time_ns < before_ns]:
        del table[key]
