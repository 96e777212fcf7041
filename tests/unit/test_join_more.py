"""Records to resets: aborts in two steps, series of RSTs, RSTs and SYNs that were not believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.join import Joiner
from rsttrace.matching import PATIENCE_NS, SETTLE_NS
from rsttrace.model import Reset
from rsttrace.packet import ACK, FIN, PSH, RST, SYN, Packet
from rsttrace.records import Record

from .build import (
    A1,
    CLIENT_PORT,
    FIREWALL,
    FLOW,
    HERE,
    MS,
    P1,
    P2,
    PORT,
    REFUSED,
    RST_SKB,
    SK,
    SKB,
    SOFTIRQ,
    THEIRS,
    THERE,
    T,
    answered,
    arrived,
    decided,
    dropped,
    join,
    judged,
    left,
    segment,
    shake,
    sock,
)
from .test_join import ACTIVE_XMIT, at, parts

VALIDATE = ("tcp_validate_incoming", "tcp_rcv_established", "tcp_v4_do_rcv", "tcp_v4_rcv", *SOFTIRQ)
NO_SOCKET = ("tcp_v4_rcv", *SOFTIRQ)
THEIR_SK = SK + 64


def directions(resets: list[Reset]) -> list[str]:
    return [reset.direction for reset in resets]


# -- one abort, two RSTs ---------------------------------------------------------------------------

AHEAD = segment(RST | ACK, seq=1312)  # 312 bytes before it were lost
EXACT = segment(RST, seq=1000, ack=0, ip_id=0)


def refused(packet: Packet = AHEAD, reason: str | None = "TCP_RESET", **changes: Any) -> Record:
    """kfree_skb of a RST in the window of a connection: challenge ACK."""
    plain: dict[str, Any] = {"sk": SK, "state": "ESTABLISHED", "sock": sock(), "frames": VALIDATE}
    return dropped(packet, reason, **{"skb": RST_SKB, **plain, **changes})


def two_steps(**changes: Any) -> list[Record]:
    """``changes`` of the record that refused the first."""
    return [
        at(0, arrived(AHEAD)),
        at(5, refused(**changes)),
        at(700, arrived(EXACT)),
        at(709, judged("ESTABLISHED")),
    ]


@pytest.mark.parametrize("reason", ["TCP_RESET", "NOT_SPECIFIED", None])
def test_two_steps_are_one_abort(reason: str | None) -> None:
    """Before 5.19 the drop has no reason, or none of its own."""
    records = two_steps(reason=reason)
    (reset,) = join(*records)
    assert (reset.direction, reset.packet, parts(reset)) == ("received", EXACT, {"wire", "judged"})
    assert reset.refused_first is records[1]
    assert reset.siblings == ()
    assert records[1] in reset.records


@pytest.mark.parametrize(
    "changes",
    [
        {"sk": THEIR_SK},
        {"sock": None},
        {"packet": segment(RST | ACK, seq=1000)},
        {"packet": segment(RST | ACK, seq=999)},
        {"reason": "TCP_INVALID_SEQUENCE"},
        {"reason": "NO_SOCKET"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_another_refused_reset_is_not_the_first_step(changes: dict[str, Any]) -> None:
    records = two_steps(**changes)
    if "packet" in changes:
        records[0] = at(0, arrived(changes["packet"]))
    first, second = join(*records)
    assert (first.direction, second.direction) == ("rejected", "received")
    assert second.refused_first is None
    assert first.judged is records[1]


@pytest.mark.parametrize(
    ("state", "frames"), [("SYN_SENT", REFUSED), ("LISTEN", REFUSED)], ids=["SYN_SENT", "LISTEN"]
)
def test_what_was_ignored_before_there_is_a_window(state: str, frames: tuple[str, ...]) -> None:
    """A stray RST without ACK, then the real refusal: neither was challenged."""
    asked, stray = sock(rcv_nxt=0), segment(RST, seq=77777)
    answer = segment(RST | ACK, seq=0)
    resets = join(
        at(0, arrived(stray)),
        at(5, refused(stray, state=state, sock=asked, frames=frames)),
        at(700, arrived(answer)),
        at(709, judged("SYN_SENT", REFUSED, sock=asked)),
    )
    assert directions(resets) == ["rejected", "received"]


def test_first_step_that_was_not_seen_at_the_device() -> None:
    (reset,) = join(*two_steps()[1:])
    assert reset.refused_first


def test_numbers_wrap_between_the_steps() -> None:
    full = sock(rcv_nxt=0xFFFFFFF0)
    first, exact = segment(RST | ACK, seq=5), segment(RST, seq=0xFFFFFFF0)
    (reset,) = join(
        at(0, arrived(first)),
        at(5, refused(first, sock=full)),
        at(700, arrived(exact)),
        at(709, judged("ESTABLISHED", sock=full)),
    )
    assert reset.refused_first


def test_the_first_step_alone_stays_rejected() -> None:
    """A guess from outside: the connection lives on."""
    (reset,) = join(*two_steps()[:2])
    assert (reset.direction, reset.drop_reason) == ("rejected", "TCP_RESET")
    assert parts(reset) == {"wire", "judged"}


def test_other_resets_of_the_flow_stay_siblings() -> None:
    first, refusal, second, judgement = two_steps()
    third, fourth = (segment(RST, seq=1000, ack=0, ip_id=n) for n in (77, 78))
    received, *late = join(
        *(first, refusal, second, judgement),
        at(705, arrived(third, skb=SKB)),  # while the second one is looked at
        at(715, arrived(fourth, skb=SKB + 64)),
    )
    assert received.siblings == (third, fourth)
    assert received.refused_first is refusal
    assert len(late) == 2


def both_ends() -> list[Record]:
    """The other end is on this host: it aborts, and answers the challenge ACK."""
    challenge = segment(ACK, src=HERE, dst=THERE, sport=PORT, dport=CLIENT_PORT, ack=1000)
    return [
        at(0, left(AHEAD, ACTIVE_XMIT, flow=THEIRS)),
        at(2, arrived(AHEAD)),
        at(5, refused()),
        at(30, decided(A1, flow=THEIRS, sk=THEIR_SK)),
        at(400, answered(challenge, P1, flow=THEIRS)),
        at(410, left(EXACT, flow=THEIRS)),
        at(412, dropped(challenge, "NO_SOCKET", flow=THEIRS)),
        at(700, arrived(EXACT)),
        at(709, judged("ESTABLISHED")),
    ]


def test_the_sender_of_an_abort_in_two_steps_is_that_of_the_first() -> None:
    abort, answer, got = join(*both_ends())
    assert (abort.active, answer.active) == (True, False)
    assert got.peer is abort
    assert abort.peer is got
    assert answer.peer is None
    assert got.refused_first


def test_the_second_steps_sender_where_the_firsts_is_not_known() -> None:
    """NAT changed the first one, or its record was lost."""
    answer, got = join(*both_ends()[1:3], *both_ends()[4:])
    assert got.peer is answer
    assert answer.peer is got


def test_the_firsts_sender_where_the_seconds_is_not_known() -> None:
    abort, got = join(*both_ends()[:4], *both_ends()[7:])
    assert got.peer is abort
    assert abort.peer is got


def test_the_sender_waits_until_the_second_step_was_judged() -> None:
    """Else its object would name a peer that is never told."""
    joiner = Joiner()
    records = both_ends()
    for one in records[:4]:
        joiner.feed(one)
    assert joiner.advance(T + SETTLE_NS + MS) == []
    late = [replace(one, time_ns=one.time_ns + 60 * MS) for one in records[4:]]
    for one in late:
        joiner.feed(one)
    told = joiner.advance(late[-1].time_ns + SETTLE_NS)
    assert directions(told) == ["sent", "sent", "received"]
    assert told[0].peer is told[2]
    assert not joiner.busy


def test_the_answer_of_a_far_peer_is_waited_for() -> None:
    """The second step takes a round trip: here 300 ms."""
    far = sock(srtt_us=8 * 300_000)
    joiner = Joiner()
    first, refusal, second, judgement = two_steps(sock=far)
    joiner.feed(first)
    joiner.feed(refusal)
    assert joiner.advance(T + 500 * MS) == []
    joiner.feed(at(500_000, second))
    joiner.feed(at(500_009, judgement))
    (reset,) = joiner.flush()
    assert reset.refused_first


# -- equal packets ---------------------------------------------------------------------------------

BARE = segment(RST, seq=1000, ack=0, window=0, ip_id=0)


def test_equal_resets_have_each_their_own_fate() -> None:
    """Linux answers all segments with the same ack by the same RST: one of them is believed."""
    records = [at(0, arrived(BARE)), at(9, judged("ESTABLISHED"))]
    for n in (1, 2, 3):
        records += [
            at(100 * n, arrived(BARE, skb=SKB + 64 * n)),
            at(100 * n + 9, dropped(BARE, "NO_SOCKET", skb=SKB + 64 * n)),
        ]
    got, *echoes = join(*records)
    assert (got.direction, directions(echoes)) == ("received", ["rejected"] * 3)
    assert all(parts(reset) == {"wire", "judged"} for reset in (got, *echoes))


def test_fast_open_child_frees_the_reset_that_it_believed() -> None:
    """tcp_receive_reset below tcp_check_req(), then kfree_skb of the very same packet."""
    child = ("tcp_reset", "tcp_check_req", "tcp_rcv_state_process", "tcp_v4_do_rcv", *SOFTIRQ)
    (reset,) = join(
        at(0, arrived(BARE)),
        at(9, judged("SYN_RECV", child)),
        at(12, dropped(BARE, "TCP_FASTOPEN", state="CLOSE", sk=SK, frames=child[2:], skb=RST_SKB)),
    )
    assert (reset.direction, parts(reset)) == ("received", {"wire", "judged"})


def test_a_drop_whose_packet_was_not_seen_is_told_all_the_same() -> None:
    """An equal one was believed elsewhere, or ended a timewait socket."""
    there = replace(FLOW, netns=9)
    believed = [at(0, arrived(BARE, flow=there)), at(9, judged("ESTABLISHED", flow=there))]
    assert directions(join(*believed, at(50, dropped(BARE, "X")))) == ["received", "rejected"]
    mini: dict[str, Any] = {"state": "TIME_WAIT", "tw_substate": "TIME_WAIT", "tw_rcv_nxt": 1000}
    ended = [at(0, arrived(BARE)), at(9, dropped(BARE, None, **mini))]
    assert directions(join(*ended, at(50, dropped(BARE, "X")))) == ["received", "rejected"]


# -- more of the same flow -------------------------------------------------------------------------


def test_siblings_name_each_other() -> None:
    packets = [segment(RST, seq=1000 + 1460 * n) for n in range(3)]
    a, b, c = join(*(at(10 * n, arrived(p, skb=SKB + n)) for n, p in enumerate(packets)))
    assert a.siblings == (packets[1], packets[2])
    assert b.siblings == (packets[0], packets[2])
    assert c.siblings == (packets[0], packets[1])


def test_equal_packets_are_siblings_too() -> None:
    """A device in the path that wants to be sure."""
    a, b = join(at(0, arrived()), at(10, arrived(skb=SKB)))
    assert (len(a.siblings), len(b.siblings)) == (1, 1)


def test_a_packet_is_not_its_own_sibling() -> None:
    """Seen at the bridge's port and at the bridge."""
    (reset,) = join(at(0, arrived(ifindex=3)), at(2, arrived(ifindex=9)))
    assert reset.siblings == ()


