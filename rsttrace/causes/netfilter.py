"""What a kernel stack says of netfilter (which hook, which tables), and which rule it was.

The hook's caller stands behind nf_hook_slow(); the tables' entry function names their family.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsttrace.causes.case import Case
from rsttrace.enrich.firewall import DROP, LEGACY, RESET, Firewall, Rule, Segment, fitting
from rsttrace.model import MAKERS
from rsttrace.packet import Packet
from rsttrace.records import Record

NAMED = 3  # rules in the evidence if several fit
NONE = "none that fits these addresses (NAT changes them, or it is gone)"

_HOOKS = {
    "__netif_receive_skb_core": "ingress",
    "ip_rcv": "prerouting",
    "ip_sublist_rcv": "prerouting",
    "ip_list_rcv": "prerouting",
    "ipv6_rcv": "prerouting",
    "ip6_sublist_rcv": "prerouting",
    "ipv6_list_rcv": "prerouting",
    "br_nf_pre_routing": "prerouting",
    "br_nf_pre_routing_ipv6": "prerouting",
    "br_handle_frame": "prerouting",
    "ip_local_deliver": "input",
    "ip6_input": "input",
    "br_pass_frame_up": "input",
    "ip_forward": "forward",
    "ip6_forward": "forward",
    "br_nf_forward": "forward",
    "br_nf_forward_ip": "forward",
    "__br_forward": "forward",
    "__ip_local_out": "output",
    "ip_local_out": "output",
    "raw_sendmsg": "output",
    "__ip6_local_out": "output",
    "ip6_local_out": "output",
    "ip6_xmit": "output",
    "rawv6_sendmsg": "output",
    "ip_output": "postrouting",
    "ip_mc_output": "postrouting",
    "ip6_output": "postrouting",
    "br_nf_post_routing": "postrouting",
    "br_forward_finish": "postrouting",
    "__dev_queue_xmit": "egress",
}
_FAMILIES = {
    "nft_do_chain_ipv4": "ip",
    "nft_do_chain_ipv6": "ip6",
    "nft_do_chain_inet": "inet",
    "nft_do_chain_inet_ingress": "inet",
    "nft_do_chain_netdev": "netdev",
    "nft_do_chain_bridge": "bridge",
    "ipt_do_table": "ip",
    "ip6t_do_table": "ip6",
}
_LEGACY_TABLES = ("ipt_do_table", "ip6t_do_table")
_MAKERS = frozenset(frame for frame, maker in MAKERS.items() if maker != "forward")
# between the rule and the hook's caller
_INSIDE = ("nft_do_chain", "ipt_do_table", "ip6t_do_table", "nf_hook", "iptable_", "ip6table_")
_WAY_OUT = ("output", "postrouting", "egress")


@dataclass(frozen=True)
class Spot:
    """Where a rule was asked; an empty text or None: the stack does not say."""

    hook: str = ""
    family: str = ""
    legacy: bool | None = None


@dataclass(frozen=True)
class Blame:
    """Which rule it was. ``words``: its place, ``one of 3 rules``, or empty if not known."""

    words: str
    evidence: tuple[str, ...]


def spot_of(frames: tuple[str, ...]) -> Spot:
    """Where the innermost rule in a stack was asked."""
    inside = [i for i, frame in enumerate(frames) if frame.startswith(_INSIDE)]
    if not inside:
        return Spot()
    first = last = inside[0]
    while last + 1 in inside:
        last += 1
    entries = frames[first : last + 1]
    caller = frames[last + 1] if last + 1 < len(frames) else ""
    legacy = any(frame in _LEGACY_TABLES for frame in entries)
    known = legacy or any(frame.startswith("nft_do_chain") for frame in entries)
    family = next((_FAMILIES[frame] for frame in entries if frame in _FAMILIES), "")
    return Spot(_HOOKS.get(caller, ""), family, legacy if known else None)


def rejecting_spot(case: Case) -> Spot:
    """Where the rule was asked that made this RST."""
    frames = case.reset.frames
    made = next((i for i, frame in enumerate(frames) if frame in _MAKERS), 0)
    return spot_of(frames[made:])


def rejecting(case: Case) -> Blame:
    """The rule that made this RST, found by the segment that it rejected."""
    spot, rst, dropped = rejecting_spot(case), case.reset.packet, case.reset.trigger_drop
    if dropped and dropped.packet:
        segment = _segment(dropped.packet, dropped, spot)
    elif rst:  # the RST goes back where the segment came from
        segment = Segment(case.reset.flow.family, rst.dst, rst.src, rst.dport, rst.sport)
    else:
        segment = Segment(case.reset.flow.family)
    return _blame(case.facts.firewall, (RESET,), spot, segment)


def dropping(case: Case) -> Blame:
    """The rule that dropped a RST: ours on its way out, or one that came in."""
    record = case.reset.judged
    if record is None or not record.packet:
        return Blame("", ())
    made = next((i for i, frame in enumerate(record.frames) if frame in _MAKERS), None)
    spot = spot_of(record.frames[:made])
    # a reject drops as well; a RST is never answered with a RST
    return _blame(case.facts.firewall, (DROP, RESET), spot, _segment(record.packet, record, spot))


def _segment(packet: Packet, record: Record, spot: Spot) -> Segment:
    """Devices only where the packet's own is surely the one that the hook was given."""
    came_in = record.dev if record.ifindex == record.skb_iif else ""
    goes_out = record.dev if not record.skb_iif and spot.hook in _WAY_OUT else ""
    return Segment(
        6 if ":" in packet.src else 4,
        packet.src,
        packet.dst,
        packet.sport,
        packet.dport,
        packet.flags,
        came_in,
        goes_out,
    )


def _asked(rule: Rule, spot: Spot, family: int) -> bool:
    """Is the rule's table one of those that the stack shows?"""
    if rule.family == ("ip6" if family == 4 else "ip"):
        return False
    if spot.legacy is not None and rule.tool.endswith(LEGACY) != spot.legacy:
        return False
    return spot.hook in ("", rule.hook) and spot.family in ("", rule.family)


def _blame(
    firewall: Firewall | None, verdicts: tuple[str, ...], spot: Spot, segment: Segment
) -> Blame:
    if firewall is None:
        return Blame("", ())
    asked = (r for r in firewall.rules if r.verdict in verdicts)
    found = fitting((r for r in asked if _asked(r, spot, segment.family)), segment)
    too_many = "there are too many" if set(firewall.more) & set(verdicts) else ""
    unsure = firewall.problem or too_many
    if not found:
        return Blame("", (f"which rule: {unsure or NONE}",))
    if unsure:
        known = tuple(f"a rule that fits: {rule.name}" for rule in found[:NAMED])
        return Blame("", (*known, f"not all rules are known: {unsure}"))
    if len(found) == 1:
        return Blame(found[0].place, (f"rule: {found[0].name}",))
    number = len(found)
    named = tuple(f"one of {number} rules that fit: {rule.name}" for rule in found[:NAMED])
    return Blame(f"one of {number} rules", named)
