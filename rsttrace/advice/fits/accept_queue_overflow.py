"""Which of the two limits of the accept queue is the smaller one, and who is slow."""

from __future__ import annotations

from rsttrace.advice.commands import slow_accept, sysctl
from rsttrace.advice.fit import Fit
from rsttrace.advice.queue import queue_of, raise_limit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "accept-queue-overflow"
WANTS = ("sockets",)
ABORT = "net.ipv4.tcp_abort_on_overflow"


def fit(case: Case, place: Place) -> Fit | None:
    """Nothing where the queue was not full: then memory or a route was missing."""
    queue = queue_of(case, place)
    if queue is None or queue.waiting < queue.limit:
        return None
    return Fit(
        (*raise_limit(case, queue), *slow_accept(case), *_silent(case, place)),
        queue.evidence,
        instead=queue.waiting > queue.limit,  # sk_acceptq_is_full()
    )


def _silent(case: Case, place: Place) -> tuple[str, ...]:
    """The kernel's default; somebody may have gone back to it meanwhile."""
    if place.number(ABORT) == 0:
        return ()
    why = "no reset then: bursts survive, but a client without a place hangs until it times out"
    return (sysctl(case, ABORT, 0, why),)
