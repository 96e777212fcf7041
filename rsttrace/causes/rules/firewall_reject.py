"""A netfilter REJECT built the RST: nf_send_reset() and friends (chapter 2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, LOCAL_FIREWALL, OUTSIDE, STACK, Case, Finding
from rsttrace.causes.netfilter import rejecting, rejecting_spot
from rsttrace.packet import ACK, SYN

CAUSE = "firewall-reject"
WHEN = (OUTSIDE,)
NEEDS = (STACK,)
AFTER = ()

# the first of these in the stack names the tool that the rule was written with
_TABLES = {
    "ipt_do_table": "An iptables-legacy rule",
    "ip6t_do_table": "An ip6tables-legacy rule",
    "reject_tg": "An iptables rule",
    "reject_tg6": "An ip6tables rule",
    "nft_do_chain": "An nftables rule",
}


def rule(case: Case) -> Finding | None:
    """The maker of the packet is the firewall."""
    reset = case.reset
    if reset.maker != "firewall":
        return None
    table = next((t for f, t in _TABLES.items() if reset.in_stack(f)), "A firewall rule")
    hook, blame = rejecting_spot(case).hook, rejecting(case)
    packet = reset.trigger
    what = packet.flag_text if packet else "a segment"
    # a bare RST answers a segment with ACK: not the first one (RFC 9293 3.10.7.1)
    made = reset.packet
    new = packet.has(SYN) if packet else bool(made is None or made.has(ACK))
    evidence = [
        *blame.evidence,
        case.stack_evidence("nf_send_reset", "nf_send_reset6", *_TABLES, "nf_hook_slow"),
        "tcp_send_reset stayed silent: TCP did not make this RST",
    ]
    if reset.trigger_drop:
        evidence.append(f"the {what} was dropped with {reset.drop_reason}")
    which = blame.words or "reject with tcp reset"
    where = f" in the {hook} hook" if hook else ""
    target = f"from {case.remote} to {case.local}"
    return Finding(
        CERTAIN,
        f"{table} ({which}){where} rejected {what} {target}; {_outcome(hook)}.",
        tuple(evidence),
        phase="establishment" if new else "transfer",
        initiator=LOCAL_FIREWALL,
        sees=None if new else "ECONNRESET; what it had sent and not been acknowledged is lost",
    )


def _outcome(hook: str) -> str:
    if hook in ("output", "postrouting"):
        return "it never left this host"
    if hook == "forward":
        return "it was on its way through this host"
    return "no application was involved"
