"""A fact that would decide is missing: a lost record, or a kernel that hides it."""

from __future__ import annotations

from rsttrace.causes.case import UNKNOWN, Case, Finding
from rsttrace.model import RECEIVED

CAUSE = "insufficient-data"


def missing_fact(case: Case) -> str:
    """The fact that is missing, empty if nothing is."""
    reset = case.reset
    if reset.decided and not reset.decided.named:
        return "the kernel stack (symbols are hidden, see: rsttrace doctor)"
    if reset.maker == "tcp-active" and not reset.decided:
        return "the decision (no tcp_send_reset record came for this RST)"
    if reset.maker == "tcp-passive" and not reset.trigger:
        return "the segment that provoked the RST"
    if reset.direction == RECEIVED and not reset.judged:
        return "what TCP did with this RST (neither accepted nor dropped was seen)"
    return ""


def rule(case: Case) -> Finding | None:
    """Name the missing fact in place of a guess."""
    missing = missing_fact(case)
    if not missing:
        return None
    lost = " Records were lost at about this time." if case.reset.lossy else ""
    return Finding(UNKNOWN, f"Cannot tell: {missing} is missing.{lost}", (), missing=missing)
