"""Where the address is that refused, and what listens there."""

from __future__ import annotations

from rsttrace.advice.commands import inside, line
from rsttrace.advice.elsewhere import evidence, listens_there, real_remote
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "connection-refused"
WANTS = ("peer", "path", "conntrack")
RUNS = "check that the service runs"


def fit(case: Case, place: Place) -> Fit | None:
    """If it is this host that refused, its own record says why, and nobody asks here."""
    seen, port = evidence(case, place), case.reset.flow.rport
    if look := listens_there(case, place):
        why = f"if this shows nothing, nothing listens on port {port}: start the service there"
        return Fit((f"{look}  # {why}",), (*seen, *_listener(case)), settles=(RUNS,))
    if place.peer is None:
        return Fit((), seen)
    remote = case.reset.flow.remote
    host, _, real_port = real_remote(case, place).rpartition(":")
    look = line("ss", "-ltn", f"sport = :{real_port or port}")
    there = f"on {host.strip('[]') or remote}: {look}  # does the service listen there?"
    way = inside(case, line("ip", "route", "get", remote))
    who = f"{way}  # is that the host you mean? a firewall on the way can answer, too"
    return Fit((there, who), (*seen, *_device(place)), settles=(RUNS,))


def _listener(case: Case) -> tuple[str, ...]:
    """Who on this host listens on that port, in whatever namespace."""
    table, flow = case.facts.listeners, case.reset.flow
    found = table.on_port(flow.rport, case.reset.time_ns) if table else []
    return tuple(f"on that port listens {one.name}" for one in found[:3])


def _device(place: Place) -> tuple[str, ...]:
    path = place.path
    if path is None or not path.device:
        return ()
    via = f" by {path.gateway}" if path.gateway else ""
    return (f"the way there: {path.device}{via}",)
