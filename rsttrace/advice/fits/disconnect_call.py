"""Which process dissolves its connections, and how to see where."""

from __future__ import annotations

from rsttrace.advice.commands import live, strace
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "disconnect-call"
WANTS = ()


def fit(case: Case, _place: Place) -> Fit | None:
    """The call is the application's own, or its library's."""
    process = live(case)
    if process is None:
        return None
    return Fit(
        (strace(process, "connect,close", "look for connect() with AF_UNSPEC"),), in_code=True
    )
