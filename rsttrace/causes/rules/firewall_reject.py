"""A netfilter REJECT built the RST: nf_send_reset() and friends (chapter 2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, LOCAL_FIREWALL, OUTSIDE, STACK, Case, Finding
from rsttrace.packet import SYN

CAUSE = "firewall-reject"
WHEN = (OUTSIDE,)
NEEDS = (STACK,)
AFTER = ()

# the innermost of these names the tool that the rule was written with
_TABLES = {
    "reject_tg": "an iptables rule (REJECT --reject-with tcp-reset)",
    "reject_tg6": "an ip6tables rule (REJECT --reject-with tcp-reset)",
    "nft_do_chain": "an nftables rule (reject with tcp reset)",
    "ipt_do_table": "an iptables rule (REJECT --reject-with tcp-reset)",
    "ip6t_do_table": "an ip6tables rule (REJECT --reject-with tcp-reset)",
}
# who called the hook: the innermost of these below nf_hook_slow()
_HOOKS = {
    "ip_local_deliver": "input",
    "ip6_input": "input",
    "ip_forward": "forward",
    "ip6_forward": "forward",
    "__ip_local_out": "output",
    "__ip6_local_out": "output",
    "ip6_xmit": "output",
    "ip_output": "postrouting",
    "ip_rcv": "prerouting",
    "ipv6_rcv": "prerouting",
}


def rule(case: Case) -> Finding | None:
    """The maker of the packet is the firewall."""
    reset = case.reset
    if reset.maker != "firewall":
        return None
    table = next((t for f, t in _TABLES.items() if reset.in_stack(f)), "a firewall rule")
    hook = _hook(reset.frames)
    packet = reset.trigger
    what = packet.flag_text if packet else "a segment"
    new = packet is None or packet.has(SYN)
    evidence = [
        case.stack_evidence("nf_send_reset", "nf_send_reset6", *_TABLES, "nf_hook_slow"),
        "tcp_send_reset stayed silent: TCP did not make this RST",
    ]
    if reset.trigger_drop:
        evidence.append(f"the {what} was dropped with {reset.drop_reason}")
    where = f" in the {hook} hook" if hook else ""
    target = f"from {case.remote} to {case.local}"
    own = hook in ("output", "postrouting")
    outcome = "it never left this host" if own else "no application was involved"
    return Finding(
        CERTAIN,
        f"{table[0].upper()}{table[1:]}{where} rejected {what} {target}; {outcome}.",
        tuple(evidence),
        phase="establishment" if new else "transfer",
        initiator=LOCAL_FIREWALL,
        sees=None if new else "ECONNRESET; what it had sent and not been acknowledged is lost",
    )


def _hook(frames: tuple[str, ...]) -> str:
    below = frames[frames.index("nf_hook_slow") :] if "nf_hook_slow" in frames else frames
    return next((_HOOKS[f] for f in below if f in _HOOKS), "")
