"""A RST for a connection that does not exist here (chapter 3.2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, JUDGEMENT, REFUSED, Case, Finding
from rsttrace.causes.rules._received import packet_evidence
from rsttrace.model import REJECTED

CAUSE = "reset-no-socket"
WHEN = (REFUSED,)
NEEDS = (JUDGEMENT,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """The RST was dropped with NO_SOCKET."""
    if case.reset.direction != REJECTED or case.reset.drop_reason != "NO_SOCKET":
        return None
    return Finding(
        CERTAIN,
        f"A reset from {case.remote} came for a connection that does not exist here; "
        "it was dropped.",
        ("drop reason NO_SOCKET", *packet_evidence(case)),
    )
