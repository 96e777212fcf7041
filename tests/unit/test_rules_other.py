"""Rules on resets that TCP did not make, and on facts that are missing."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.packet import ACK, PSH, RST, SYN

from .build import (
    A1,
    A2,
    ACTIVE,
    FIREWALL,
    FLOW,
    HERE,
    P1,
    PORT,
    THERE,
    XMIT,
    answered,
    arrived,
    decided,
    dropped,
    explained,
    finding,
    judged,
    left,
    received_reset,
    record,
    reset,
    rst,
    segment,
    sent_reset,
)

OUTPUT = (*XMIT, "nf_send_reset", "nft_do_chain", "nf_hook_slow", "__ip_local_out", "tcp_connect")


def rejected(frames: tuple[str, ...] = FIREWALL, **changes: Any) -> Any:
    drop = dropped(segment(SYN), "NETFILTER_DROP")
    parts = {"trigger_drop": drop, **changes}
    return finding("firewall-reject", sent_reset(None, left(rst(), frames), **parts))


# -- firewall-reject -------------------------------------------------------------------------------


def test_firewall_reject() -> None:
    found = rejected()
    assert (found.confidence, found.initiator) == ("certain", "local-firewall")
    assert found.summary.startswith("An nftables rule (reject with tcp reset) in the input hook")
    assert f"rejected SYN from {THERE}:51234 to {HERE}:{PORT}" in found.summary
    assert "the SYN was dropped with NETFILTER_DROP" in found.evidence


@pytest.mark.parametrize(
    ("maker", "table", "words"),
    [
        ("nf_send_reset", "ipt_do_table", "An iptables-legacy rule"),
        ("nf_send_reset6", "ip6t_do_table", "An ip6tables-legacy rule"),
        ("nf_send_reset6", "nft_do_chain", "An nftables rule"),
        ("nft_reject_netdev_eval", "some_table", "A firewall rule"),
        ("nf_reject_skb_v4_tcp_reset", "nft_do_chain", "An nftables rule"),
    ],
)
def test_kinds_of_firewall(maker: str, table: str, words: str) -> None:
    found = rejected((*XMIT, maker, table, "nf_hook_slow", "ip_local_deliver"))
    assert found.summary.startswith(words)


@pytest.mark.parametrize(
    ("caller", "hook"),
    [
        ("ip_local_deliver", "input"),
        ("ip6_input", "input"),
        ("ip_forward", "forward"),
        ("ip6_forward", "forward"),
        ("ip_rcv", "prerouting"),
        ("ipv6_rcv", "prerouting"),
        ("__ip_local_out", "output"),
        ("ip6_xmit", "output"),
        ("ip_output", "postrouting"),
    ],
)
def test_hook_is_named(caller: str, hook: str) -> None:
    """ip_output() also stands above, in the firewall's own sending."""
    frames = (*XMIT, "nf_send_reset", "nft_do_chain", "nf_hook_slow", caller, "process_backlog")
    assert f"in the {hook} hook" in rejected(frames).summary


def test_own_firewall_rejects_what_this_host_sends() -> None:
    postrouting = (*XMIT, "nf_send_reset", "nft_do_chain", "nf_hook_slow", "ip_output")
    for frames in (OUTPUT, postrouting):
        assert f"to {HERE}:{PORT}; it never left this host" in rejected(frames).summary


@pytest.mark.parametrize(
    ("trigger", "phase"), [(segment(SYN), "establishment"), (segment(PSH | ACK, b"x"), "transfer")]
)
def test_phase_of_a_rejection(trigger: Any, phase: str) -> None:
    assert rejected(trigger_drop=dropped(trigger, "NETFILTER_DROP")).phase == phase


@pytest.mark.parametrize(("flags", "phase"), [(RST | ACK, "establishment"), (RST, "transfer")])
def test_phase_of_a_rejection_by_the_form_of_the_rst(flags: int, phase: str) -> None:
    """Behind NAT the segment is not found; a bare RST answers one with ACK."""
    one = sent_reset(None, left(rst(flags), FIREWALL))
    found = finding("firewall-reject", one)
    assert found
    assert found.phase == phase


@pytest.mark.parametrize(
    "frames",
    [
        (*XMIT, "tcp_v4_send_reset", "tcp_v4_rcv"),
        (*XMIT, "__tcp_transmit_skb", *A2),
        (*XMIT, "raw_sendmsg"),
        XMIT,
        # a rule that only passes our own RST on its way out
        (*XMIT, "tcp_v4_send_reset", "tcp_v4_rcv", "nft_do_chain", "nf_hook_slow"),
    ],
)
def test_not_a_firewall(frames: tuple[str, ...]) -> None:
    assert rejected(frames) is None


# -- forwarded-reset -------------------------------------------------------------------------------


def test_forwarded() -> None:
    one = reset(direction="forwarded", wire=arrived(segment(RST), dev="eth1"))
    found = finding("forwarded-reset", one)
    assert found
    assert "This host only passed on a reset from" in found.summary
    assert "by eth1" in found.evidence[0]
    verdict = explained(one).verdict
    assert (verdict.cause, verdict.initiator) == ("forwarded-reset", "unknown")


@pytest.mark.parametrize("direction", ["sent", "received", "rejected", "suppressed"])
def test_not_forwarded(direction: str) -> None:
    one = reset(direction=direction, wire=arrived())
    assert finding("forwarded-reset", one) is None


# -- insufficient-data -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "missing"),
    [
        (sent_reset(None, left(rst(RST | ACK), (*XMIT, *A1))), "the decision"),
        (sent_reset(None, left(frames=(*XMIT, *P1))), "the segment that provoked the RST"),
        (received_reset(None, arrived()), "what TCP did with this RST"),
    ],
)
def test_missing_fact_is_named(one: Any, missing: str) -> None:
    found = explained(one).verdict
    assert (found.cause, found.confidence) == ("insufficient-data", "unknown")
    assert found.missing.startswith(missing)
    assert "Records were lost" not in found.summary
    one.lossy = True
    again = explained(one).verdict
    assert again.summary.endswith("Records were lost at about this time.")


@pytest.mark.parametrize(
    "one",
    [
        sent_reset(decided(A2)),
        sent_reset(answered(segment(SYN))),
        sent_reset(None, left(frames=P1), trigger_drop=dropped(segment(SYN), None)),
        received_reset(judged("ESTABLISHED")),
        reset(direction="forwarded", wire=arrived()),
        sent_reset(None, left(frames=(*XMIT, "raw_sendmsg"))),
    ],
)
def test_nothing_is_missing(one: Any) -> None:
    assert explained(one).verdict.cause != "insufficient-data"


def test_active_reset_of_a_new_kind_is_unknown_and_not_guessed() -> None:
    one = sent_reset(decided((ACTIVE, "tcp_new_function", "kthread")))
    verdict = explained(one).verdict
    assert (verdict.cause, verdict.confidence) == ("unknown", "unknown")
    assert "No rule fits" in verdict.summary


def test_a_packet_without_its_stack_is_no_guess() -> None:
    verdict = explained(reset(direction="sent", wire=record("net_dev_queue", flow=FLOW))).verdict
    assert verdict.cause == "insufficient-data"
    assert verdict.missing.startswith("the kernel stack")
