"""This host passed on a RST that somebody else made (chapter 2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, PASSING, Case, Finding
from rsttrace.model import FORWARDED
from rsttrace.records import at

CAUSE = "forwarded-reset"
WHEN = (PASSING,)
NEEDS = ()
AFTER = ()

_BRIDGE = ("br_handle_frame", "br_forward_finish", "br_dev_queue_push_xmit")


def rule(case: Case) -> Finding | None:
    """It came in by a device and left by another; no local function made it."""
    if case.reset.direction != FORWARDED:
        return None
    maker, where, remedies = _maker(case), "it was made elsewhere", None
    if maker:
        where = f"it was made on this host, {maker}"
        remedies = (f"see the reset that is reported as sent {maker}: it names the cause",)
    return Finding(
        CERTAIN,
        f"This host only passed on a reset from {case.local} to {case.remote}; {where}.",
        (*_way(case), "no function that makes a RST is in the stack"),
        remedies=remedies,
    )


def _maker(case: Case) -> str:
    """The sender if that is on this host: most often in a container."""
    origin = case.reset.origin
    if origin is None:
        return ""
    flow = origin.flow
    elsewhere = " in another network namespace" if flow.netns != case.reset.flow.netns else ""
    return f"by {at(flow.local, flow.lport)}{elsewhere}"


def _way(case: Case) -> tuple[str, ...]:
    """How it passed."""
    wire = case.reset.wire
    if wire is None or not wire.dev:
        return ()
    if wire.kind != "net_dev_queue":
        return (f"it came in by {wire.dev} and left again",)
    how = "bridged" if wire.in_stack(*_BRIDGE) else "passed on"
    return (f"{how}: it came in by the interface with index {wire.skb_iif} and left by {wire.dev}",)