@pytest.mark.parametrize("changes", [{"rport": 9}, {"netns": 9}, {"lport": 9}], ids=str)
def test_resets_of_other_flows_are_no_siblings(changes: dict[str, Any]) -> None:
    resets = join(at(0, arrived()), at(9, arrived(skb=SKB, flow=replace(FLOW, **changes))))
    assert [reset.siblings for reset in resets] == [(), ()]


def test_what_this_host_sends_is_no_sibling() -> None:
    resets = join(at(0, arrived()), at(5, left()), at(9, judged("ESTABLISHED")))
    assert directions(resets) == ["received", "sent"]
    assert [reset.siblings for reset in resets] == [(), ()]


def test_one_that_comes_when_the_first_was_told_is_no_sibling() -> None:
    joiner = Joiner()
    joiner.feed(arrived())
    (first,) = joiner.advance(T + PATIENCE_NS)
    joiner.feed(at(PATIENCE_NS / 1000, arrived(skb=SKB)))
    (second,) = joiner.flush()
    assert (first.siblings, second.siblings) == ((), ())


DATA = segment(PSH | ACK, b"more", seq=1000)


def test_data_after_a_reset_that_was_believed() -> None:
    """Its sender knows nothing of that RST."""
    more = segment(PSH | ACK, b"still more", seq=1004)
    got, *answers = join(
        at(0, arrived()),
        at(9, judged("ESTABLISHED")),
        at(20, answered(DATA)),
        # the listener that the connection came from speaks for it now
        at(40, answered(more, P2, skb=SKB + 64, sk=THEIR_SK, state="LISTEN")),
    )
    assert got.after == (DATA, more)
    assert directions(answers) == ["sent", "sent"]
    assert [reset.after for reset in answers] == [(), ()]


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ([arrived()], answered(DATA)),
        ([arrived(), at(9, dropped(segment(RST), "NO_SOCKET"))], answered(DATA)),
        ([arrived(), at(9, judged("ESTABLISHED"))], answered(segment(ACK))),
        ([arrived(), at(9, judged("ESTABLISHED"))], answered(segment(FIN | ACK))),
        (
            [arrived(), at(9, judged("ESTABLISHED"))],
            answered(DATA, P2, sk=THEIR_SK, state="CLOSE"),
        ),
        (
            [arrived(), at(9, judged("ESTABLISHED"))],
            answered(DATA, flow=replace(FLOW, rport=9)),
        ),
        ([at(0, left()), at(5, decided(A1))], answered(DATA)),
    ],
    ids=["not judged", "rejected", "no data", "FIN", "a new connection", "another flow", "sent"],
)
def test_what_does_not_come_after(before: list[Record], then: Record) -> None:
    for reset in join(*before, at(20, then)):
        assert reset.after == ()


