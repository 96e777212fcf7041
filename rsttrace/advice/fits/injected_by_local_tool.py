"""The program that writes resets itself: who started it."""

from __future__ import annotations

from rsttrace.advice.commands import line, unit_of
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "injected-by-local-tool"
WANTS = ()


def fit(case: Case, _place: Place) -> Fit | None:
    """The task on the CPU sent it."""
    tool = case.facts.actor
    if tool is None:
        return None
    look = line("ps", "-o", "user,lstart,ppid,cmd", "-p", str(tool.pid))
    found = [f"{look}  # who runs {tool.name}, and since when"]
    if unit := unit_of(tool):
        found.append(f"{line('systemctl', 'status', unit)}  # {tool.name} belongs to it")
    evidence = (f"{tool.name} is: {tool.cmdline}",) if tool.cmdline else ()
    return Fit(tuple(found), evidence)
