"""Events in any order and combination: joined, explained and printed without a fault."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rsttrace.causes import catalogue
from rsttrace.causes.case import Sender
from rsttrace.enrich import Facts
from rsttrace.join import Joiner
from rsttrace.listeners import Listeners
from rsttrace.matching import reverse
from rsttrace.packet import ACK, FIN, PSH, RST, SYN
from rsttrace.records import Record
from rsttrace.sinks.block import BlockSink
from rsttrace.sinks.jsonl import JsonSink
from rsttrace.sinks.oneline import OneLineSink
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
from .test_json import as_read

STACKS = [
    *(build.A1, build.A1_EXIT, build.A2, build.A3, build.A4, build.A10),
    *(build.P1, build.P2, build.P5, build.ACCEPTED, build.REFUSED, build.FIREWALL, build.REPLY),
    (*XMIT, *build.A2),
    (*XMIT, "ip_forward"),
    ("nft_do_chain", "nf_hook_slow", "__ip_local_out", *build.REPLY[2:]),
    ("0xffffffff81000000", "0xffffffff81000001"),
    (),
]
STATES = [
    None,
    "ESTABLISHED",
    "SYN_SENT",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LISTEN",
]
REASONS = [None, "NOT_SPECIFIED", "NO_SOCKET", "TCP_STATE", "TCP_ABORT_ON_DATA", "OTHERHOST", "77"]
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
    one_of(1000, 5000),
)
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
    errno=one_of(0, 32, 104, 9999),
    state=one_of(*STATES),
    tw_substate=one_of(None, "FIN_WAIT2"),
    sock=one_of(None, sock(), sock(flags=1), sock(flags=18, rcv_nxt=0), sock(is_mptcp=True)),
    history=one_of(None, history(), earlier(), earlier(flags=0, old_state="FIN_WAIT2")),
    handshake=one_of(None, shake(), shake(rx_ttl=0, tx_ns=0)),
    packet=packets | st.none(),
    ifindex=one_of(0, 2, 3),
    skb_iif=one_of(0, 2),
    dev=one_of("", "eth0"),
    frames=one_of(*STACKS),
)
facts = one_of(
    Facts(),
    Facts(NGINX, NGINX, NGINX, "host", Listeners([listener(), listener("::")]), 10**9),
)
senders = one_of(None, Sender("linger-zero", "certain", "It did.", False, ("do not",), "x[1]"))


@settings(max_examples=250)
@given(st.lists(records, max_size=14), facts, senders, st.data())
def test_any_events(
    events: list[Record], about: Facts, sender: Sender | None, data: st.DataObject
) -> None:
    joiner, resets = Joiner(), []
    events.sort(key=lambda r: r.time_ns)
    for event in events:
        if data.draw(st.booleans()):
            resets += joiner.advance(event.time_ns)
        joiner.feed(event)
    resets += joiner.flush()

    assert not joiner.busy
    assert len({r.id for r in resets}) == len(resets)
    decisions = [id(r.decided) for r in resets if r.decided]
    assert len(decisions) == len(set(decisions))
    for reset in resets:
        if reset.peer:
            assert reset.peer.peer is reset
        assert reset.main
        one = build.explained(reset, about, sender)
        assert one.verdict.cause in catalogue()
        assert one.verdict.summary.endswith(".")
        as_read(one)
        for colour in (False, True):
            assert BlockSink(relative_clock(T), 80, True, colour).reset(one)
        assert "\n" not in OneLineSink(relative_clock(T), wide=True).reset(one)
        assert json.loads(JsonSink(0).reset(one))["count"] == 1


@given(st.lists(records, max_size=14))
def test_every_decision_is_told_once(events: list[Record]) -> None:
    events.sort(key=lambda r: r.time_ns)
    decided = [e for e in events if e.kind == "tcp_send_reset" and e.flow]
    found = [r.decided for r in build.join(*events) if r.decided]
    assert sorted(map(id, found)) == sorted(map(id, decided))
