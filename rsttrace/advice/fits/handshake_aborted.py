"""The client gave up because the accept queue was full."""

from __future__ import annotations

from rsttrace.advice.commands import slow_accept
from rsttrace.advice.fit import Fit
from rsttrace.advice.queue import queue_of, raise_limit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "handshake-aborted"
WANTS = ("sockets",)


def fit(case: Case, place: Place) -> Fit | None:
    """Only where the queue was full."""
    judged = case.reset.judged
    sock = judged.sock if judged else None
    queue = queue_of(case, place)
    if not sock or sock.ack_backlog <= sock.max_ack_backlog or queue is None:
        return None
    return Fit(
        (*raise_limit(case, queue), *slow_accept(case)),
        queue.evidence,
        settles=("accept() faster", "a scan:", "a health check:"),
    )
