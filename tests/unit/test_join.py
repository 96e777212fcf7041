"""Records to resets: which belong together, and which do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.join import Joiner
from rsttrace.matching import (
    COPIES,
    PATIENCE_NS,
    SETTLE_NS,
    at_lower_device,
    is_genuine,
    reverse,
)
from rsttrace.model import Reset, maker_of
from rsttrace.packet import ACK, PSH, RST, SYN
from rsttrace.records import Flow, Record

from .build import (
    A2,
    ACCEPTED,
    ACTIVE,
    CLIENT_PORT,
    FIREWALL,
    FLOW,
    HERE,
    MS,
    NETNS,
    NOT_A_RESET,
    OTHER_NETNS,
    P1,
    P2,
    PORT,
    REFUSED,
    RST_SKB,
    SK,
    SKB,
    THEIRS,
    THERE,
    XMIT,
    T,
    answered,
    arrived,
    decided,
    dropped,
    join,
    judged,
    left,
    record,
    rst,
    segment,
    shake,
)

US = 1_000
ACTIVE_XMIT = (*XMIT, "__tcp_transmit_skb", *A2)
SYN_IN = segment(SYN)


def at(time_us: float, one: Record, **changes: Any) -> Record:
    """The record at so many microseconds after T."""
    return replace(one, time_ns=T + int(time_us * US), **changes)


def parts(reset: Reset) -> set[str]:
    names = ("decided", "wire", "judged", "trigger_drop", "error", "unread_judgement", "peer")
    return {name for name in names if getattr(reset, name)}


# -- sent ----------------------------------------------------------------------------------------


def test_passive_decision_comes_before_the_packet() -> None:
    (reset,) = join(
        at(0, answered(SYN_IN)), at(50, left()), at(70, dropped(SYN_IN, "NO_SOCKET", flow=FLOW))
    )
    assert (reset.direction, reset.maker, reset.active) == ("sent", "tcp-passive", False)
    assert parts(reset) == {"decided", "wire", "trigger_drop"}
    assert (reset.trigger, reset.packet, reset.drop_reason) == (SYN_IN, rst(), "NO_SOCKET")


def test_active_decision_comes_after_the_packet() -> None:
    (reset,) = join(at(0, left(rst(RST | ACK), ACTIVE_XMIT)), at(80, decided(A2)))
    assert (reset.direction, reset.maker, reset.active) == ("sent", "tcp-active", True)
    assert parts(reset) == {"decided", "wire"}
    assert reset.time_ns == T
    assert reset.trigger is None


def test_decision_without_a_packet() -> None:
    """Routing failed, or the packet's record was lost."""
    (reset,) = join(decided(A2))
    assert (reset.direction, reset.maker, parts(reset)) == ("sent", "tcp-active", {"decided"})


def test_packet_without_a_decision() -> None:
    """Kernels before 6.10 decide in silence when no full socket is involved."""
    (reset,) = join(at(0, left()), at(20, dropped(SYN_IN, "NO_SOCKET")))
    assert (reset.direction, reset.maker, reset.active) == ("sent", "tcp-passive", False)


def test_two_connections_do_not_mix() -> None:
    other = replace(FLOW, rport=CLIENT_PORT + 1)
    second = rst(dport=CLIENT_PORT + 1)
    resets = join(
        at(0, answered(SYN_IN)),
        at(1, answered(segment(SYN, sport=CLIENT_PORT + 1), flow=other, skb=SKB + 64)),
        at(2, left(second, flow=other)),
        at(3, left()),
    )
    assert [(r.flow, r.packet) for r in resets] == [(FLOW, rst()), (other, second)]


def test_same_tuple_in_two_namespaces_does_not_mix() -> None:
    elsewhere = replace(FLOW, netns=OTHER_NETNS)
    resets = join(
        at(0, answered(SYN_IN)),
        at(1, answered(SYN_IN, flow=elsewhere, skb=SKB + 64)),
        at(2, left(rst(seq=1), flow=elsewhere)),
        at(3, left(rst(seq=2))),
    )
    assert [(r.flow.netns, r.packet and r.packet.seq) for r in resets] == [
        (NETNS, 2),
        (OTHER_NETNS, 1),
    ]


