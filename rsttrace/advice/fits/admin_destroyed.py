"""Who destroyed the socket: how to find out who started it."""

from __future__ import annotations

from rsttrace.advice.commands import line
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "admin-destroyed"
WANTS = ()


def fit(case: Case, _place: Place) -> Fit | None:
    """ss ends at once; what its command line said is kept."""
    killer = case.facts.actor
    if killer is None or not case.reset.in_stack("tcp_diag_destroy", "__inet_diag_destroy"):
        return None
    evidence = (f"{killer.name} is: {killer.cmdline}",) if killer.cmdline else ()
    look = line("journalctl", "_COMM=sudo", "_COMM=cron", "-n", "20")
    return Fit((f"{look}  # who ran {killer.name}?",), evidence)
