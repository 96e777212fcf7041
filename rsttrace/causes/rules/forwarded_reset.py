"""This host passed on a RST that somebody else made (chapter 2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, PASSING, Case, Finding

CAUSE = "forwarded-reset"
WHEN = (PASSING,)
NEEDS = ()
AFTER = ()

_BRIDGE = ("br_handle_frame", "br_forward_finish", "br_dev_queue_push_xmit")
_MADE_HERE = ("look at what is reported as sent with the same addresses: it names the maker",)


def rule(case: Case) -> Finding | None:
    """It came in by a device and left by another; no local function made it."""
    origin = case.reset.origin
    if origin is None:
        where = "it was made elsewhere"
    elif origin.flow.netns == case.reset.flow.netns:
        where = "it was made on this host as well"
    else:
        where = "it was made in another network namespace of this host"
    return Finding(
        CERTAIN,
        f"This host only passed on a reset from {case.local} to {case.remote}; {where}.",
        (*_way(case), "no function that makes a RST is in the stack"),
        remedies=_MADE_HERE if origin else None,
    )


def _way(case: Case) -> tuple[str, ...]:
    """How it passed."""
    wire = case.reset.wire
    if wire is None or not wire.dev:
        return ()
    if wire.kind != "net_dev_queue":
        return (f"it came in by {wire.dev} and left again",)
    how = "bridged" if wire.in_stack(*_BRIDGE) else "passed on"
    return (f"{how}: it came in by the interface with index {wire.skb_iif} and left by {wire.dev}",)