def test_one_reset_for_each_segment_that_is_answered() -> None:
    """A peer that keeps sending gets several RSTs on the same tuple."""
    data = [segment(PSH | ACK, b"x", seq=1000 + i) for i in range(3)]
    records = []
    for i, one in enumerate(data):
        records += [
            at(100 * i, answered(one, P2)),  # the packet's address is used again each time
            at(100 * i + 10, left(rst(seq=5000 + i))),
            at(100 * i + 20, dropped(one, "TCP_FLAGS")),
        ]
    resets = join(*records)
    assert [r.trigger for r in resets] == data
    assert [r.packet and r.packet.seq for r in resets] == [5000, 5001, 5002]
    assert all(parts(r) == {"decided", "wire", "trigger_drop"} for r in resets)


def test_drop_of_another_packet_at_the_same_address_is_not_the_trigger() -> None:
    (reset,) = join(
        at(0, answered(segment(ACK, seq=1))), at(9, dropped(segment(ACK, seq=2), "TCP_CSUM"))
    )
    assert reset.trigger_drop is None


def test_nat_after_the_decision() -> None:
    """MASQUERADE changes the source on the way out: same CPU, same moment."""
    translated = Flow("192.0.2.1", 40000, THERE, CLIENT_PORT, NETNS)
    packet = rst(src="192.0.2.1", sport=40000)
    (reset,) = join(at(0, answered(SYN_IN)), at(30, left(packet, flow=translated)))
    assert (reset.flow, reset.packet) == (FLOW, packet)


@pytest.mark.parametrize(("cpu", "later"), [(1, 30), (0, 5000)])
def test_another_act_is_not_nat(cpu: int, later: int) -> None:
    translated = Flow("192.0.2.1", 40000, THERE, CLIENT_PORT, NETNS)
    wire = left(rst(src="192.0.2.1", sport=40000), flow=translated)
    assert len(join(at(0, answered(SYN_IN)), at(later, wire, cpu=cpu))) == 2


def test_nat_before_the_active_decision_is_traced() -> None:
    translated = Flow("192.0.2.1", 40000, THERE, CLIENT_PORT, NETNS)
    wire = left(rst(RST | ACK, src="192.0.2.1", sport=40000), ACTIVE_XMIT, flow=translated)
    (reset,) = join(at(0, wire), at(30, decided(A2)))
    assert parts(reset) == {"decided", "wire"}


def test_lower_devices_are_the_same_packet() -> None:
    """A bridge or VLAN hands the packet down: __dev_queue_xmit stands twice in the stack."""
    below = left(frames=("__dev_queue_xmit", "br_dev_queue_push_xmit", *left().frames), ifindex=9)
    assert at_lower_device(below)
    assert not at_lower_device(left())
    (reset,) = join(at(0, answered(SYN_IN)), at(10, left()), at(12, below))
    assert reset.wire
    assert reset.wire.ifindex == 2


def test_firewall_reset_and_the_segment_it_rejected() -> None:
    (reset,) = join(
        at(0, left(rst(RST | ACK, seq=0), FIREWALL)), at(60, dropped(SYN_IN, "NETFILTER_DROP"))
    )
    assert (reset.maker, parts(reset)) == ("firewall", {"wire", "trigger_drop"})
    assert reset.trigger == SYN_IN


def test_other_drops_are_no_resets() -> None:
    assert join(dropped(SYN_IN, "NETFILTER_DROP")) == []


def test_suppressed() -> None:
    """Our own firewall drops our RST: the drop hook takes every packet as incoming."""
    frames = ("nft_do_chain", "nf_hook_slow", "__ip_local_out", *left().frames[2:])
    gone = dropped(rst(), "NETFILTER_DROP", flow=reverse(FLOW), frames=frames, skb=SKB + 128)
    (reset,) = join(at(0, answered(SYN_IN)), at(5, gone), at(9, dropped(SYN_IN, "NO_SOCKET")))
    assert (reset.direction, reset.flow) == ("suppressed", FLOW)
    assert parts(reset) == {"decided", "judged", "trigger_drop"}
    assert reset.packet == rst()


