"""Where the address is that refused, and what listens there."""

from __future__ import annotations

from rsttrace.advice.commands import inside, line
from rsttrace.advice.elsewhere import evidence, listens_there
from rsttrace.advice.fit import Fit
from rsttrace.advice.way import route_get
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "connection-refused"
WANTS = ("peer", "path")  # the RST itself ends the conntrack entry: NAT is never found there
RUNS = "check that the service runs"


def fit(case: Case, place: Place) -> Fit | None:
    """If it is this host that refused, its own record says why, and nobody asks here."""
    seen, port = evidence(case, place), case.reset.flow.rport
    nat = f"unless NAT or IPVS on this host leads port {port} elsewhere"
    why = f"if this shows nothing: start the service there, {nat} (nft list ruleset, ipvsadm -ln)"
    if look := listens_there(case, place, why):
        return Fit((look,), (*seen, *_listener(case)), settles=(RUNS,))
    if place.peer is None:
        return Fit((), seen)
    remote = case.reset.flow.remote
    look = line("ss", "-ltn", f"sport = :{port}")
    there = f"on {remote}: {look}  # does the service listen there?"
    why = "is that the host you mean? a firewall on the way can answer, too"
    way = inside(case, route_get(case, place.path), why)
    return Fit((there, way), (*seen, *_device(place)), settles=(RUNS,))


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
