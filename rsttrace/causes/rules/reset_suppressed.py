"""This host dropped a RST: one that it had made (chapter 2), or one that had come in.

Of its own it is not asked like the others: it tells of a reset whose cause another rule has
found already.
"""

from __future__ import annotations

from rsttrace.causes import catalogue
from rsttrace.causes.case import CERTAIN, JUDGEMENT, REFUSED, Case, Finding
from rsttrace.causes.netfilter import dropping
from rsttrace.model import REJECTED
from rsttrace.packet import SYN
from rsttrace.records import Record

CAUSE = "reset-suppressed"
WHEN = (REFUSED,)
NEEDS = (JUDGEMENT,)
AFTER = ()

IN, THROUGH = "in", "through"

_FIREWALL = "this host's own firewall"
_THROUGH = ("ip_forward", "ip6_forward", "br_nf_pre_routing", "br_nf_forward_ip")
_LET_IN = (
    "let resets pass: accept 'tcp flags rst' before the rule that drops, or set "
    "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst=1 (5.14 or newer) if that one drops 'ct "
    "state invalid'",
    "dropped on purpose (against forged resets): the rule does its work, but true resets do not "
    "arrive either",
    "until then SO_KEEPALIVE or TCP_USER_TIMEOUT ends the connections that hang",
)
# enum skb_drop_reason on the way out; what has no name before 5.17 shows in the stack
_WHO = {
    "NETFILTER_DROP": _FIREWALL,
    "BPF_CGROUP_EGRESS": "a BPF program of its control group",
    "TC_EGRESS": "a traffic control filter (tc) of this host",
    "QDISC_DROP": "the queue of the network device",
}
_HOOKS = ("nft_do_chain", "ipt_do_table", "ip6t_do_table", "nf_hook_slow", "__ip_local_out")


def rule(case: Case) -> Finding | None:
    """Of those that came in: netfilter dropped it before TCP saw it."""
    judged = case.reset.judged
    if case.reset.direction != REJECTED or judged is None:
        return None
    by_netfilter = judged.drop_reason == "NETFILTER_DROP" or judged.in_stack("nf_hook_slow")
    if not by_netfilter:
        return None
    blame = dropping(case)
    which = f" ({blame.words})" if blame.words else ""
    if way_of(judged) == THROUGH:
        return Finding(
            CERTAIN,
            f"A reset from {case.remote} to {case.local} was on its way through this host, but "
            f"{_FIREWALL} dropped it{which}: the connection at {case.local} hangs until it times "
            "out.",
            (*blame.evidence, *_drop(judged)),
            sees="nothing: it hangs until it times out",
            remedies=_LET_IN,
        )
    return Finding(
        CERTAIN,
        f"A reset came from {case.remote} for {case.local}, but {_FIREWALL} dropped it{which} "
        "before TCP saw it: a connection that is still open here now hangs until it times out.",
        (*blame.evidence, *_drop(judged)),
        sees="nothing: its connection, if there is one, hangs until it times out",
        remedies=_LET_IN,
    )


def about(case: Case, cause: str, inner: Finding) -> Finding:
    """The verdict on a suppressed reset, given why TCP made it."""
    judged, trigger = case.reset.judged, case.trigger
    asked = trigger is not None and trigger.has(SYN)
    blame = dropping(case)
    which = f" ({blame.words})" if blame.words else ""
    return Finding(
        CERTAIN,
        f"{inner.summary} But {dropper(judged)} dropped it{which}: the other end does not know.",
        (
            f"the reset was for {cause} ({inner.confidence})",
            *blame.evidence,
            *_drop(judged),
            *inner.evidence,
        ),
        phase=inner.phase or catalogue()[cause].phase,
        sees="nothing: connect() waits until it fails with ETIMEDOUT" if asked else None,
        missing=inner.missing,
    )


def way_of(judged: Record | None) -> str:
    """``in`` or ``through``: where one that came from outside was going."""
    return THROUGH if judged and judged.in_stack(*_THROUGH) else IN


def dropper(judged: Record | None) -> str:
    """What dropped it, in words."""
    if judged is None or judged.in_stack("nf_hook_slow"):
        return _FIREWALL
    return _WHO.get(judged.drop_reason or "", "this host itself")


def _drop(judged: Record | None) -> tuple[str, ...]:
    if judged is None:
        return ()
    reason = f"drop reason {judged.drop_reason}" if judged.drop_reason else ""
    frames = [frame for frame in judged.frames if frame in _HOOKS]
    return (reason, f"the RST was dropped in {' < '.join(frames)}" if frames else "")