def test_suppressed_active_reset() -> None:
    """The drop comes first, then the decision."""
    frames = ("nft_do_chain", "nf_hook_slow", "__ip_local_out", *A2)
    gone = dropped(rst(RST | ACK), "NETFILTER_DROP", flow=reverse(FLOW), frames=frames)
    (reset,) = join(at(0, gone), at(40, decided(A2)))
    assert (reset.direction, parts(reset)) == ("suppressed", {"decided", "judged"})
    assert reset.flow == FLOW


def test_suppressed_and_the_decision_lost() -> None:
    frames = ("nft_do_chain", "nf_hook_slow", "__ip_local_out", *A2)
    gone = dropped(rst(RST | ACK), "NETFILTER_DROP", flow=reverse(FLOW), frames=frames)
    (reset,) = join(gone)
    assert (reset.direction, reset.flow, parts(reset)) == ("suppressed", FLOW, {"judged"})


# -- received ------------------------------------------------------------------------------------


def test_received() -> None:
    (reset,) = join(at(0, arrived()), at(9, judged("ESTABLISHED")))
    assert (reset.direction, parts(reset)) == ("received", {"wire", "judged"})
    assert (reset.flow, reset.state, reset.maker) == (FLOW, "ESTABLISHED", None)


def test_judgement_out_of_the_backlog_comes_late() -> None:
    (reset,) = join(at(0, arrived()), at(80_000, judged("ESTABLISHED"), cpu=1))
    assert parts(reset) == {"wire", "judged"}


def test_judgement_without_a_packet() -> None:
    (reset,) = join(judged("ESTABLISHED"))
    assert (reset.direction, parts(reset), reset.packet) == ("received", {"judged"}, None)


def test_two_resets_of_one_flow_are_judged_in_order() -> None:
    first, second = segment(RST, seq=1), segment(RST, seq=2)
    one, two = join(
        at(0, arrived(first)),
        at(1, arrived(second, skb=SKB)),
        at(2, judged("ESTABLISHED")),
        at(3, dropped(second, "TCP_CLOSE")),
    )
    assert (one.direction, one.packet) == ("received", first)
    assert (two.direction, two.drop_reason) == ("rejected", "TCP_CLOSE")


@pytest.mark.parametrize("reason", ["NO_SOCKET", "TCP_RESET", "NETFILTER_DROP", None])
def test_rejected(reason: str | None) -> None:
    (reset,) = join(at(0, arrived()), at(9, dropped(segment(RST), reason)))
    assert (reset.direction, reset.drop_reason) == ("rejected", reason)
    assert (reset.flow, reset.packet) == (FLOW, segment(RST))


def test_rejected_without_having_been_seen_at_the_device() -> None:
    (reset,) = join(dropped(segment(RST), "NO_SOCKET"))
    assert (reset.direction, parts(reset)) == ("rejected", {"judged"})


def test_meant_for_another_host() -> None:
    """A promiscuous device shows what is none of our business."""
    gone = dropped(segment(RST, dst="10.0.0.77"), "OTHERHOST")
    assert join(at(0, arrived(segment(RST, dst="10.0.0.77"))), at(9, gone)) == []


@pytest.mark.parametrize("function", ["packet_rcv", "tpacket_rcv", "raw_rcv", *COPIES])
def test_copy_of_a_capture_is_no_drop(function: str) -> None:
    copy = dropped(segment(RST), "PACKET_SOCK_ERROR", frames=(function, "process_backlog"))
    (reset,) = join(at(0, arrived()), at(1, copy), at(9, judged("ESTABLISHED")))
    assert (reset.direction, parts(reset)) == ("received", {"wire", "judged"})


def test_bridge_hands_the_packet_up() -> None:
    """The same packet at the port and at the bridge: one reset, at the upper device."""
    resets = join(
        at(0, arrived(ifindex=3, dev="eth0")),
        at(2, arrived(ifindex=9, dev="br0")),
        at(9, judged("ESTABLISHED")),
    )
    assert [parts(r) for r in resets] == [{"wire", "judged"}]