# -- a SYN that was not believed -------------------------------------------------------------------

CHALLENGED = dropped(
    segment(SYN), "TCP_INVALID_SYN", sk=SK, state="ESTABLISHED", sock=sock(), frames=VALIDATE
)


def test_challenged_syn() -> None:
    (reset,) = join(CHALLENGED)
    assert (reset.direction, reset.drop_reason) == ("rejected", "TCP_INVALID_SYN")
    assert (reset.packet, reset.trigger, reset.state) == (segment(SYN), None, "ESTABLISHED")
    assert parts(reset) == {"judged"}


def test_each_challenged_syn_is_told() -> None:
    assert directions(join(CHALLENGED, at(9, CHALLENGED))) == ["rejected", "rejected"]


@pytest.mark.parametrize(
    "changes",
    [
        {"drop_reason": "NETFILTER_DROP"},
        {"frames": NO_SOCKET},
        {"frames": FIREWALL[3:]},
        {"packet": segment(ACK)},
        {"packet": None},
        {"frames": ("packet_rcv", *VALIDATE)},
    ],
    ids=["firewall", "no socket", "below", "no SYN", "no packet", "a copy"],
)
def test_other_drops_are_no_challenged_syns(changes: dict[str, Any]) -> None:
    assert join(replace(CHALLENGED, **changes)) == []


