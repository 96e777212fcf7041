"""Rules on resets that a local tool made, that passed through, or that did not get out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes.case import Finding
from rsttrace.enrich import Facts, Process, enrich
from rsttrace.model import Reset
from rsttrace.packet import ACK, RST, SYN

from .build import (
    A1,
    ACTIVE,
    CURL,
    FIREWALL,
    FLOW,
    HERE,
    NETNS,
    OTHER_NETNS,
    P1,
    PORT,
    REPLY,
    SYSCALL,
    THERE,
    XMIT,
    FakeContext,
    answered,
    arrived,
    decided,
    dropped,
    explained,
    finding,
    judged,
    left,
    received_reset,
    reset,
    rst,
    segment,
    sent_reset,
    shake,
    task,
)

HPING = Process(4711, "hping3", "/usr/sbin/hping3", "hping3 -R 10.0.0.9")
RAW = (*XMIT, "raw_sendmsg", "__sys_sendto", "__x64_sys_sendto", *SYSCALL)
TOOL = task("hping3", 4711)


def injected(frames: tuple[str, ...] = RAW, **changes: Any) -> Reset:
    """A RST of hping3, as the device hook saw it."""
    wire = left(rst(window=512, ttl=37), frames, task=TOOL, **changes)
    return sent_reset(None, wire)


def found(one: Reset, facts: Facts | None = None) -> Finding | None:
    return finding("injected-by-local-tool", one, facts)


# -- injected-by-local-tool ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("raw_sendmsg", "a raw socket"),
        ("rawv6_sendmsg", "a raw socket"),
        ("packet_sendmsg", "a packet socket"),
        ("packet_snd", "a packet socket"),
        ("packet_sendmsg_spkt", "a packet socket"),
    ],
)
def test_injected(call: str, words: str) -> None:
    got = found(injected(("__dev_queue_xmit", call, *SYSCALL)), Facts(actor=HPING))
    assert got
    assert got.confidence == "certain"
    assert got.summary == (
        f"hping3[4711] sent a reset through {words}, in the name of {HERE}:{PORT}, "
        f"to {THERE}:51234."
    )
    assert f"stack: {call}" in got.evidence
    assert "RST, window 512, TTL 37" in got.evidence


def test_the_process_is_the_task_that_sent_it() -> None:
    """In every kind of context, also a worker of io_uring, whose stack begins with no syscall."""
    context = FakeContext([HPING, CURL])
    for frames in (RAW, (*XMIT, "raw_sendmsg", "io_sendmsg", "io_wq_worker", "ret_from_fork")):
        facts = enrich(injected(frames), context)
        assert facts.actor == facts.owner == HPING
    # the name that the kernel gave is kept if the process is gone
    assert enrich(injected(), FakeContext()).actor == Process(4711, "hping3")


@pytest.mark.parametrize("frames", [FIREWALL, REPLY, (*XMIT, *A1), XMIT])
def test_a_task_that_merely_was_on_the_cpu_is_not_named(frames: tuple[str, ...]) -> None:
    assert enrich(injected(frames), FakeContext([HPING])).actor is None


def test_nobody_known_is_nobody_named() -> None:
    got = found(injected())
    assert got
    assert got.summary.startswith("A program sent a reset through a raw socket")


def test_was_there_a_connection() -> None:
    """Only one side's SYN: the tool answers a connection attempt, as honeypots do."""
    hit, none, asked = (found(injected(handshake=one)) for one in (shake(), None, shake(tx_ns=0)))
    assert hit
    assert none
    assert asked
    assert hit.evidence[-1].endswith("was seen 9 ms before")
    assert none.evidence[-1] == "no handshake with these addresses and ports was seen here"
    assert (hit.phase, none.phase, asked.phase) == (None, None, "establishment")


@pytest.mark.parametrize(
    "one",
    [
        injected(FIREWALL),
        injected(REPLY),
        injected((*XMIT, "__tcp_transmit_skb", *A1)),
        injected((*XMIT, "ip_forward")),
        # held until the neighbour was known: its maker cannot be seen any more
        injected(("__dev_queue_xmit", "__neigh_update", "arp_process", "process_backlog")),
        reset(direction="forwarded", wire=left(skb_iif=3)),
        received_reset(judged("ESTABLISHED"), arrived()),
        sent_reset(answered(segment(ACK)), left()),
    ],
)
def test_not_injected(one: Reset) -> None:
    assert found(one) is None
    assert explained(one).verdict.cause != "injected-by-local-tool"


def test_the_engine_asks_it() -> None:
    verdict = explained(injected(), Facts(actor=HPING)).verdict
    assert (verdict.cause, verdict.confidence) == ("injected-by-local-tool", "certain")
    assert verdict.remedies[0].startswith("find out who runs the named program")


def test_hidden_symbols_are_no_guess() -> None:
    verdict = explained(injected(("0xffffffff81000000",))).verdict
    assert (verdict.cause, verdict.confidence) == ("insufficient-data", "unknown")
    assert verdict.missing.startswith("the kernel stack")


# -- forwarded-reset -------------------------------------------------------------------------------


def forwarded(frames: tuple[str, ...] = (), origin: Reset | None = None) -> Finding:
    wire = left(segment(RST), frames, skb_iif=3, dev="eth1")
    got = finding("forwarded-reset", reset(direction="forwarded", wire=wire, origin=origin))
    assert got
    assert got.confidence == "certain"
    return got


def test_forwarded_from_another_host() -> None:
    got = forwarded()
    assert got.summary == (
        f"This host only passed on a reset from {HERE}:{PORT} to {THERE}:51234; "
        "it was made elsewhere."
    )
    expected = "passed on: it came in by the interface with index 3 and left by eth1"
    assert got.evidence[0] == expected
    assert got.remedies is None