def test_macvlan_hands_the_packet_into_a_namespace() -> None:
    inside = replace(FLOW, netns=OTHER_NETNS)
    resets = join(
        at(0, arrived(ifindex=3)),
        at(2, arrived(ifindex=9, flow=inside)),
        at(9, judged("ESTABLISHED", flow=inside)),
    )
    assert [(r.flow.netns, parts(r)) for r in resets] == [(OTHER_NETNS, {"wire", "judged"})]


def test_same_packet_again_later_is_a_second_one() -> None:
    assert len(join(at(0, arrived()), at(3000, arrived(ifindex=9)))) == 2


def test_nat_on_the_way_in() -> None:
    """DNAT: the packet has the outer addresses, the judgement those of the socket."""
    inner = replace(FLOW, local="172.17.0.2", lport=80)
    (reset,) = join(
        at(0, arrived(segment(RST, seq=1000))), at(20, judged("ESTABLISHED", flow=inner))
    )
    assert (reset.flow, parts(reset)) == (inner, {"wire", "judged"})


def test_nat_on_the_way_in_needs_the_right_sequence_number() -> None:
    inner = replace(FLOW, local="172.17.0.2", lport=80)
    wrong = arrived(segment(RST, seq=4321))
    assert len(join(at(0, wrong), at(20, judged("ESTABLISHED", flow=inner)))) == 2


# -- P7: tcp_receive_reset for a segment that is no RST --------------------------------------------


def test_data_after_close_is_not_a_received_reset() -> None:
    data = segment(PSH | ACK, b"x")
    (reset,) = join(
        at(0, judged("FIN_WAIT2", NOT_A_RESET)),
        at(10, answered(data, P2, sk=SK, state="CLOSE")),
        at(40, left()),
        at(50, dropped(data, "TCP_ABORT_ON_DATA")),
    )
    assert reset.direction == "sent"
    assert parts(reset) == {"decided", "wire", "trigger_drop", "unread_judgement"}


def test_false_judgement_of_another_socket_is_left_alone() -> None:
    (reset,) = join(
        at(0, judged("FIN_WAIT2", NOT_A_RESET, sk=SK + 1)),
        at(10, answered(segment(PSH | ACK, b"x"), P2, sk=SK, state="CLOSE")),
    )
    assert reset.unread_judgement is None


@pytest.mark.parametrize(
    ("state", "frames", "genuine"),
    [
        ("SYN_SENT", REFUSED, True),
        ("FIN_WAIT2", NOT_A_RESET, False),
        ("CLOSE_WAIT", NOT_A_RESET, False),
        ("CLOSE_WAIT", ("tcp_reset", "tcp_validate_incoming", "tcp_rcv_state_process"), True),
        ("SYN_RECV", ("tcp_reset", "tcp_check_req", "tcp_rcv_state_process"), True),
        ("ESTABLISHED", ACCEPTED, True),
        ("ESTABLISHED", (), True),
    ],
)
def test_is_genuine(state: str, frames: tuple[str, ...], genuine: bool) -> None:
    assert is_genuine(judged(state, frames)) == genuine


# -- both ends on this host ------------------------------------------------------------------------


def other_end(one: Record, **changes: Any) -> Record:
    return replace(one, **{"flow": THEIRS, **changes})


def test_both_ends() -> None:
    packet = rst()
    sent, got = join(
        at(0, answered(SYN_IN)),
        at(10, left(packet)),
        at(20, other_end(arrived(packet))),
        at(30, other_end(judged("SYN_SENT", REFUSED))),
    )
    assert (sent.direction, got.direction) == ("sent", "received")
    assert sent.peer is got
    assert got.peer is sent
    assert (sent.flow, got.flow) == (FLOW, THEIRS)


