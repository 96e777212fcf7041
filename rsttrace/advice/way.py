"""The way to the other end, as this namespace would send now: what is wrong with it."""

from __future__ import annotations

import ipaddress

from rsttrace.advice.commands import inside, line
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Path, Place
from rsttrace.listeners import ANY

NO_WAY = ("none", "unreachable", "blackhole", "prohibit", "throw")
# INCOMPLETE, DELAY and PROBE: it was asked and has not answered yet
SILENT, ANSWERED = "FAILED", "REACHABLE"


def way(case: Case, place: Place) -> Fit:
    """Route, device and next hop, in the order in which they can fail."""
    path = place.path
    if path is None:
        return Fit()
    hop = path.gateway or case.reset.flow.remote
    evidence = _seen(path, hop)
    if path.route in NO_WAY:
        why = f"the route is '{path.route}': correct or delete it"
        if path.route == "none":
            why = "no route leads there: add one, or a default route"
        return Fit((inside(case, route_get(case, path), why),), evidence)
    if path.up is False:
        look = line("ip", "-br", "link", "show", "dev", path.device)
        why = "it does not run: switched off, or its cable or other end is down"
        return Fit((inside(case, look, why),), evidence)
    if path.neighbour == SILENT:
        look = line("ip", "neigh", "show", hop, "dev", path.device)
        why = f"nobody answers to {hop} there: host down, or wrong address or VLAN"
        return Fit((inside(case, look, why),), evidence)
    return Fit((), evidence)


def route_get(case: Case, path: Path | None) -> str:
    """The route that this connection takes: its own address may choose it (ip rule).

    For an end of ours only: the kernel refuses an address that it does not have.
    """
    flow = case.reset.flow
    own = () if flow.local in ANY else ("from", flow.local)
    through = path.device if path and ipaddress.ip_address(flow.remote).is_link_local else ""
    return line("ip", "route", "get", flow.remote, *own, *(("oif", through) if through else ()))


def _seen(path: Path, hop: str) -> tuple[str, ...]:
    if path.route == "none":
        return ("no route leads to the other end now",)
    if path.route in NO_WAY:
        return (f"the route to the other end is now '{path.route}'",)
    via = f" by {path.gateway}" if path.gateway else ""
    kind = f" ({path.kind})" if path.kind else ""
    runs = {True: "runs", False: "does not run"}.get(path.up, "") if path.up is not None else ""
    found = [f"the way there is now {path.device}{kind}{via}{', which ' + runs if runs else ''}"]
    if path.other_end:
        found.append(f"{path.device} leads to {path.other_end}")
    if path.neighbour == SILENT:
        found.append(f"the next hop {hop} does not answer (neighbour {path.neighbour})")
    elif path.neighbour == ANSWERED:
        state = f"(neighbour {path.neighbour})"
        found.append(f"the next hop {hop} answered within the last minute {state}: look behind it")
    return tuple(found)
