"""Why a handshake came to nothing: a full accept queue, or SYN cookies."""

from __future__ import annotations

from rsttrace.advice.commands import slow_accept, sysctl
from rsttrace.advice.fit import Fit
from rsttrace.advice.queue import Queue, queue_of, raise_limit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "ack-to-listener"
WANTS = ("sockets",)
COOKIES = "net.ipv4.tcp_syncookies"
AT_LIMIT: dict[int | None, str] = {0: "SYNs are dropped", 1: "SYN cookies are sent"}
QUEUE, FLOOD = "see whether the accept queue overflows", "see whether SYN cookies are sent"


def fit(case: Case, place: Place) -> Fit | None:
    """The queue now tells only if it is still full."""
    queue, cookies = queue_of(case, place), place.number(COOKIES)
    if queue and queue.waiting > queue.limit:
        remedies = (*raise_limit(case, queue), *slow_accept(case))
        return Fit(remedies, _seen(queue, cookies), settles=(QUEUE,))
    if cookies == 2:
        why = "is 2: SYN cookies for every connection; 1 sends them only in a flood"
        return Fit((sysctl(case, COOKIES, 1, why),), _seen(queue, cookies), settles=(FLOOD,))
    if queue and cookies == 1 and (queue.half_open or 0) >= max(1, queue.limit):
        return Fit(raise_limit(case, queue), _seen(queue, cookies), settles=(FLOOD,))
    return Fit((), _seen(queue, cookies)) if queue else None


def _seen(queue: Queue | None, cookies: int | None) -> tuple[str, ...]:
    """inet_csk_reqsk_queue_is_full(): half-open ones have the limit of the accept queue."""
    if queue is None or queue.half_open is None:
        return queue.evidence if queue else ()
    limit = f"; {AT_LIMIT[cookies]} from {queue.limit} on" if cookies in AT_LIMIT else ""
    return (*queue.evidence, f"half-open connections now: {queue.half_open}{limit}")
