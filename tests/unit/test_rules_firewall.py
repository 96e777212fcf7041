"""Which firewall rule made, or dropped, a RST: the stack's part, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsttrace.causes import catalogue
from rsttrace.causes.case import Case, Finding
from rsttrace.causes.netfilter import NONE, Spot, dropping, rejecting, rejecting_spot, spot_of
from rsttrace.enrich import Facts, enrich
from rsttrace.enrich.firewall import DROP, RESET, Firewall, Match, Rule, to_json
from rsttrace.model import Reset
from rsttrace.packet import ACK, PSH, RST, SYN
from rsttrace.recording import Recorder, Recording

from .build import (
    A1,
    CLIENT_PORT,
    FIREWALL,
    HERE,
    LAYOUT,
    NETNS,
    P1,
    PORT,
    SOFTIRQ,
    THERE,
    XMIT,
    FakeContext,
    T,
    answered,
    decided,
    dropped,
    explained,
    finding,
    left,
    received_reset,
    reset,
    rst,
    segment,
    sent_reset,
)

# stacks of Linux 6.18, as the labs show them
NFT = ("nft_do_chain", "nft_do_chain_inet", "nf_hook_slow")
INPUT = (*XMIT, "nf_send_reset", "nft_reject_inet_eval", *NFT, "ip_local_deliver", *SOFTIRQ)
NETDEV = (
    *("__dev_queue_xmit", "nft_reject_netdev_eval", "nft_do_chain", "nft_do_chain_netdev"),
    *("nf_hook_slow", "__netif_receive_skb_core", "process_backlog"),
)
BRIDGED = (
    *("__dev_queue_xmit", "nf_send_reset", "nft_reject_inet_eval", *NFT, "br_nf_forward_ip"),
    *("nf_hook_slow", "__br_forward", "br_handle_frame_finish", "br_nf_hook_thresh"),
    *("br_nf_pre_routing_finish", "br_nf_pre_routing", "br_handle_frame"),
    *("__netif_receive_skb_core", "process_backlog"),
)
LEGACY = (*XMIT, "nf_send_reset", "reject_tg", "ipt_do_table", "nf_hook_slow", "ip_local_deliver")
XT = (
    *(*XMIT, "nf_send_reset", "reject_tg", "nft_target_eval_xt", "nft_do_chain"),
    *("nft_do_chain_ipv4", "nf_hook_slow", "ip_forward"),
)
# our RST was dropped on its way out: the RST of TCP, and that of a firewall
OUT = ("sk_skb_reason_drop", *NFT, "__ip_local_out")
OUT_PASSIVE = (*OUT, "ip_send_unicast_reply", "tcp_v4_send_reset", "tcp_v4_rcv", *SOFTIRQ)
OUT_FIREWALL = (*OUT, "nf_send_reset", "nft_reject_inet_eval", *NFT, "ip_forward", *SOFTIRQ)

TO_PORT = Match("dport", (str(PORT),))


def rule(handle: int = 7, **changes: Any) -> Rule:
    """A rule in the input hook that rejects what comes to PORT."""
    place = f"table inet filter, chain input, handle {handle}"
    plain = {"verdict": RESET, "tool": "nft", "family": "inet", "hook": "input", "place": place}
    text = f"tcp dport {PORT} reject with tcp reset"
    sure = {"exact": True, "reached": True, "chains": (handle,)}
    return Rule(**{**plain, "text": text, "own": (TO_PORT,), **sure, **changes})


def facts(*rules: Rule, **changes: Any) -> Facts:
    return Facts(firewall=Firewall(rules, **changes))


def rejected(frames: tuple[str, ...] = INPUT, flags: int = SYN, **changes: Any) -> Reset:
    """A RST that a firewall made, and the segment that it dropped."""
    plain = {"ifindex": 2, "skb_iif": 2}
    drop = dropped(segment(flags), "NETFILTER_DROP", **{**plain, **changes})
    return sent_reset(None, left(rst(), frames), trigger_drop=drop)


def suppressed(frames: tuple[str, ...] = OUT_PASSIVE, **changes: Any) -> Reset:
    """A RST of ours that was dropped on its way out."""
    plain = {"frames": frames, "ifindex": 2, "skb_iif": 0}
    drop = dropped(rst(), "NETFILTER_DROP", **{**plain, **changes})
    return sent_reset(answered(segment(SYN), P1), direction="suppressed", judged=drop)


def ask(one: Reset, known: Facts) -> Finding:
    found = finding("firewall-reject", one, known)
    assert found
    assert (found.confidence, found.initiator) == ("certain", "local-firewall")
    return found


# -- what the stack tells --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "spot"),
    [
        (INPUT, Spot("input", "inet", False)),
        (NETDEV, Spot("ingress", "netdev", False)),
        (BRIDGED, Spot("forward", "inet", False)),
        (LEGACY, Spot("input", "ip", True)),
        (XT, Spot("forward", "ip", False)),
        (FIREWALL, Spot("input", "", False)),
        # the kernel's bridge family asks its rules without nf_hook_slow()
        (
            ("nft_reject_bridge_eval", "nft_do_chain", "nft_do_chain_bridge", "br_handle_frame"),
            Spot("prerouting", "bridge", False),
        ),
        # older kernels have one more function between; a list of packets has another
        (
            ("nf_send_reset", "ipt_do_table", "iptable_filter_hook", "nf_hook_slow", "ip_forward"),
            Spot("forward", "ip", True),
        ),
        (
            ("nf_send_reset", *NFT, "nf_hook_slow_list", "ip_sublist_rcv"),
            Spot("prerouting", "inet", False),
        ),
        (("nf_send_reset", *NFT, "some_function", "ip_local_deliver"), Spot("", "inet", False)),
        (("nf_send_reset", "nf_hook_slow", "ip_local_deliver"), Spot("input", "", None)),
        (("nf_send_reset", *NFT), Spot("", "inet", False)),
        (("nf_send_reset",), Spot()),
        ((), Spot()),
    ],
)
def test_spot(frames: tuple[str, ...], spot: Spot) -> None:
    assert spot_of(frames) == spot
    assert rejecting_spot(Case(rejected(frames))) == spot


def test_way_of_the_rst_itself_is_not_the_spot() -> None:
    """It passes the output hook as well, where it may be dropped."""
    one = reset(direction="suppressed", judged=suppressed(OUT_FIREWALL).judged)
    assert rejecting_spot(Case(one)).hook == "forward"
    rules = (rule(1, hook="forward"), rule(2, verdict=DROP, hook="output", own=()))
    case = Case(one, facts(*rules))
    assert rejecting(case).words.endswith("handle 1")
    assert dropping(case).words.endswith("handle 2")


# -- one rule, several, none -----------------------------------------------------------------------


def test_one_rule() -> None:
    found = ask(rejected(), facts(rule(7), rule(8, own=(Match("dport", ("22",)),))))
    assert found.summary == (
        "An nftables rule (table inet filter, chain input, handle 7) in the input hook rejected "
        f"SYN from {THERE}:{CLIENT_PORT} to {HERE}:{PORT}; no application was involved."
    )
    assert found.evidence[0] == (
        f"rule: table inet filter, chain input, handle 7: tcp dport {PORT} reject with tcp reset"
    )


def test_several_rules() -> None:
    rules = [rule(n, exact=False) for n in range(1, 6)]
    found = ask(rejected(), facts(*rules))
    assert "An nftables rule (one of 5 rules) in the input hook" in found.summary
    named = [e for e in found.evidence if e.startswith("one of 5 rules that fit: ")]
    assert [e.split("handle ")[1][0] for e in named] == ["1", "2", "3"]
    assert not any(e.startswith("rule: ") for e in found.evidence)


def test_rule_that_is_not_there_any_more() -> None:
    found = ask(rejected(), facts())
    assert "An nftables rule (reject with tcp reset) in the input hook" in found.summary
    assert found.evidence[0] == f"which rule: {NONE}"
    assert "NAT" in NONE


@pytest.mark.parametrize("problem", ["nft is not installed", "the network namespace is gone"])
def test_rules_that_cannot_be_had(problem: str) -> None:
    found = ask(rejected(), facts(problem=problem))
    assert "(reject with tcp reset)" in found.summary
    assert found.evidence[0] == f"which rule: {problem}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"problem": "iptables-save is not installed"}, "iptables-save is not installed"),
     ({"more": (RESET,)}, "there are too many")],
)  # fmt: skip
def test_not_all_rules_are_known(changes: dict[str, Any], why: str) -> None:
    """Then the one that fits need not be the one."""
    found = ask(rejected(), facts(rule(), **changes))
    assert "(reject with tcp reset)" in found.summary
    assert found.evidence[0].startswith("a rule that fits: table inet filter, chain input, ")
    assert found.evidence[1] == f"not all rules are known: {why}"


def test_more_rules_that_drop_do_not_matter() -> None:
    assert rejecting(Case(rejected(), facts(rule(), more=(DROP,)))).words


def test_firewall_was_not_asked() -> None:
    """An older recording."""
    found = ask(rejected(), Facts())
    assert "(reject with tcp reset)" in found.summary
    assert not any("rule" in e for e in found.evidence)


# -- which rules fit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "changes", "fits"),
    [
        (INPUT, {}, True),
        (INPUT, {"hook": "forward"}, False),
        (INPUT, {"verdict": DROP}, False),
        (INPUT, {"family": "ip"}, False),  # the stack shows an inet table
        (FIREWALL, {"family": "ip"}, True),  # here it does not
        (FIREWALL, {"family": "ip6"}, False),  # but the packet is IPv4
        (NETDEV, {}, False),
        (NETDEV, {"family": "netdev", "hook": "ingress"}, True),
        (LEGACY, {"family": "ip"}, False),
        (LEGACY, {"family": "ip", "tool": "iptables-legacy"}, True),
        (XT, {"family": "ip", "hook": "forward", "tool": "iptables-legacy"}, False),
        (XT, {"family": "ip", "hook": "forward", "tool": "iptables"}, True),
        (INPUT, {"own": (Match("sport", (str(PORT),)),)}, False),
        (INPUT, {"own": (Match("saddr", (THERE,)), Match("daddr", (HERE,)))}, True),
        (INPUT, {"own": (Match("saddr", (HERE,)),)}, False),
        (INPUT, {"own": (Match("flags", ("23/2",)),)}, True),
        (INPUT, {"way": (Match("flags", ("23/2",), True),)}, False),
        (INPUT, {"own": (Match("iif", ("eth0",)),)}, True),
        (INPUT, {"own": (Match("iif", ("eth1",)),)}, False),
        (INPUT, {"own": (Match("oif", ("eth1",)),)}, True),
    ],
)
def test_fits(frames: tuple[str, ...], changes: dict[str, Any], fits: bool) -> None:
    blame = rejecting(Case(rejected(frames), facts(rule(**changes))))
    assert bool(blame.words) is fits


def test_device_that_need_not_be_the_hooks() -> None:
    """A bridge's or a VRF's: the packet came in by another one."""
    one = rule(own=(Match("iif", ("br0",)),))
    assert not rejecting(Case(rejected(), facts(one))).words
    assert rejecting(Case(rejected(skb_iif=5), facts(one))).words


def test_by_the_rst_where_the_segment_was_not_seen() -> None:
    """Before 5.17 its drop has no reason. Its flags and devices are not known then."""
    one = sent_reset(None, left(rst(), INPUT))
    own = (Match("saddr", (THERE,)), Match("sport", (str(CLIENT_PORT),)), TO_PORT)
    assert rejecting(Case(one, facts(rule(own=own)))).words
    assert not rejecting(Case(one, facts(rule(own=(Match("daddr", (THERE,)),))))).words
    unsure = facts(rule(1, own=(Match("flags", ("23/2",)),)), rule(2, chains=(1,)))
    assert rejecting(Case(one, unsure)).words == "one of 2 rules"


def test_own_output_knows_the_device_it_goes_to() -> None:
    """Our own SYN, rejected in the output hook: nothing came in."""
    frames = (*XMIT, "nf_send_reset", *NFT, "__ip_local_out", "tcp_connect")
    one = rejected(frames, skb_iif=0, dev="eth0")
    fits = rule(hook="output", own=(Match("oif", ("eth0",)),))
    assert rejecting(Case(one, facts(fits))).words
    other = rule(hook="output", own=(Match("oif", ("lo",)),))
    assert not rejecting(Case(one, facts(other))).words


def test_middle_of_a_connection() -> None:
    found = ask(rejected(flags=PSH | ACK), facts(rule()))
    assert found.phase == "transfer"
    assert "rejected PSH+ACK" in found.summary


def test_forward() -> None:
    found = ask(rejected(XT), facts(rule(family="ip", tool="iptables", hook="forward")))
    assert found.summary.startswith("An iptables rule (")
    assert found.summary.endswith("it was on its way through this host.")


# -- dropped on its way out ------------------------------------------------------------------------

DROPS_RST = rule(5, verdict=DROP, hook="output", own=(Match("flags", ("4/4",)),))


def test_suppressed() -> None:
    verdict = explained(suppressed(), facts(DROPS_RST)).verdict
    assert verdict.cause == "reset-suppressed"
    assert "dropped it (table inet filter, chain input, handle 5):" in verdict.summary
    assert any(e.startswith("rule: table inet filter, chain input, ") for e in verdict.evidence)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"verdict": RESET}, True),  # a RST is not answered, but dropped
        ({"hook": "input"}, False),
        ({"own": (Match("flags", ("4/4",), True),)}, False),
        ({"own": (Match("daddr", (THERE,)),)}, True),
        ({"own": (Match("saddr", (THERE,)),)}, False),
        ({"own": (Match("oif", ("eth0",)),)}, True),
        ({"own": (Match("oif", ("eth1",)),)}, False),
    ],
)
def test_which_rule_dropped(changes: dict[str, Any], fits: bool) -> None:
    plain = {"verdict": DROP, "hook": "output", "own": DROPS_RST.own}
    one = rule(**{**plain, **changes})
    assert bool(dropping(Case(suppressed(), facts(one))).words) is fits


def test_suppressed_but_its_drop_was_not_seen() -> None:
    one = sent_reset(answered(segment(SYN), P1), direction="suppressed")
    assert dropping(Case(one, facts(DROPS_RST))).words == ""


@pytest.mark.parametrize(
    ("caller", "changes", "fits"),
    [
        ("ip_local_deliver", {"hook": "input"}, True),
        ("ip_local_deliver", {"hook": "input", "own": (Match("iif", ("eth1",)),)}, False),
        ("ip_local_deliver", {}, False),
        ("ip_forward", {"hook": "forward"}, True),
        ("ip_rcv", {"hook": "prerouting", "own": (Match("sport", (str(CLIENT_PORT),)),)}, True),
    ],
)
def test_rst_that_came_in(caller: str, changes: dict[str, Any], fits: bool) -> None:
    """The own firewall dropped it before TCP saw it."""
    frames = ("sk_skb_reason_drop", *NFT, caller, *SOFTIRQ)
    gone = dropped(segment(RST), "NETFILTER_DROP", frames=frames, ifindex=2, skb_iif=2)
    plain = {"verdict": DROP, "hook": "output", "own": ()}
    one = reset(direction="rejected", judged=gone)
    known = facts(rule(5, **{**plain, **changes}))
    assert bool(dropping(Case(one, known)).words) is fits
    found = finding("reset-suppressed", one, known)
    assert found
    assert ("(table inet filter, chain input, handle 5)" in found.summary) is fits
    # what is told of this host's own resets would be wrong
    assert found.remedies
    assert not {*found.remedies} & {*catalogue()["reset-suppressed"].remedies}


# -- when it is looked up --------------------------------------------------------------------------


class Asked(FakeContext):
    """Remembers for which namespace and time it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[int, int]] = []

    def firewall(self, netns: int, time_ns: int) -> Firewall:
        self.times.append((netns, time_ns))
        return Firewall((rule(),))