def test_both_ends_of_an_active_reset() -> None:
    """On loopback the peer believes the RST before the sender's tracepoint fires."""
    packet = rst(RST | ACK)
    sent, got = join(
        at(0, left(packet, ACTIVE_XMIT)),
        at(10, other_end(arrived(packet))),
        at(20, other_end(judged("ESTABLISHED", sk=SK + 64))),
        at(30, decided(A2)),
    )
    assert parts(sent) == {"decided", "wire", "peer"}
    assert parts(got) == {"wire", "judged", "peer"}


def test_both_ends_across_a_bridge_or_router_of_this_host() -> None:
    """Two containers on one bridge: the host passes the RST on, the ends still belong together."""
    packet = rst()
    host = 4026530000
    middle = replace(FLOW, netns=host)
    resets = join(
        at(0, answered(SYN_IN)),
        at(10, left(packet)),
        at(20, arrived(packet, flow=reverse(middle), ifindex=11)),
        at(22, left(packet, XMIT, flow=middle, skb_iif=11, ifindex=12)),
        at(30, other_end(arrived(packet))),
        at(40, other_end(judged("SYN_SENT", REFUSED))),
    )
    assert [r.direction for r in resets] == ["sent", "forwarded", "received"]
    assert resets[0].peer is resets[2]
    assert resets[2].peer is resets[0]


def test_decision_does_not_go_to_the_other_end() -> None:
    """The sender's packet was lost, or NAT changed it: what is left is two resets of two ends."""
    packet = rst(RST | ACK)
    resets = join(
        at(10, other_end(arrived(packet))),
        at(20, other_end(judged("ESTABLISHED", sk=SK + 64))),
        at(30, decided(A2)),
    )
    assert [(r.direction, parts(r)) for r in resets] == [
        ("received", {"wire", "judged"}),
        ("sent", {"decided"}),
    ]


def test_active_reset_through_nat_to_the_other_end_on_this_host() -> None:
    """A container with MASQUERADE talks to a server of this host."""
    packet = rst(RST | ACK, src="192.0.2.1", sport=40000)
    outer = replace(FLOW, local="192.0.2.1", lport=40000)
    sent, got = join(
        at(0, left(packet, ACTIVE_XMIT, flow=outer)),
        at(10, other_end(arrived(packet), flow=reverse(outer))),
        at(20, other_end(judged("ESTABLISHED", sk=SK + 64), flow=reverse(outer))),
        at(30, decided(A2)),
    )
    assert (sent.direction, parts(sent)) == ("sent", {"decided", "wire", "peer"})
    assert (got.direction, parts(got)) == ("received", {"wire", "judged", "peer"})


def test_decision_does_not_go_to_a_reset_that_only_passes() -> None:
    """A router that also resets: both within a moment on one CPU."""
    flow = Flow("192.0.2.1", 1, "192.0.2.2", 2, NETNS)
    passing = segment(RST, src="192.0.2.1", sport=1, dst="192.0.2.2", dport=2)
    resets = join(
        at(0, left(passing, XMIT, flow=flow, skb_iif=3)),
        at(30, decided(A2)),
    )
    assert [(r.direction, parts(r)) for r in resets] == [
        ("forwarded", {"wire"}),
        ("sent", {"decided"}),
    ]


def test_packet_does_not_go_to_a_decision_that_was_suppressed() -> None:
    """One flow's RST is dropped by a firewall, another flow's leaves a moment later."""
    frames = ("nft_do_chain", "nf_hook_slow", "__ip_local_out", *left().frames[2:])
    gone = dropped(rst(), "NETFILTER_DROP", flow=reverse(FLOW), frames=frames, skb=SKB + 128)
    other = replace(FLOW, rport=CLIENT_PORT + 1)
    first, second = join(
        at(0, answered(SYN_IN)),
        at(5, gone),
        at(60, left(rst(dport=CLIENT_PORT + 1), flow=other)),
    )
    assert (first.direction, parts(first)) == ("suppressed", {"decided", "judged"})
    assert (second.direction, second.flow, parts(second)) == ("sent", other, {"wire"})


