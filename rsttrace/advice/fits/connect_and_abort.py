"""The client gave up while it waited for accept()."""

from __future__ import annotations

from rsttrace.advice.commands import slow_accept
from rsttrace.advice.fit import Fit
from rsttrace.advice.queue import queue_of
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "connect-and-abort"
WANTS = ("sockets",)


def fit(case: Case, place: Place) -> Fit | None:
    """Of a scan or a health check nothing has to be changed, and nobody asks."""
    sock, queue = case.sock, queue_of(case, place)
    if sock is None or sock.has_socket:
        return None
    return Fit(
        slow_accept(case),
        queue.evidence if queue else (),
        settles=("a health check", "clients that give up in the accept queue"),
    )