@pytest.mark.parametrize(
    ("one", "looked_up"),
    [
        (rejected(), True),
        (suppressed(), True),
        (suppressed(drop_reason=None), True),  # the stack shows the hook
        (suppressed((), drop_reason="NETFILTER_DROP"), True),
        (suppressed(("sk_skb_reason_drop", "__cgroup_bpf_run_filter_skb"),
                    drop_reason="BPF_CGROUP_EGRESS"), False),
        (reset(direction="rejected", judged=dropped(segment(RST), "NETFILTER_DROP")), True),
        (reset(direction="rejected", judged=dropped(segment(RST), "NO_SOCKET")), False),
        (sent_reset(decided(A1)), False),
        (sent_reset(answered(segment(SYN), P1), left()), False),
        (received_reset(None, left(segment(RST))), False),
    ],
)  # fmt: skip
def test_looked_up_only_where_a_firewall_acted(one: Reset, looked_up: bool) -> None:
    context = Asked()
    found = enrich(one, context)
    assert context.times == ([(NETNS, T)] if looked_up else [])
    assert (found.firewall is not None) is looked_up


# -- recorded --------------------------------------------------------------------------------------


def recorded(tmp_path: Path, *values: Any) -> Recording:
    path = tmp_path / "out.rec"
    recorder = Recorder(path)
    recorder.header(LAYOUT, {}, {}, [])
    for value in values:
        recorder.context("firewall", str(NETNS), value)
    recorder.end(0)
    return Recording(path)


def test_replay_says_what_was_said(tmp_path: Path) -> None:
    one, two = Firewall((rule(1),)), Firewall(problem="nft took too long")
    said = recorded(
        tmp_path,
        {"time_ns": 10, **to_json(one)},
        {"time_ns": 20},
        {"time_ns": 30, **to_json(two)},
        {"time_ns": 40},
    )
    expected = {5: one, 10: one, 15: one, 20: one, 25: two, 35: two}
    assert {t: said.context.firewall(NETNS, t) for t in expected} == expected
    assert said.context.firewall(NETNS, 41) is None
    assert said.context.firewall(NETNS + 1, 5) is None


@pytest.mark.parametrize(
    "odd",
    [None, 7, {}, {"time_ns": 1}, {"time_ns": "1", "rules": []}, {"time_ns": 1, "rules": [[]]}],
)
def test_damaged_recording(odd: Any, tmp_path: Path) -> None:
    from rsttrace.errors import RsttraceError

    with pytest.raises(RsttraceError, match="damaged in a line of context"):
        recorded(tmp_path, json.loads(json.dumps(odd)))