def test_equal_packets_of_two_acts_pair_up_in_order() -> None:
    """A retransmitted SYN to a closed port gets the very same RST again, 1 s later."""
    packet = rst(RST | ACK, seq=0)
    records = []
    for second in (0, 1_000_000):
        records += [
            at(second, answered(SYN_IN)),
            at(second + 10, left(packet)),
            at(second + 20, other_end(arrived(packet))),
            at(second + 30, other_end(dropped(packet, "NO_SOCKET"), skb=SKB + 64)),
        ]
    a, b, c, d = join(*records)
    assert a.peer is b
    assert c.peer is d


def test_handshake_and_history_come_from_any_part() -> None:
    (reset,) = join(at(0, arrived()), at(9, judged("ESTABLISHED", handshake=shake(rx_ttl=61))))
    assert reset.handshake
    assert reset.handshake.rx_ttl == 61
    assert reset.history
    (reset,) = join(at(0, arrived(handshake=shake(rx_ttl=62))), at(9, judged("ESTABLISHED")))
    assert reset.handshake
    assert reset.handshake.rx_ttl == 62


BACK = reverse(FLOW)  # the other end of a connection within one namespace


def test_both_ends_in_one_namespace() -> None:
    """Loopback: both tuples have the same namespace, only their order tells the ends apart."""
    sent, got = join(
        at(0, answered(SYN_IN)),
        at(10, left()),
        at(20, arrived(rst(), flow=BACK, ifindex=1)),
        at(30, judged("SYN_SENT", REFUSED, flow=BACK)),
    )
    assert (sent.direction, sent.flow, parts(sent)) == ("sent", FLOW, {"decided", "wire", "peer"})
    assert (got.direction, got.flow) == ("received", BACK)
    assert parts(got) == {"wire", "judged", "peer"}


def test_dropped_at_the_other_end_in_one_namespace() -> None:
    sent, got = join(
        at(0, answered(SYN_IN)),
        at(10, left()),
        at(20, arrived(rst(), flow=BACK, ifindex=1)),
        at(30, dropped(rst(), "NO_SOCKET", flow=BACK, skb=RST_SKB)),
    )
    assert (sent.direction, parts(sent)) == ("sent", {"decided", "wire", "peer"})
    assert (got.direction, got.flow, parts(got)) == ("rejected", BACK, {"wire", "judged", "peer"})


def test_dropped_at_the_other_end_is_not_suppressed_here() -> None:
    """What left was not seen; the stack of the drop tells that it had arrived."""
    frames = ("tcp_v4_rcv", "ip_protocol_deliver_rcu", "process_backlog")
    sent, got = join(
        at(0, answered(SYN_IN)),
        at(30, dropped(rst(), "NO_SOCKET", flow=BACK, skb=RST_SKB, frames=frames)),
    )
    assert (sent.direction, parts(sent)) == ("sent", {"decided"})
    assert (got.direction, got.flow) == ("rejected", BACK)


# -- forwarded -------------------------------------------------------------------------------------


def forwarded_out(**changes: Any) -> Record:
    return left(segment(RST), (*XMIT, "ip_forward", "process_backlog"), **changes)


def test_forwarded() -> None:
    flow = Flow(THERE, CLIENT_PORT, HERE, PORT, NETNS)
    (reset,) = join(
        at(0, arrived(ifindex=3)), at(2, forwarded_out(flow=flow, skb_iif=3, ifindex=4))
    )
    assert (reset.direction, reset.flow) == ("forwarded", flow)


def test_forwarded_and_then_queued_at_a_second_device() -> None:
    """A bridge with several ports floods: still one reset."""
    flow = Flow(THERE, CLIENT_PORT, HERE, PORT, NETNS)
    resets = join(
        at(0, arrived(ifindex=3)),
        at(2, forwarded_out(flow=flow, skb_iif=3, ifindex=4)),
        at(3, forwarded_out(flow=flow, skb_iif=3, ifindex=5)),
    )
    assert [r.direction for r in resets] == ["forwarded"]


def test_forwarded_without_having_been_seen_coming_in() -> None:
    flow = Flow(THERE, CLIENT_PORT, HERE, PORT, NETNS)
    (reset,) = join(forwarded_out(flow=flow, skb_iif=3))
    assert (reset.direction, reset.flow) == ("forwarded", flow)


