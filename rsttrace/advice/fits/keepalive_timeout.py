"""How long keepalive waits here, and what is wrong with the way to the peer."""

from __future__ import annotations

from rsttrace.advice.commands import sysctl
from rsttrace.advice.fit import Fit
from rsttrace.advice.timers import PROBES, Keepalive, keepalive, own_values
from rsttrace.advice.way import way
from rsttrace.causes.case import Case, count_of, duration
from rsttrace.enrich.place import Place

CAUSE = "keepalive-timeout"
WANTS = ("path",)


def fit(case: Case, place: Place) -> Fit | None:
    """The way first: this end was right to give up."""
    found, default = way(case, place), keepalive(place)
    if default is None:
        return found
    patient = _own(case, default) if own_values(case, default) else _default(case, default)
    return Fit(
        (*found.remedies, patient[0]),
        (f"defaults there: {default.words}", *patient[1:], *found.evidence),
        settles=("path with short breaks",),
    )


def _default(case: Case, default: Keepalive) -> tuple[str, ...]:
    probing = default.interval * default.probes
    why = (
        f"is {default.probes}: survives breaks of {probing * 2} s in place of {probing} s; per "
        "socket: TCP_KEEPCNT"
    )
    return (sysctl(case, PROBES, default.probes * 2, why),)


def _own(case: Case, default: Keepalive) -> tuple[str, ...]:
    sock = case.sock
    took, probes = (sock.heard_ms or 0, sock.probes_out) if sock else (0, default.probes)
    return (
        f"to survive longer breaks: raise TCP_KEEPCNT or TCP_KEEPINTVL in {case.who}; it has its "
        "own values, so the sysctls do not count",
        f"it took {duration(took / 1000)} and {count_of(probes, 'probe')}: the socket has its own "
        "values (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT)",
    )
