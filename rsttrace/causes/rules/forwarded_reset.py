"""This host passed on a RST that somebody else made (chapter 2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, PASSING, Case, Finding
from rsttrace.model import FORWARDED

CAUSE = "forwarded-reset"
WHEN = (PASSING,)
NEEDS = ()
AFTER = ()


def rule(case: Case) -> Finding | None:
    """It came in by a device and left by another; no local function made it."""
    if case.reset.direction != FORWARDED:
        return None
    wire = case.reset.wire
    device = f" by {wire.dev}" if wire and wire.dev else ""
    return Finding(
        CERTAIN,
        f"This host only passed on a reset from {case.local} to {case.remote}; it was made there.",
        (f"the RST came in{device} and left again; no function of this host built it",),
    )