def test_unknown_maker_without_an_incoming_device_is_made_here() -> None:
    (reset,) = join(left(frames=(*XMIT, "some_new_function"), skb_iif=0))
    assert (reset.direction, reset.maker) == ("sent", None)


@pytest.mark.parametrize(
    ("cpu", "seq", "directions"),
    [
        (0, 1000, ["forwarded"]),
        (1, 1000, ["received", "forwarded"]),
        (0, 4321, ["received", "forwarded"]),
    ],
)
def test_forwarded_through_nat(cpu: int, seq: int, directions: list[str]) -> None:
    """SNAT: it leaves with another source; same CPU, same moment, same numbers."""
    outer = Flow("192.0.2.1", 40000, HERE, PORT, NETNS)
    out = left(
        segment(RST, src="192.0.2.1", sport=40000, seq=seq),
        (*XMIT, "ip_forward"),
        flow=outer,
        skb_iif=3,
        cpu=cpu,
    )
    resets = join(at(0, arrived(ifindex=3)), at(20, out))
    assert [r.direction for r in resets] == directions
    assert resets[-1].flow == outer


def test_another_reset_that_passes_is_not_one_that_waits() -> None:
    """One RST waits to be judged; another one, never seen coming in, leaves for elsewhere."""
    flow = Flow("192.0.2.1", 1, "192.0.2.2", 2, NETNS)
    passing = segment(RST, src="192.0.2.1", sport=1, dst="192.0.2.2", dport=2, seq=77)
    waits, passes = join(
        at(0, arrived()),
        at(2, left(passing, (*XMIT, "ip_forward"), flow=flow, skb_iif=3)),
        at(9, judged("ESTABLISHED")),
    )
    assert (waits.direction, parts(waits)) == ("received", {"wire", "judged"})
    assert (passes.direction, passes.flow) == ("forwarded", flow)


def test_reset_that_arrived_in_another_namespace_does_not_pass_here() -> None:
    flow = Flow(THERE, CLIENT_PORT, HERE, PORT, OTHER_NETNS)
    got, passed = join(
        at(0, arrived(ifindex=3)), at(2, forwarded_out(flow=flow, skb_iif=3, ifindex=4))
    )
    assert (got.direction, passed.direction) == ("received", "forwarded")


def test_routed_twice() -> None:
    """Through two router namespaces of this host: sender and receiver still belong together."""
    packet = rst()
    records = [at(0, answered(SYN_IN)), at(5, left(packet))]
    for hop in (1, 2):
        middle = replace(FLOW, netns=NETNS + hop)
        records += [
            at(10 * hop, arrived(packet, flow=reverse(middle), ifindex=10 * hop)),
            at(
                10 * hop + 2,
                left(packet, XMIT, flow=middle, skb_iif=10 * hop, ifindex=10 * hop + 1),
            ),
        ]
    records += [at(50, other_end(arrived(packet))), at(60, other_end(judged("SYN_SENT", REFUSED)))]
    sent, *passed, got = join(*records)
    assert [r.direction for r in passed] == ["forwarded", "forwarded"]
    assert sent.peer is got
    assert got.peer is sent
    assert all(r.peer is None for r in passed)


# -- errors ----------------------------------------------------------------------------------------


def error(number: int, **changes: Any) -> Record:
    return record("inet_sk_error_report", sk=SK, errno=number, **changes)


def test_error_report_belongs_to_the_socket() -> None:
    (reset,) = join(at(0, arrived()), at(9, judged("ESTABLISHED")), at(12, error(104)))
    assert reset.error
    assert reset.error.errno == 104


def test_first_error_report_counts() -> None:
    (reset,) = join(at(0, decided(A2)), at(9, error(104)), at(12, error(103)))
    assert reset.error
    assert reset.error.errno == 104


def test_error_report_of_another_socket() -> None:
    (reset,) = join(at(0, decided(A2)), at(9, error(104), sk=SK + 64))
    assert reset.error is None


