"""Route, device and next hop of a connect() that an ICMP message ended."""

from __future__ import annotations

import errno

from rsttrace.advice.commands import inside, line
from rsttrace.advice.fit import Fit
from rsttrace.advice.way import way
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "icmp-unreachable"
WANTS = ("path",)


def fit(case: Case, place: Place) -> Fit | None:
    """What is wrong here, and else: who sent the message."""
    found, flow, error = way(case, place), case.reset.flow, case.reset.error
    if found.remedies:
        settles = ("if it is this host itself",)
        return Fit(found.remedies, found.evidence, settles=settles)
    kind = "icmp6" if flow.family == 6 else "icmp"
    device = place.path.device if place.path and place.path.device else "any"
    look = line("tcpdump", "-nn", "-v", "-i", device, kind)
    why = f"connect to {case.remote} again: who sends the message?"
    if error and error.errno == errno.ECONNREFUSED:
        why += " Most likely a firewall's REJECT"
    remedy = inside(case, look, why)
    return Fit((remedy,), found.evidence, settles=("see who sends the message",))
