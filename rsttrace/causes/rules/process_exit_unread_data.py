"""Row A1 because the process ended: exit(), a crash, a signal (chapter 5.2)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    DECISION,
    LIKELY,
    SOCKET,
    STACK,
    Case,
    Finding,
    count_of,
    how_it_ended,
)
from rsttrace.causes.rules.unread_data_on_close import (
    ABORT_ON_CLOSE,
    closed_unread,
    closing_evidence,
)

CAUSE = "process-exit-unread-data"
WHEN = (ACTIVE,)
NEEDS = (STACK, DECISION, SOCKET)
AFTER = ("linger-zero",)


def rule(case: Case) -> Finding | None:
    """do_exit() closed the descriptor; ``exit_code`` says why it ended."""
    decided = case.reset.decided
    unread = closed_unread(case)
    if unread is None or decided is None:
        return None
    if not decided.task.exiting and not decided.in_stack("do_exit"):
        return None
    how = how_it_ended(decided.task.exit_code)
    left = f"{count_of(unread, 'received byte')} unread" if unread else "received data unread"
    return Finding(
        CERTAIN if unread or case.reset.reason == ABORT_ON_CLOSE else LIKELY,
        f"{case.who} {how} and left {left}, so the kernel reset the connection.",
        (
            f"the process {how}: exit_code {decided.task.exit_code:#x}",
            *closing_evidence(case, unread),
        ),
    )
