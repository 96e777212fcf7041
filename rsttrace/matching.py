"""Do two records, or a record and a reset, belong together? Pure predicates for the join."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from rsttrace.model import BY_TCP, FORWARDED, NONE, RECEIVED, REJECTED, SENT, Reset, maker_of
from rsttrace.packet import RST, SYN, Packet
from rsttrace.records import Flow, Record
from rsttrace.strays import answers, met_no_full_socket

SETTLE_NS = 25_000_000  # a reset with all its parts waits this long: its other end may be here
PATIENCE_NS = 100_000_000  # one with parts missing, e.g. a judgement out of the backlog
# of its own resets TCP tells; between the two a virtual machine may stand still
DECISION_NS = 400_000_000
SAME_ACT_NS = 1_000_000  # two hooks of one act on one CPU
MAX_RTT_NS = 1_000_000_000

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
        maker = maker_of(reset.wire.frames) if reset.wire else None
        if maker in BY_TCP and not reset.decided:
            return DECISION_NS
        complete = bool(reset.wire and (reset.decided or maker))
    elif is_first_of_two(reset):
        return PATIENCE_NS + _two_round_trips(reset)
    elif reset.direction == RECEIVED and not reset.peer:
        # from another host: more packets of the same maker may tell who that was
        return PATIENCE_NS
    else:
        complete = bool(reset.judged or reset.direction in (FORWARDED, NONE))
    return SETTLE_NS if complete else PATIENCE_NS


def is_first_of_two(reset: Reset) -> bool:
    """May this refused RST be followed by one that is accepted?

    A genuine abort whose data was lost is ahead of what has arrived: it draws a challenge ACK,
    and the answer to that is a RST with the exact number (RFC 5961 3.2).
    """
    judged = reset.judged
    if reset.direction != REJECTED or not judged or not judged.sock:
        return False
    if judged.state in ("SYN_SENT", "LISTEN"):  # no window yet: it was ignored, not challenged
        return False
    return (judged.inferred or judged.drop_reason) in ("TCP_RESET", None, "NOT_SPECIFIED")


def _two_round_trips(reset: Reset) -> int:
    sock = reset.judged.sock if reset.judged else None
    return min(MAX_RTT_NS, (sock.srtt_us // 8) * 2_000) if sock else 0


def same_abort(refused: Reset, judged: Record) -> bool:
    """Is the refused RST the first half of the abort that this judgement accepted?

    The first one was ahead of what had arrived, the accepted one answers our challenge ACK
    and carries exactly its number.
    """
    first = refused.packet
    if not is_first_of_two(refused) or not first or not refused.judged or not judged.sock:
        return False
    ahead = (first.seq - judged.sock.rcv_nxt) & 0xFFFFFFFF
    return refused.judged.sk == judged.sk and 0 < ahead < 1 << 31


def kills_timewait(record: Record) -> bool:
    """Did this RST end a timewait socket (tcp_timewait_state_process())?

    Exactly the number it waits for, unless tcp_rfc1337 is set; in FIN_WAIT2 any in-window one.
    """
    if record.packet is None or record.tw_rcv_nxt is None or not _reached_socket(record):
        return False
    ahead = (record.packet.seq - record.tw_rcv_nxt) & 0xFFFFFFFF
    if record.tw_substate == "FIN_WAIT2":
        return ahead <= record.tw_rcv_wnd
    return ahead == 0 and not record.rfc1337


def ends_request(record: Record) -> bool:
    """Did this RST end a half-open connection (NEW_SYN_RECV)?

    tcp_check_req() drops the request silently below tcp_v4_rcv(); the socket that the drop
    names is the listener. A number that is not exact draws a challenge ACK.
    """
    shake, packet = record.handshake, record.packet
    if record.state != "LISTEN" or record.in_stack("tcp_v4_do_rcv", "tcp_v6_do_rcv"):
        return False
    if not shake or not shake.rx_ns or not packet or not _reached_socket(record):
        return False
    return packet.seq == (shake.rx_seq + 1) & 0xFFFFFFFF


def _reached_socket(record: Record) -> bool:
    """Other reasons (policy, TTL, checksum, signature) dropped it before the socket saw it."""
    return record.drop_reason in (None, "NOT_SPECIFIED")


# a packet that never came in and is dropped below one of these was on its way out
_OUTBOUND = (
    *("__ip_local_out", "__ip6_local_out", "ip6_xmit", "__ip_queue_xmit", "__dev_queue_xmit"),
    *("ip_finish_output2", "ip6_finish_output2", "__qdisc_run", "net_tx_action"),
    *("neigh_timer_handler", "neigh_invalidate", "__neigh_event_send", "__neigh_update"),
    *("arp_error_report", "ndisc_error_report", "neigh_flush_dev"),
)


def is_outgoing(record: Record) -> bool:
    """Was this dropped RST made here, and did it not leave?"""
    if record.skb_iif:
        return False
    made_here = maker_of(record.frames) not in (None, "forward")
    hidden = bool(record.frames) and not record.named
    return made_here or hidden or record.in_stack(*_OUTBOUND)


def is_challenged_syn(record: Record) -> bool:
    """A SYN that an established connection did not believe (RFC 5961 4.2)."""
    packet = record.packet
    judge = ("tcp_validate_incoming", "tcp_rcv_established", "tcp_rcv_state_process")
    inside = record.in_stack(*judge, "tcp_v4_do_rcv", "tcp_v6_do_rcv")
    hidden = bool(record.frames) and not record.named
    dropped = inside and record.drop_reason != "NETFILTER_DROP"
    dropped = dropped or (hidden and record.drop_reason == "TCP_INVALID_SYN")
    return bool(packet and packet.has(SYN) and dropped)


# functions that end a connection without a RST, and give its application the reason
_TIMERS = (
    *("tcp_write_err", "tcp_write_timeout", "tcp_retransmit_timer", "tcp_probe_timer"),
    "tcp_write_timer_handler",
)
_ICMP = ("tcp_v4_err", "tcp_v6_err")
_BY_RESET = (errno.EPIPE, errno.ECONNABORTED, errno.ECONNRESET)
_SPOKE = ("tcp_reset", "tcp_abort", "tcp_disconnect", "tcp_keepalive_timer")


def is_quiet_abort(record: Record) -> bool:
    """Does this error report tell of a connection that ended without a RST?"""
    history = record.history
    if history and not history.closed and (history.got_reset or history.sent_reset):
        return False  # the stack may be hidden
    if not record.errno or record.in_stack(*_SPOKE):
        return False
    if record.in_stack(*_TIMERS):  # before 6.10 the state is still the old one
        return True
    # an established connection that asked for errors (IP_RECVERR) lives on
    over = record.state in ("CLOSE", "SYN_SENT", "SYN_RECV")
    hidden = not record.named and record.errno not in _BY_RESET
    return over and (record.in_stack(*_ICMP) or hidden)


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


def is_answer(reset: Reset, drop: Record) -> bool:
    """Did this RST answer the segment that was dropped, and did no hook tell so?"""
    if reset.trigger_drop or not reset.packet or not drop.packet:
        return False
    if reset.maker == "firewall":
        return reset.wire is not None
    stray = reset.maker == "tcp-passive" and not reset.decided
    return stray and met_no_full_socket(reset.frames) and answers(reset.packet, drop.packet)


def is_exact(reset: Reset, judged: Record) -> bool:
    """Has this RST the very number that the socket which believed one was waiting for?"""
    packet, sock = reset.packet, judged.sock
    return bool(packet and sock and packet.seq == sock.rcv_nxt)


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


def outdate(table: dict[int, Record], before_ns: int | None) -> list[Record]:
    """Take out the records of before (None: all): socket addresses are used again."""
    old = [k for k, record in table.items() if before_ns is None or record.time_ns < before_ns]
    return [table.pop(key) for key in old]
