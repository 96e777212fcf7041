"""Who stopped listening, whether somebody listens now, and what tcp_migrate_req is."""

from __future__ import annotations

from rsttrace.advice.commands import line, sysctl, unit_of
from rsttrace.advice.fit import Fit
from rsttrace.advice.queue import later
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "listener-closed"
WANTS = ("sockets",)
MIGRATE = "net.ipv4.tcp_migrate_req"


def fit(case: Case, place: Place) -> Fit | None:
    """tcp_migrate_req helps only where another listener shares the port at that moment."""
    unit = unit_of(case.facts.actor or case.facts.owner)
    found, evidence, settles = [], [], []
    if unit:
        show = line("systemctl", "show", "-p", "Result,ExecMainStatus,NRestarts", unit)
        found.append(f"{show}  # did {unit} end, or did somebody restart it?")
        settles.append("if nobody restarted it")
    listening = place.sockets.listening if place.sockets else None
    if listening:
        evidence.append(f"{case.local} accepts connections {later(case, place)} later")
        if place.number(MIGRATE) == 0:
            why = "is 0; helps only if old and new process listen at the same time (SO_REUSEPORT)"
            found.append(sysctl(case, MIGRATE, 1, why))
            settles.append("several SO_REUSEPORT")
    elif place.sockets:
        evidence.append(f"nothing accepts on {case.local} {later(case, place)} later")
        settles.append("several SO_REUSEPORT")
    return Fit(_in_order(found), tuple(evidence), settles=tuple(settles))


def _in_order(found: list[str]) -> tuple[str, ...]:
    drain = (
        "before a restart take the host out of the load balancer, then accept() until the queue is "
        "empty"
    )
    return (drain, *found) if found else ()
