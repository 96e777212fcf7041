"""This host's own firewall dropped the RST that TCP had made (chapter 2).

Not asked like the others: it tells of a reset whose cause another rule has found already.
"""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, Case, Finding

CAUSE = "reset-suppressed"
WHEN = ()
NEEDS = ()
AFTER = ()


def rule(case: Case) -> Finding | None:
    """Never asked by itself."""
    return None


def about(case: Case, cause: str, inner: Finding) -> Finding:
    """The verdict on a suppressed reset, given why TCP made it."""
    judged = case.reset.judged
    where = f"drop reason {judged.drop_reason}" if judged and judged.drop_reason else ""
    return Finding(
        CERTAIN,
        f"{inner.summary} But this host's own firewall dropped the reset.",
        (f"the reset was for {cause} ({inner.confidence})", where, *inner.evidence),
        phase=inner.phase,
        missing=inner.missing,
    )
