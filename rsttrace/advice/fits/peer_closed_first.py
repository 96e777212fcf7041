"""How long the peer's end had been closed when this one wrote on."""

from __future__ import annotations

from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case, duration
from rsttrace.enrich.place import Place

CAUSE = "peer-closed-first"
WANTS = ()
RACE_S = 1.0  # about what a segment that crosses the FIN takes at most


def fit(case: Case, _place: Place) -> Fit | None:
    """Early: the two crossed on the way. Late: the end of file was there to be seen."""
    history, sock = case.history, case.sock
    if not history or history.closed or not sock or sock.spoke_ms is None:
        return None
    since = case.seconds_since(history.change_ns)
    wrote = since - sock.spoke_ms / 1000
    if wrote < RACE_S:
        return None
    return Fit(
        (
            f"let {case.who} look for end of file before it writes: the peer had closed "
            f"{duration(wrote)} before; a pool must test an idle connection",
        ),
        (f"the peer's FIN had come {duration(since)} before the reset",),
        settles=("pooled or keep-alive connection",),
    )
