"""What older kernels leave out, and how the join gets it from what they show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace import strays
from rsttrace.enrich import Facts
from rsttrace.explain import Explained, explain
from rsttrace.kernel.features import Features
from rsttrace.kernel.gaps import GAPS, gaps_of, lost_hooks
from rsttrace.matching import reverse
from rsttrace.model import RECEIVED, REJECTED, SUPPRESSED
from rsttrace.packet import ACK, FIN, PSH, RST, SYN, Packet
from rsttrace.records import Record

from .build import (
    ACCEPTED,
    FLOW,
    MS,
    REPLY,
    SECOND,
    SOFTIRQ,
    T,
    arrived,
    earlier,
    join,
    judged,
    left,
    record,
    rst,
    segment,
    sock,
)

DIRECT = ("kfree_skb_reason", "tcp_v4_rcv", *SOFTIRQ)
DATA = segment(ACK | PSH, b"hello")
SYN_IN = segment(SYN)
REFUSAL = rst(RST | ACK, seq=0, ack=1001)


def reply(packet: Packet, **changes: Any) -> Record:
    """Our RST at the device, as the answer to a segment that met no full socket."""
    frames = (*REPLY, "tcp_v4_rcv", *SOFTIRQ)
    return left(packet, **{"frames": frames, **changes})


def drop(packet: Packet, **changes: Any) -> Record:
    """The segment that was answered, freed right after."""
    plain: dict[str, Any] = {"skb": 7, "packet": packet, "frames": DIRECT, "time_ns": T + 1}
    return record("kfree_skb", **{**plain, **changes})


def told(*records: Record, watched_ns: int | None = None) -> tuple[Explained, ...]:
    """Joined and explained, for a trace of that age (None: older than everything)."""
    facts = Facts(watched_ns=watched_ns)
    return tuple(Explained(r, facts, explain(r, facts)) for r in join(*records))


# -- what a RST answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "asked", "fits"),
    [
        (rst(seq=5000), DATA, True),
        (rst(seq=5001), DATA, False),
        (rst(RST | ACK, seq=5000, ack=1005), DATA, False),  # an abort
        (REFUSAL, SYN_IN, True),
        (rst(RST | ACK, seq=0, ack=1000), SYN_IN, False),
        (rst(RST | ACK, seq=0, ack=1006), segment(FIN | PSH, b"hello"), True),
        (rst(RST | ACK, seq=0, ack=2), segment(SYN, seq=1), True),
        (rst(RST | ACK, seq=0, ack=0), segment(SYN, seq=0xFFFFFFFF), True),
    ],
)
def test_answers(answer: Packet, asked: Packet, fits: bool) -> None:
    if not asked.has(ACK):
        asked = replace(asked, ack=0)
    assert strays.answers(answer, asked) is fits


@pytest.mark.parametrize(
    ("frames", "stray"),
    [
        (("tcp_v4_send_reset", "tcp_v4_rcv"), True),
        (("tcp_v6_send_reset", "tcp_v6_rcv"), True),
        (("tcp_v4_send_reset", "tcp_v4_do_rcv", "tcp_v4_rcv"), False),
        (("tcp_v4_send_reset", "tcp_check_req", "tcp_v4_rcv"), False),
        ((), False),
    ],
)
def test_met_no_full_socket(frames: tuple[str, ...], stray: bool) -> None:
    assert strays.met_no_full_socket(frames) is stray


# -- the decision that tcp_send_reset does not tell ------------------------------------------------


def test_no_socket_by_the_reason() -> None:
    (one,) = told(reply(REFUSAL), drop(SYN_IN, drop_reason="NO_SOCKET"), watched_ns=SECOND)
    assert (one.verdict.cause, one.verdict.confidence) == ("closed-port", "certain")
    assert one.reset.decided
    assert one.reset.decided.inferred == "NO_SOCKET"
    assert one.reset.reason is None  # the kernel did not say it
    assert one.reset.trigger == SYN_IN


def test_another_reason_leaves_only_a_timewait_socket() -> None:
    (one,) = told(reply(rst()), drop(DATA, drop_reason="NOT_SPECIFIED"), watched_ns=SECOND)
    assert one.verdict.cause == "data-after-close"
    assert (one.reset.state, one.reset.state_before) == ("TIME_WAIT", "FIN_WAIT2")


@pytest.mark.parametrize(
    ("watched_ns", "confidence"), [(None, "certain"), (61 * SECOND, "certain"), (SECOND, "likely")]
)
def test_without_reasons_a_young_trace_is_not_sure(watched_ns: int | None, confidence: str) -> None:
    (one,) = told(reply(REFUSAL), drop(SYN_IN), watched_ns=watched_ns)
    assert (one.verdict.cause, one.verdict.confidence) == ("closed-port", confidence)
    assert bool(one.verdict.missing) == (confidence == "likely")


def test_without_reasons_a_connection_that_was_seen_to_close_tells() -> None:
    waiting = drop(DATA, state="TIME_WAIT", tw_substate="FIN_WAIT2", tw_rcv_nxt=1000, found=True)
    (one,) = told(reply(rst()), waiting, watched_ns=SECOND)
    assert (one.verdict.cause, one.verdict.confidence) == ("data-after-close", "certain")


def test_timewait_proper_never_answers_with_a_reset() -> None:
    over = drop(DATA, state="TIME_WAIT", tw_substate="TIME_WAIT", found=True, history=earlier())
    (one,) = told(reply(rst()), over)
    assert one.reset.state is None
    assert one.verdict.cause == "late-segment"


def test_the_segment_must_fit_the_reset() -> None:
    other = drop(segment(ACK | PSH, b"other", ack=4000), drop_reason="NO_SOCKET")
    (one,) = told(reply(rst()), other)
    assert one.reset.decided is None
    assert one.verdict.cause == "insufficient-data"


def test_active_resets_have_no_such_segment() -> None:
    out = left(rst(RST | ACK), frames=("__dev_queue_xmit", "tcp_send_active_reset", "tcp_abort"))
    (one,) = join(out, drop(DATA, drop_reason="NO_SOCKET"))
    assert one.decided is None
    assert one.trigger_drop is None


def test_a_reset_that_the_firewall_kept_back() -> None:
    frames = ("nf_hook_slow", "__ip_local_out", "tcp_v4_send_reset", "tcp_v4_rcv", *SOFTIRQ)
    kept = drop(REFUSAL, frames=frames, skb=9, drop_reason="NETFILTER_DROP", time_ns=T)
    kept = replace(kept, flow=reverse(FLOW))
    (one,) = told(kept, drop(SYN_IN, drop_reason="NO_SOCKET"))
    assert one.reset.direction == SUPPRESSED
    assert one.verdict.suppressed_cause == "closed-port"


# -- RSTs that are refused in silence --------------------------------------------------------------


def seen(packet: Packet, state: str = "ESTABLISHED", **changes: Any) -> Record:
    """A segment at the device, with the socket as it was then."""
    facts = sock(**{"owned": False, "rcv_nxt": 1000, "rcv_wnd": 64000, **changes})
    return arrived(packet, state=state, sock=facts, sk=5, found=True)


@pytest.mark.parametrize(
    ("wire", "inferred"),
    [
        (seen(segment(RST, seq=1100)), "TCP_RESET"),
        (seen(segment(RST, seq=900)), "TCP_INVALID_SEQUENCE"),
        (seen(segment(RST, seq=90000)), "TCP_INVALID_SEQUENCE"),
        (seen(segment(RST, seq=1000)), None),  # should have been believed
        (seen(segment(RST, seq=999), "CLOSE_WAIT"), None),
        (seen(segment(RST, seq=999)), "TCP_INVALID_SEQUENCE"),
        (seen(segment(RST, seq=1100), owned=True), None),  # the backlog may hold what is before it
        (seen(segment(RST), "LISTEN"), "TCP_RESET"),
        (seen(segment(RST), "SYN_SENT"), "TCP_RESET"),
        (seen(segment(SYN)), "TCP_INVALID_SYN"),
        (arrived(segment(RST, seq=1100)), None),  # nothing is known of a socket
    ],
)
def test_judgement(wire: Record, inferred: str | None) -> None:
    found = strays.judgement(wire)
    assert (found.inferred if found else None) == inferred


def test_refused_in_silence() -> None:
    (one,) = told(seen(segment(RST, seq=1100)))
    assert one.reset.direction == REJECTED
    assert one.verdict.cause == "blind-reset-rejected"
    assert one.reset.drop_reason is None  # the kernel gave none
    assert any("without a word" in line for line in one.verdict.evidence)


def test_kernels_that_tell_are_not_second_guessed() -> None:
    (one,) = told(arrived(segment(RST, seq=1100)))
    assert one.reset.direction == RECEIVED
    assert one.verdict.cause == "insufficient-data"


def test_challenged_syn() -> None:
    (one,) = told(seen(segment(SYN, seq=7777)))
    assert (one.reset.direction, one.verdict.cause) == (REJECTED, "blind-syn-rejected")


def test_two_resets_of_one_abort_are_one() -> None:
    ahead = seen(segment(RST | ACK, seq=1500))
    exact = arrived(segment(RST, seq=1000), time_ns=T + 2 * MS)
    believed = judged("ESTABLISHED", ACCEPTED, time_ns=T + 2 * MS + 1, sk=5, sock=sock())
    (one,) = join(ahead, exact, believed)
    assert one.direction == RECEIVED
    assert one.refused_first is not None


def test_the_judgement_belongs_to_the_exact_reset() -> None:
    guess = arrived(segment(RST, seq=31000))
    exact = arrived(segment(RST, seq=1000), time_ns=T + MS)
    believed = judged("ESTABLISHED", ACCEPTED, time_ns=T + MS + 1, sk=5, sock=sock())
    resets = join(guess, exact, believed)
    (accepted,) = [r for r in resets if r.judged]
    assert accepted.packet
    assert accepted.packet.seq == 1000


def test_what_a_firewall_dropped_met_no_socket() -> None:
    frames = ("kfree_skb_reason", "nft_do_chain", "nf_hook_slow", "ip_local_deliver", *SOFTIRQ)
    found = record("kfree_skb", state="ESTABLISHED", sock=sock(), found=True, frames=frames)
    assert strays.credible(found).state is None
    assert strays.credible(replace(found, frames=DIRECT)).state == "ESTABLISHED"


# -- which kernels have which gaps -----------------------------------------------------------------


def features(send: int, drop: int, reasons: tuple[str, ...], missing: tuple[str, ...]) -> Features:
    """Of a kernel with so many arguments, and these drop reasons."""
    args = {"tcp_send_reset": send, "kfree_skb": drop, "inet_sock_set_state": 3}
    enums = {"sk_rst_reason": {}, "skb_drop_reason": dict(enumerate(reasons))}
    return Features(args, {}, enums, 64, missing_hooks=missing)


ALL = ("NO_SOCKET", "TCP_RESET")
ALL_BUT_BTF = tuple(name for name in GAPS if name not in ("btf", "unseen-strays"))


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (features(3, 4, ALL, ()), ()),  # 6.11
        (features(2, 3, ALL, ()), ("reset-reason", "strays", "drop-socket")),  # 6.1
        (
            features(2, 3, ("NO_SOCKET",), ()),  # 5.15 late
            ("reset-reason", "strays", "quiet-drops", "drop-socket"),
        ),
        (features(2, 2, (), ("inet_sk_error_report",)), ALL_BUT_BTF),  # 5.10
    ],
)
def test_gaps(kernel: Features, expected: tuple[str, ...]) -> None:
    assert gaps_of(kernel) == expected


def test_a_hook_that_something_stands_in_for_is_not_lost() -> None:
    old = features(2, 2, (), ("inet_sk_error_report", "kfree_skb"))
    assert lost_hooks(old) == ("kfree_skb",)
    blind = replace(old, args={"tcp_send_reset": 2})
    assert lost_hooks(blind) == ("inet_sk_error_report", "kfree_skb")