def test_error_report_before_the_answer_to_data_after_close() -> None:
    """Row P7: tcp_reset() reports ECONNRESET first, then the RST is decided."""
    data = segment(PSH | ACK, b"x")
    (reset,) = join(
        at(0, judged("FIN_WAIT2", NOT_A_RESET)),
        at(5, error(104)),
        at(10, answered(data, P2, sk=SK, state="CLOSE")),
    )
    assert reset.error
    assert reset.error.errno == 104


# -- time ------------------------------------------------------------------------------------------


def test_a_complete_reset_waits_a_little() -> None:
    joiner = Joiner()
    joiner.feed(at(0, left(rst(RST | ACK), ACTIVE_XMIT)))
    joiner.feed(at(30, decided(A2)))
    assert joiner.advance(T + SETTLE_NS - 1) == []
    assert len(joiner.advance(T + SETTLE_NS)) == 1
    assert joiner.flush() == []


@pytest.mark.parametrize(
    "first",
    [
        arrived(),  # to be judged
        decided(A2),  # to be seen at a device
        left(rst(), (*XMIT, "some_new_function")),  # to be claimed by somebody
    ],
)
def test_an_incomplete_reset_waits_longer(first: Record) -> None:
    joiner = Joiner()
    joiner.feed(first)
    assert joiner.advance(T + PATIENCE_NS - 1) == []
    assert joiner.busy
    assert len(joiner.advance(T + PATIENCE_NS)) == 1
    assert not joiner.busy


def test_a_forwarded_or_rejected_reset_is_complete() -> None:
    flow = Flow(THERE, CLIENT_PORT, HERE, PORT, NETNS)
    for records in ([forwarded_out(flow=flow, skb_iif=3)], [dropped(segment(RST), "NO_SOCKET")]):
        joiner = Joiner()
        for one in records:
            joiner.feed(one)
        assert len(joiner.advance(T + SETTLE_NS)) == 1


def test_received_waits_for_the_sender_whose_verdict_it_names() -> None:
    packet = rst(RST | ACK)
    joiner = Joiner()
    joiner.feed(at(0, left(packet, ACTIVE_XMIT)))
    joiner.feed(at(10, other_end(arrived(packet))))
    joiner.feed(at(20, other_end(judged("ESTABLISHED", sk=SK + 64))))
    joiner.feed(at(30, decided(A2)))
    assert joiner.advance(T + SETTLE_NS - 1) == []
    done = joiner.advance(T + SETTLE_NS + MS)
    assert [r.direction for r in done] == ["sent", "received"]


def test_in_order_of_time_and_numbered() -> None:
    flows = [replace(FLOW, rport=port) for port in (3, 1, 2)]
    resets = join(*(at(i, decided(A2), flow=f, sk=SK + 64 * i) for i, f in enumerate(flows)))
    assert [r.flow.rport for r in resets] == [3, 1, 2]
    assert [r.id for r in resets] == [1, 2, 3]


def test_nothing_is_kept_once_it_is_told() -> None:
    joiner = Joiner()
    for i in range(100):
        joiner.feed(at(i, judged("FIN_WAIT2", NOT_A_RESET, sk=SK + 64 * i)))
        joiner.feed(at(i, answered(segment(SYN, seq=i), skb=SKB + 64 * i)))
        joiner.feed(at(i, left(rst(seq=i))))
    assert len(joiner.flush()) == 100
    held = {name: value for name, value in vars(joiner).items() if isinstance(value, (dict, list))}
    del held["_handlers"]
    assert not any(held.values()), held


def test_records_without_addresses_or_of_new_kinds_are_passed_over() -> None:
    assert join(replace(decided(A2), flow=None), record("a_hook_of_tomorrow")) == []


def test_maker_is_the_innermost_that_builds_resets() -> None:
    assert maker_of((*XMIT, ACTIVE, "tcp_v4_rcv")) == "tcp-active"
    assert maker_of(FIREWALL) == "firewall"
    assert maker_of((*XMIT, "raw_sendmsg")) == "raw-socket"
    assert maker_of((*XMIT, "packet_snd", "packet_sendmsg")) == "packet-socket"
    assert maker_of(P1) == "tcp-passive"
    assert maker_of(XMIT) is None