def test_a_syn_that_was_answered_by_a_reset_is_not_rejected_as_well() -> None:
    syn = segment(SYN)
    (reset,) = join(
        at(0, answered(syn, ("tcp_v4_send_reset", "tcp_check_req", *NO_SOCKET), sk=SK)),
        at(9, dropped(syn, "TCP_INVALID_SYN", frames=VALIDATE)),
    )
    assert (reset.direction, parts(reset)) == ("sent", {"decided", "trigger_drop"})


def test_a_challenged_syn_is_no_sibling_of_the_reset_that_follows() -> None:
    """The peer restarted and takes the same port again: it answers our challenge ACK by a RST."""
    syn, got = join(CHALLENGED, at(600, arrived()), at(609, judged("ESTABLISHED")))
    assert (syn.direction, got.direction) == ("rejected", "received")
    assert (syn.siblings, got.siblings) == ((), ())


# -- RSTs that end what is no full socket ----------------------------------------------------------


def timewait(substate: str, seq: int, rfc1337: bool = False, **changes: Any) -> str:
    """The direction of a RST that met a timewait socket."""
    packet = segment(RST, seq=seq)
    mini: dict[str, Any] = {"state": "TIME_WAIT", "tw_substate": substate, "tw_rcv_nxt": 1000}
    gone = dropped(
        packet,
        "NOT_SPECIFIED",
        sk=SK,
        **{**mini, "frames": NO_SOCKET, "rfc1337": rfc1337, **changes},
    )
    (reset,) = join(at(0, arrived(packet)), at(9, gone))
    assert reset.judged is not None
    assert parts(reset) == {"wire", "judged"}
    return reset.direction


