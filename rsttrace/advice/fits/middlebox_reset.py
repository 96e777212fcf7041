"""How far away the device is, and what to capture as a proof."""

from __future__ import annotations

from rsttrace.advice.commands import inside, line
from rsttrace.advice.elsewhere import capture, evidence, service_port
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.causes.features import distance
from rsttrace.enrich.place import Place

CAUSE = "middlebox-reset"
WANTS = ("path", "peer")


def fit(case: Case, place: Place) -> Fit | None:
    """Where the maker is on this host, its own verdict has the remedies."""
    packet, port, remote = case.reset.packet, service_port(case), case.reset.flow.remote
    proof = "and at the other end: a RST only seen here was made between"
    remedies = [capture(case, _device(place), proof)]
    if port and case.reset.flow.rport == port:
        trace = line("traceroute", "-n", "-T", "-p", str(port), remote)
        hops = f"; by its TTL the RST was made {distance(packet.ttl)} away" if packet else ""
        remedies.append(inside(case, trace, f"which devices are between{hops}"))
    return Fit(tuple(remedies), evidence(case, place))


def _device(place: Place) -> str:
    return place.path.device if place.path else ""
