"""Events in any order and combination: joined, explained and printed without a fault."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rsttrace.causes import catalogue
from rsttrace.causes.case import Sender
from rsttrace.completeness import Tally
from rsttrace.enrich import Facts
from rsttrace.explain import Explained
from rsttrace.fold import Fold
from rsttrace.join import Joiner
from rsttrace.listeners import Listeners
from rsttrace.matching import reverse
from rsttrace.model import Reset
from rsttrace.packet import ACK, FIN, PSH, RST, SYN
from rsttrace.records import Record
from rsttrace.sinks.block import BlockSink
from rsttrace.sinks.jsonl import JsonSink
from rsttrace.sinks.oneline import OneLineSink
from rsttrace.sinks.totals import Totals
from rsttrace.sinks.words import relative_clock

from . import build
from .build import (
    FLOW,
    FLOW6,
    NGINX,
    SK,
    SKB,
    THEIRS,
    XMIT,
    T,
    earlier,
    history,
    listener,
    record,
    segment,
    shake,
    sock,
    task,
)
from .test_join_more import VALIDATE
from .test_join_quiet import ICMP, KEEPALIVE, TIMED_OUT
from .test_json import as_read

STACKS = [
    *(build.A1, build.A1_EXIT, build.A2, build.A3, build.A4, build.A10),
    *(build.P1, build.P2, build.P5, build.ACCEPTED, build.REFUSED, build.FIREWALL, build.REPLY),
    (*XMIT, *build.A2),
    (*XMIT, "ip_forward"),
    ("nft_do_chain", "nf_hook_slow", "__ip_local_out", *build.REPLY[2:]),
    *(VALIDATE, TIMED_OUT, ICMP, KEEPALIVE),
    ("tcp_v4_rcv", *build.SOFTIRQ),
    ("0xffffffff81000000", "0xffffffff81000001"),
    (),
]
STATES = [
    *(None, "ESTABLISHED", "SYN_SENT", "SYN_RECV", "NEW_SYN_RECV", "FIN_WAIT1", "FIN_WAIT2"),
    *("TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "CLOSING", "LISTEN", "99"),
]
REASONS = [
    *(None, "NOT_SPECIFIED", "NO_SOCKET", "TCP_STATE", "TCP_ABORT_ON_DATA", "OTHERHOST", "77"),
    *("TCP_RESET", "TCP_INVALID_SYN", "TCP_INVALID_SEQUENCE", "NETFILTER_DROP"),
]
PAYLOADS = [b"", b"x", b"\x15\x03\x03\x00\x02\x01\x00", b"\x17\x03\x03\x00\x13" + b"a" * 19]
KINDS = (
    "tcp_send_reset",
    "tcp_receive_reset",
    "kfree_skb",
    "net_dev_queue",
    "netif_receive_skb",
    "inet_sk_error_report",
    "inet_sock_set_state",
    "a_hook_of_tomorrow",
)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


flows = one_of(FLOW, THEIRS, FLOW6, reverse(FLOW), replace(FLOW, netns=0), None)
packets = st.builds(
    lambda flags, payload, out, seq: (
        build.rst(flags, payload=payload, length=len(payload), seq=seq)
        if out
        else segment(flags, payload, seq=seq)
    ),
    one_of(RST, RST | ACK, SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, 0),
    one_of(*PAYLOADS),
    st.booleans(),
    one_of(1000, 1312, 5000),
)
SOCKS = [
    *(None, sock(), sock(flags=1), sock(flags=18, rcv_nxt=0), sock(is_mptcp=True)),
    sock(flags=8, heard_ms=7_200_000, spoke_ms=75_000, probes_out=9, user_timeout=30_000),
    sock(srtt_us=8 * 300_000, min_rtt_us=20_000, header_len=32, retransmits=15, snd_una=1),
    sock(has_socket=False, linger2=-1, fastopen=True, err_soft=113, segs_in=1),
]
HISTORIES = [
    *(None, history(), earlier(), earlier(flags=0, old_state="FIN_WAIT2")),
    *(history(close_ns=0, errno=110), earlier(flags=1, errno=113), history(established_ns=0)),
]
SHAKES = [
    *(None, shake(), shake(rx_ttl=0, tx_ns=0), shake(rx_ns=0)),
    shake(rx_seq=0xFFFFFFFF, tx_seq=4999, rx_ip_id=7, rx_df=True),
]


def real(one: Record) -> Record:
    """The hooks at the devices take nothing but RSTs."""
    if one.kind not in ("net_dev_queue", "netif_receive_skb") or not one.packet:
        return one
    return replace(one, packet=replace(one.packet, flags=one.packet.flags | RST))


records = st.builds(
    record,
    one_of(*KINDS),
    time_ns=st.integers(T, T + 3_000_000) | st.integers(T, T + 10**11),
    cpu=one_of(0, 1),
    task=one_of(task(), task(pid=0), task(flags=0x4, exit_code=9), task(flags=0x200000)),
    flow=flows,
    sk=one_of(0, SK, SK + 64),
    skb=one_of(0, SKB, SKB + 64),
    reason=one_of(*REASONS),
    drop_reason=one_of(*REASONS),
    errno=one_of(0, 32, 104, 110, 113, 9999),
    state=one_of(*STATES),
    tw_substate=one_of(None, None, "FIN_WAIT2", "TIME_WAIT"),
    tw_rcv_nxt=one_of(None, 1000, 0xFFFFFFFF),
    tw_rcv_wnd=one_of(0, 500),
    rfc1337=st.booleans(),
    sock=one_of(*SOCKS),
    history=one_of(*HISTORIES),
    handshake=one_of(*SHAKES),
    packet=packets | st.none(),
    ifindex=one_of(0, 2, 3),
    skb_iif=one_of(0, 2),
    dev=one_of("", "eth0"),
    frames=one_of(*STACKS),
).map(real)
facts = one_of(
    Facts(),
    Facts(NGINX, NGINX, NGINX, "host", Listeners([listener(), listener("::")]), 10**9),
)
senders = one_of(None, Sender("linger-zero", "certain", "It did.", False, ("do not",), "x[1]"))


def repeated(one: Record, times: int, step_ns: int) -> list[Record]:
    """Again and again, from another place in memory each time."""
    return [
        replace(one, time_ns=one.time_ns + n * step_ns, skb=one.skb and one.skb + 64 * n)
        for n in range(times)
    ]


# what a device or an attacker does: the same again; echoes; several errors of one socket
bursts = st.builds(
    repeated, records, one_of(1, 1, 1, 2, 4), one_of(1_000, 300_000, 40_000_000, 300_000_000)
)
happenings = st.lists(bursts, max_size=12).map(
    lambda lists: sorted((one for each in lists for one in each), key=lambda r: r.time_ns)
)


def sound(reset: Reset) -> None:
    """What holds for every reset, whatever happened."""
    assert reset.main
    if reset.peer:
        assert reset.peer.peer is reset
    if reset.refused_first:
        assert reset.direction == "received"
        assert reset.refused_first is not reset.judged
    assert reset.direction in ("received", "forwarded", "rejected") or not reset.siblings
    assert all(packet.has(RST) for packet in reset.siblings)
    assert reset.direction == "received" or not reset.after
    assert all(packet.length for packet in reset.after)
    if reset.direction == "none":
        assert reset.records == [reset.error]
        assert reset.packet is None


def printed(one: Explained) -> None:
    """Every output takes it."""
    assert as_read(one)["count"] == one.count
    for verbose in (False, True):
        for colour in (False, True):
            assert BlockSink(relative_clock(T), 80, verbose, colour).reset(one)
    assert "\n" not in OneLineSink(relative_clock(T), wide=True).reset(one)


@settings(max_examples=250)
@given(happenings, facts, senders, st.data())
def test_any_events(
    events: list[Record], about: Facts, sender: Sender | None, data: st.DataObject
) -> None:
    joiner, fold, totals = Joiner(), Fold(), Totals()
    resets: list[Reset] = []
    told: list[Explained] = []

    def explain(found: list[Reset]) -> None:
        resets.extend(found)
        told.extend(fold.feed(build.explained(reset, about, sender) for reset in found))

    for event in events:
        if data.draw(st.booleans()):
            explain(joiner.advance(event.time_ns))
            told += fold.advance(event.time_ns)
        joiner.feed(event)
    explain(joiner.flush())
    told += fold.advance(None)

    assert not joiner.busy
    assert not fold.busy
    ids = {reset.id for reset in resets}
    assert len(ids) == len(resets)
    decisions = [id(r.decided) for r in resets if r.decided]
    assert len(decisions) == len(set(decisions))
    # one that became a part of another is never told by itself
    parts = {id(r.refused_first) for r in resets if r.refused_first}
    assert not parts & {id(r.judged) for r in resets}
    for reset in resets:
        sound(reset)
        assert not reset.peer or reset.peer.id in ids
    for one in told:
        assert one.verdict.cause in catalogue()
        assert one.verdict.summary.endswith(".")
        assert one.related is None or one.related.id in ids - {one.reset.id}
        printed(one)
        totals.add(one)
    assert totals.resets == len(resets)
    assert json.loads(JsonSink(0).summary(totals))["resets"] == len(resets)


@given(happenings)
def test_tally_takes_any_events(events: list[Record]) -> None:
    tally = Tally()
    tally.start({})
    sent = 0
    for reset in build.join(*events):
        tally.add(build.explained(reset))
        sent += reset.direction in ("sent", "suppressed")
    tally.stop({})
    done = tally.compare(0)
    assert done.explained + done.unexplained + done.outside_tcp == sent
    assert done.sentence


@given(happenings)
def test_every_decision_is_told_once(events: list[Record]) -> None:
    decided = [e for e in events if e.kind == "tcp_send_reset" and e.flow]
    found = [r.decided for r in build.join(*events) if r.decided]
    assert sorted(map(id, found)) == sorted(map(id, decided))