def test_bridged() -> None:
    frames = ("__dev_queue_xmit", "br_dev_queue_push_xmit", "br_handle_frame", "process_backlog")
    assert forwarded(frames).evidence[0].startswith("bridged: ")


@pytest.mark.parametrize(
    ("netns", "where"), [(OTHER_NETNS, " in another network namespace"), (NETNS, "")]
)
def test_forwarded_and_its_maker_is_here_too(netns: int, where: str) -> None:
    """Containers behind a bridge or a router, also with NAT: the maker's own record says why."""
    flow = replace(FLOW, netns=netns, local="172.17.0.2", lport=80)
    got = forwarded(origin=sent_reset(decided(A1), flow=flow))
    assert got.summary.endswith(f"it was made on this host, by 172.17.0.2:80{where}.")
    assert got.remedies
    assert f"reported as sent by 172.17.0.2:80{where}: it names" in got.remedies[0]


def test_forwarded_without_its_packet() -> None:
    got = finding("forwarded-reset", reset(direction="forwarded", wire=left(dev="")))
    assert got
    assert len(got.evidence) == 1


# -- reset-suppressed ------------------------------------------------------------------------------

FILTER = ("sk_skb_reason_drop", "nft_do_chain", "nf_hook_slow", "__ip_local_out")


def suppressed(
    first: Any, maker: tuple[str, ...], reason: str | None = "NETFILTER_DROP", **changes: Any
) -> Reset:
    frames = (*changes.pop("where", FILTER), *maker)
    gone = dropped(rst(), reason, frames=frames)
    return sent_reset(first, direction="suppressed", judged=gone, **changes)


def test_suppressed_answer_to_a_syn() -> None:
    one = suppressed(answered(segment(SYN)), P1)
    verdict = explained(one).verdict
    assert (verdict.cause, verdict.confidence) == ("reset-suppressed", "certain")
    assert verdict.suppressed_cause == "closed-port"
    assert "wanted to connect, but nothing listens on" in verdict.summary
    assert "this host's own firewall dropped it" in verdict.summary
    assert verdict.evidence[0] == "the reset was for closed-port (certain)"
    assert "drop reason NETFILTER_DROP" in verdict.evidence
    assert any("nft_do_chain < nf_hook_slow < __ip_local_out" in e for e in verdict.evidence)
    assert verdict.phase == "establishment"
    assert verdict.sees.startswith("nothing: connect() waits")


def test_suppressed_abort() -> None:
    verdict = explained(suppressed(decided(A1), A1), Facts(actor=HPING, owner=HPING)).verdict
    assert (verdict.cause, verdict.suppressed_cause) == ("reset-suppressed", "unread-data-on-close")
    assert verdict.summary.startswith("hping3[4711] closed the socket")
    assert verdict.phase == "transfer"
    assert verdict.sees.startswith("nothing: it waits")
    assert verdict.errno is None
    assert not verdict.benign


@pytest.mark.parametrize(
    ("reason", "where", "who"),
    [
        ("NETFILTER_DROP", FILTER, "this host's own firewall"),
        (None, FILTER, "this host's own firewall"),  # before 5.17 only the stack tells
        ("BPF_CGROUP_EGRESS", ("ip_finish_output",), "a BPF program of its control group"),
        ("TC_EGRESS", ("__dev_queue_xmit",), "a traffic control filter (tc) of this host"),
        ("QDISC_DROP", ("__dev_queue_xmit",), "the queue of the network device"),
        ("IP_OUTNOROUTES", ("ip_output",), "this host itself"),
    ],
)
def test_who_dropped_it(reason: str | None, where: tuple[str, ...], who: str) -> None:
    """Only a firewall is blamed as one."""
    verdict = explained(suppressed(decided(A1), A1, reason, where=where)).verdict
    assert f"But {who} dropped it" in verdict.summary


def test_suppressed_and_not_understood() -> None:
    """That it was dropped is certain all the same; what it was for is not known."""
    new = (ACTIVE, "tcp_new_function")
    verdict = explained(suppressed(decided(new), new)).verdict
    assert (verdict.cause, verdict.confidence) == ("reset-suppressed", "certain")
    assert verdict.suppressed_cause == "unknown"
    assert "the reset was for unknown (unknown)" in verdict.evidence


def test_suppressed_and_the_decision_lost() -> None:
    verdict = explained(suppressed(None, A1)).verdict
    assert (verdict.cause, verdict.suppressed_cause) == ("reset-suppressed", "insufficient-data")
    assert verdict.missing.startswith("the decision")


def test_incoming_reset_that_the_own_firewall_dropped() -> None:
    gone = dropped(segment(RST), "NETFILTER_DROP")
    verdict = explained(reset(direction="rejected", wire=arrived(), judged=gone)).verdict
    assert (verdict.cause, verdict.confidence) == ("reset-suppressed", "certain")
    assert "before TCP saw it" in verdict.summary
    assert verdict.suppressed_cause is None


@pytest.mark.parametrize(
    "one",
    [
        sent_reset(decided(A1), left(frames=(*XMIT, *A1))),
        received_reset(judged("ESTABLISHED"), arrived()),
        reset(direction="rejected", wire=arrived(), judged=dropped(segment(RST), "TCP_CSUM")),
        sent_reset(None, left(rst(), FIREWALL)),
    ],
)
def test_not_suppressed(one: Reset) -> None:
    verdict = explained(one).verdict
    assert verdict.cause != "reset-suppressed"
    assert verdict.suppressed_cause is None
