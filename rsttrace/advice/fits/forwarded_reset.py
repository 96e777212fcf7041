"""On which host to look."""

from __future__ import annotations

from rsttrace.advice.commands import inside, line
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "forwarded-reset"
WANTS = ()


def fit(case: Case, _place: Place) -> Fit | None:
    """A sender on this host has its own record, and the verdict says so."""
    flow = case.reset.flow
    if case.reset.origin is not None:
        return None
    there = f"on {flow.local}: {line('sudo', 'rsttrace')}  # it made this reset, and knows why"
    look = line("ip", "route", "get", flow.local)
    way = inside(case, look, f"by which device {flow.local} is reached from here")
    return Fit((there, way), settles=("run rsttrace on the host",))
