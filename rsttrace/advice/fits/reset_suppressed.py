"""The commands that show, pass by or delete the very rule that dropped the reset."""

from __future__ import annotations

from rsttrace.advice.fit import Fit
from rsttrace.advice.rulecommands import blamed, commands, remedies
from rsttrace.causes.case import Case
from rsttrace.causes.netfilter import dropping
from rsttrace.enrich.place import Place

CAUSE = "reset-suppressed"
WANTS = ()


def fit(case: Case, _place: Place) -> Fit | None:
    """Only for the one rule that it was."""
    rule = blamed(case, dropping(case))
    if rule is None:
        return None
    found = commands(rule, "tcp flags rst accept", "-p tcp --tcp-flags RST RST")
    if found is None:
        return None
    allow = "lets resets pass and nothing else"
    costs = "lets everything pass that it drops"
    return Fit(
        remedies(case, rule, found, allow, costs),
        settles=("let TCP's own resets out", "let resets pass"),
    )