def test_timewait_is_killed_by_exactly_its_number() -> None:
    assert timewait("TIME_WAIT", 1000) == "received"
    assert timewait("TIME_WAIT", 1001) == "rejected"
    assert timewait("TIME_WAIT", 999) == "rejected"


def test_timewait_is_protected_by_rfc1337() -> None:
    assert timewait("TIME_WAIT", 1000, rfc1337=True) == "rejected"


@pytest.mark.parametrize("rfc1337", [False, True])
@pytest.mark.parametrize(
    ("seq", "direction"),
    [
        (999, "rejected"),
        (1000, "received"),
        (1001, "received"),
        (1500, "received"),  # the right edge is the window's: tcp_in_window()
        (1501, "rejected"),
        (1000 + (1 << 31), "rejected"),
    ],
)
def test_fin_wait2_is_killed_by_any_in_its_window(seq: int, direction: str, rfc1337: bool) -> None:
    """net.ipv4.tcp_rfc1337 does not protect it."""
    assert timewait("FIN_WAIT2", seq, rfc1337, tw_rcv_wnd=500) == direction


def test_window_of_fin_wait2_wraps() -> None:
    edge: dict[str, Any] = {"tw_rcv_nxt": 0xFFFFFFF0, "tw_rcv_wnd": 500}
    assert timewait("FIN_WAIT2", 5, **edge) == "received"
    assert timewait("FIN_WAIT2", 0xFFFFFFEF, **edge) == "rejected"


@pytest.mark.parametrize("reason", ["XFRM_POLICY", "TCP_MINTTL", "TCP_CSUM", "TCP_MD5NOTFOUND"])
def test_what_was_dropped_before_the_socket_saw_it_ends_nothing(reason: str) -> None:
    assert timewait("TIME_WAIT", 1000, drop_reason=reason) == "rejected"
    assert timewait("FIN_WAIT2", 1000, drop_reason=reason) == "rejected"
    assert half_open(1000, drop_reason=reason) == "rejected"


def test_before_5_17_a_drop_has_no_reason() -> None:
    assert timewait("TIME_WAIT", 1000, drop_reason=None) == "received"
    assert half_open(1000, drop_reason=None) == "received"


def test_timewait_whose_number_is_not_known_makes_no_claim() -> None:
    assert timewait("TIME_WAIT", 1000, tw_rcv_nxt=None) == "rejected"
    assert timewait("FIN_WAIT2", 1000, tw_rcv_nxt=None) == "rejected"


def test_a_reset_that_met_a_connection_is_not_taken_for_one_that_met_timewait() -> None:
    assert timewait("FIN_WAIT2", 1000, state="ESTABLISHED") == "rejected"


def half_open(seq: int, **changes: Any) -> str:
    """The direction of a RST that met a half-open connection; the drop names its listener."""
    packet = segment(RST, seq=seq)
    request: dict[str, Any] = {"state": "LISTEN", "handshake": shake(rx_seq=999)}
    gone = dropped(packet, "NOT_SPECIFIED", **{"frames": NO_SOCKET, "sk": SK, **request, **changes})
    (reset,) = join(at(0, arrived(packet)), at(9, gone))
    return reset.direction


def test_half_open_connection_is_ended_by_exactly_its_number() -> None:
    assert half_open(1000) == "received"
    assert half_open(1001) == "rejected"
    assert half_open(999) == "rejected"
    assert half_open(0, handshake=shake(rx_seq=0xFFFFFFFF)) == "received"


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": P2[1:]},
        {"frames": ("tcp_v6_do_rcv", "tcp_v6_rcv", *SOFTIRQ)},
        {"handshake": None},
        {"handshake": shake(rx_seq=999, rx_ns=0)},
        {"state": "SYN_SENT"},
        {"state": None},
    ],
    ids=["listener", "listener, IPv6", "no handshake", "no SYN", "no listener", "no socket"],
)
def test_no_half_open_connection(changes: dict[str, Any]) -> None:
    """A RST to the listener itself went through tcp_v4_do_rcv(): it does nothing."""
    assert half_open(1000, **changes) == "rejected"
