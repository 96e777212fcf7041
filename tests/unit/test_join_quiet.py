"""Records to resets: aborts without a RST, and how long the join waits for what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.join import Joiner
from rsttrace.matching import MAX_RTT_NS, PATIENCE_NS, SETTLE_NS
from rsttrace.packet import ACK, RST, SYN
from rsttrace.records import Record

from .build import (
    A1,
    A10,
    ACCEPTED,
    CLIENT_PORT,
    FIREWALL,
    FLOW,
    HERE,
    MS,
    NOT_A_RESET,
    P2,
    PORT,
    SK,
    SOFTIRQ,
    THEIRS,
    THERE,
    XMIT,
    T,
    answered,
    arrived,
    decided,
    dropped,
    history,
    join,
    judged,
    left,
    record,
    rst,
    segment,
    sock,
)
from .test_join import ACTIVE_XMIT, at, forwarded_out, parts
from .test_join_more import AHEAD, CHALLENGED, DATA, THEIR_SK, directions, refused

# -- aborts without a RST --------------------------------------------------------------------------

ETIMEDOUT, ECONNRESET, EHOSTUNREACH = 110, 104, 113
# seen on 6.18: tail calls and inlining hide tcp_write_err()
TIMED_OUT = ("sk_error_report", "tcp_retransmit_timer", "tcp_write_timer", "call_timer_fn")
ZERO_WINDOW = ("sk_error_report", "tcp_write_timer_handler", "tcp_write_timer", "call_timer_fn")
PLAIN = ("sk_error_report", "tcp_write_err", "tcp_write_timeout", "tcp_retransmit_timer")
ICMP = ("sk_error_report", "tcp_v4_err", "icmp_unreach", "icmp_rcv", *SOFTIRQ)
ICMP6 = ("sk_error_report", "tcp_v6_err", "icmpv6_notify", "icmpv6_rcv", *SOFTIRQ)
KEEPALIVE = ("sk_error_report", "tcp_write_err", "tcp_keepalive_timer", "call_timer_fn")
HIDDEN = ("0xffffffff81000000", "0xffffffff81000001")


def report(number: int = ETIMEDOUT, frames: tuple[str, ...] = TIMED_OUT, **changes: Any) -> Record:
    plain = {"state": "CLOSE", "sock": sock(), "history": history(close_ns=0, errno=number)}
    kind = "inet_sk_error_report"
    return record(kind, **{"sk": SK, "errno": number, "frames": frames, **plain, **changes})


QUIET = {
    "data": (ETIMEDOUT, TIMED_OUT),
    "probes": (ETIMEDOUT, ZERO_WINDOW),
    "plain": (ETIMEDOUT, PLAIN),
    "error only": (ETIMEDOUT, ("sk_error_report", "tcp_write_err", "call_timer_fn")),
    "timeout only": (ETIMEDOUT, ("sk_error_report", "tcp_write_timeout", "tcp_write_timer")),
    "probe timer": (ETIMEDOUT, ("sk_error_report", "tcp_probe_timer", "tcp_write_timer")),
    "ICMP": (EHOSTUNREACH, ICMP),
    "ICMPv6": (EHOSTUNREACH, ICMP6),
    "hidden symbols": (ETIMEDOUT, HIDDEN),
    "no stack": (ETIMEDOUT, ()),
}


@pytest.mark.parametrize(("number", "frames"), QUIET.values(), ids=QUIET)
def test_an_abort_without_a_reset(number: int, frames: tuple[str, ...]) -> None:
    one = report(number, frames)
    (reset,) = join(one)
    assert (reset.direction, reset.flow, reset.time_ns) == ("none", FLOW, T)
    assert reset.error is one
    assert parts(reset) == {"error"}
    assert (reset.packet, reset.maker, reset.active) == (None, None, False)
    assert (reset.frames, reset.state, reset.state_before) == (frames, "CLOSE", "ESTABLISHED")
    assert (reset.sock, reset.history) == (one.sock, one.history)


@pytest.mark.parametrize("state", ["ESTABLISHED", "FIN_WAIT1", "SYN_SENT"])
@pytest.mark.parametrize("frames", [TIMED_OUT, ZERO_WINDOW, PLAIN], ids=["data", "probes", "plain"])
def test_a_timeout_is_reported_before_the_state_changes(
    state: str, frames: tuple[str, ...]
) -> None:
    """Before 6.10 tcp_write_err() speaks first and closes then."""
    (reset,) = join(report(frames=frames, state=state))
    assert (reset.direction, reset.state_before) == ("none", state)


@pytest.mark.parametrize("state", ["SYN_SENT", "SYN_RECV"])
def test_icmp_ends_a_handshake(state: str) -> None:
    (reset,) = join(report(EHOSTUNREACH, ICMP, state=state))
    assert (reset.direction, reset.state_before) == ("none", state)


def test_each_socket_has_its_own_abort() -> None:
    other = replace(FLOW, rport=9)
    resets = join(report(), at(1, report(sk=THEIR_SK, flow=other)))
    assert [(reset.direction, reset.flow) for reset in resets] == [("none", FLOW), ("none", other)]


@pytest.mark.parametrize(
    "one",
    [
        report(ECONNRESET, ("sk_error_report", *ACCEPTED)),
        report(ECONNRESET, ("sk_error_report", *NOT_A_RESET)),
        report(103, ("sk_error_report", *A10[1:])),
        report(ECONNRESET, ("sk_error_report", "tcp_disconnect", "__tcp_close")),
        report(frames=KEEPALIVE),
        report(frames=("sk_error_report", "some_new_function")),
        report(EHOSTUNREACH, ICMP, state="ESTABLISHED"),
        report(EHOSTUNREACH, ICMP6, state="CLOSE_WAIT"),
        report(EHOSTUNREACH, HIDDEN, state="ESTABLISHED"),
        report(0),
        report(sk=0),
    ],
    ids=[
        "reset accepted",
        "data after close",
        "killed",
        "disconnected",
        "keepalive",
        "somebody else",
        "IP_RECVERR",
        "IPV6_RECVERR",
        "IP_RECVERR, hidden",
        "no error",
        "no socket",
    ],
)
def test_error_reports_that_are_no_abort_without_a_reset(one: Record) -> None:
    """Those that go with a RST, whose record may be lost; and those of a connection that lives."""
    assert join(one) == []


@pytest.mark.parametrize(
    ("before", "direction"),
    [
        ([left(rst(RST | ACK), ACTIVE_XMIT), at(5, decided(A1))], "sent"),
        ([decided(A1)], "sent"),
        ([arrived(), at(5, judged("ESTABLISHED"))], "received"),
        ([judged("ESTABLISHED")], "received"),
    ],
    ids=["sent", "decided", "received", "judged"],
)
def test_the_error_of_a_reset_is_no_abort_of_its_own(before: list[Record], direction: str) -> None:
    (reset,) = join(*before, at(9, report()))
    assert (reset.direction, reset.error and reset.error.errno) == (direction, ETIMEDOUT)


def test_the_error_of_a_connection_is_not_that_of_a_reset_it_refused() -> None:
    """It outlived the RST, and timed out a moment later."""
    refusal, abort = join(at(0, arrived(AHEAD)), at(5, refused()), at(900, report()))
    assert (refusal.direction, refusal.error) == ("rejected", None)
    assert (abort.direction, parts(abort)) == ("none", {"error"})


def test_an_abort_that_is_reported_twice_is_one() -> None:
    (reset,) = join(report(), at(5, report()))
    assert reset.time_ns == T


def test_an_error_before_the_reset_belongs_to_it() -> None:
    """Row P7, with a stack that is not named."""
    joiner = Joiner()
    joiner.feed(report(ECONNRESET, HIDDEN))
    assert joiner.advance(T + MS) == []
    joiner.feed(at(1001, answered(DATA, P2, sk=SK, state="CLOSE")))
    (reset,) = joiner.flush()
    assert (reset.direction, parts(reset)) == ("sent", {"decided", "error"})


def test_an_error_of_long_ago_does_not_belong_to_a_socket_at_the_same_address() -> None:
    joiner = Joiner()
    joiner.feed(report(ECONNRESET, NOT_A_RESET))
    joiner.feed(judged("FIN_WAIT2", NOT_A_RESET))
    assert joiner.advance(T + PATIENCE_NS + 1) == []
    joiner.feed(at(PATIENCE_NS / 1000 + 1, answered(DATA, P2, sk=SK, state="CLOSE")))
    (reset,) = joiner.flush()
    assert (reset.error, reset.unread_judgement) == (None, None)


def test_an_abort_without_a_reset_is_told_once() -> None:
    joiner = Joiner()
    joiner.feed(report())
    assert joiner.busy
    assert joiner.advance(T) == []
    told = [reset for ms in range(200) for reset in joiner.advance(T + ms * MS)]
    assert directions(told) == ["none"]
    assert not joiner.busy
    assert joiner.flush() == []


# -- patience --------------------------------------------------------------------------------------

OURS = dropped(
    rst(),
    "NETFILTER_DROP",
    flow=replace(FLOW, local=THERE, lport=CLIENT_PORT, remote=HERE, rport=PORT),
    frames=("nf_hook_slow", "__ip_local_out", "ip_send_unicast_reply", "tcp_v4_send_reset"),
)
PASSING = forwarded_out(flow=THEIRS, skb_iif=3)
LEFT_THERE = left(AHEAD, ACTIVE_XMIT, flow=THEIRS)
LEFT_SOMEHOW = left(AHEAD, (*XMIT, "some_new_function"), flow=THEIRS)
DECIDED_THERE = decided(A1, flow=THEIRS, sk=THEIR_SK)
RTT_MS = 40


def told_after(*records: Record) -> int:
    """How long after T the last of these resets is told, to a microsecond, in ns."""
    low, high = 0, 4 * MAX_RTT_NS
    while high - low > 1000:
        joiner, middle = Joiner(), (low + high) // 2
        for one in records:
            joiner.feed(one)
        joiner.advance(T + middle)
        low, high = (middle, high) if joiner.busy else (low, middle)
    return high


@pytest.mark.parametrize(
    ("records", "patience"),
    [
        ([answered(segment(SYN)), left()], SETTLE_NS),
        ([left(rst(RST | ACK), ACTIVE_XMIT), decided(A1)], SETTLE_NS),
        ([left(frames=FIREWALL)], SETTLE_NS),
        ([left(frames=(*XMIT, "raw_sendmsg"))], SETTLE_NS),
        ([left(frames=(*XMIT, "some_new_function"))], PATIENCE_NS),
        ([answered(segment(SYN))], PATIENCE_NS),
        ([answered(segment(SYN)), OURS], SETTLE_NS),
        ([PASSING], SETTLE_NS),
        ([arrived(), dropped(segment(RST), "NO_SOCKET")], SETTLE_NS),
        ([CHALLENGED], SETTLE_NS),
        ([report()], SETTLE_NS),
        ([arrived(AHEAD), refused(state="SYN_SENT")], SETTLE_NS),
        ([arrived()], PATIENCE_NS),
        ([arrived(), judged("ESTABLISHED")], PATIENCE_NS),
        ([arrived(AHEAD), refused(reason="TCP_INVALID_SEQUENCE")], SETTLE_NS),
        ([arrived(AHEAD), refused(sock=None)], SETTLE_NS),
        ([arrived(AHEAD), refused()], PATIENCE_NS),
        (
            [arrived(AHEAD), refused(sock=sock(srtt_us=RTT_MS * 8000))],
            PATIENCE_NS + 2 * RTT_MS * MS,
        ),
        (
            [arrived(AHEAD), refused(sock=sock(srtt_us=30 * 8_000_000))],
            PATIENCE_NS + MAX_RTT_NS,
        ),
        (
            [LEFT_THERE, arrived(AHEAD), judged("ESTABLISHED"), DECIDED_THERE],
            SETTLE_NS,
        ),
        (
            [LEFT_THERE, arrived(AHEAD), refused(), DECIDED_THERE],
            PATIENCE_NS,
        ),
        (
            [LEFT_SOMEHOW, arrived(AHEAD), judged("ESTABLISHED")],
            PATIENCE_NS,
        ),
    ],
    ids=[
        "sent, passive",
        "sent, active",
        "firewall",
        "raw socket",
        "sent by nobody known",
        "decided only",
        "suppressed",
        "forwarded",
        "rejected",
        "challenged SYN",
        "abort without a reset",
        "ignored in SYN_SENT",
        "arrived only",
        "received from another host",
        "out of window",
        "refused, no socket",
        "first step",
        "first step, RTT",
        "first step, long RTT",
        "both ends",
        "both ends, first step",
        "both ends, sender not known",
    ],
)
def test_patience(records: list[Record], patience: int) -> None:
    assert abs(told_after(*records) - patience) <= 1000


# -- busy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one",
    [decided(A1), arrived(), report(), report(ECONNRESET, NOT_A_RESET), CHALLENGED],
    ids=["sent", "received", "error", "an error of no abort", "challenged SYN"],
)
def test_busy_until_it_is_told_or_forgotten(one: Record) -> None:
    joiner = Joiner()
    assert not joiner.busy
    joiner.feed(one)
    assert joiner.busy
    joiner.advance(T + PATIENCE_NS + 1)
    assert not joiner.busy


@pytest.mark.parametrize(
    "one",
    [
        judged("FIN_WAIT2", NOT_A_RESET),
        dropped(segment(ACK), "NO_SOCKET"),
        record("a_hook_of_tomorrow"),
    ],
    ids=["a false judgement", "a drop", "an unknown hook"],
)
def test_not_busy_with_what_alone_is_no_reset(one: Record) -> None:
    joiner = Joiner()
    joiner.feed(one)
    assert not joiner.busy
