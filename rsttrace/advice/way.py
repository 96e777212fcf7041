"""The way to the other end, as this namespace would send now: what is wrong with it."""

from __future__ import annotations

from rsttrace.advice.commands import inside, line
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Path, Place

NO_WAY = ("unreachable", "blackhole", "prohibit", "throw")
SILENT = ("FAILED", "INCOMPLETE")
ANSWERS = ("REACHABLE", "DELAY", "PROBE")


def way(case: Case, place: Place) -> Fit:
    """Route, device and next hop, in the order in which they can fail."""
    path = place.path
    if path is None:
        return Fit()
    remote, hop = case.reset.flow.remote, path.gateway or case.reset.flow.remote
    evidence = _seen(path, hop)
    if path.route in NO_WAY:
        look = inside(case, line("ip", "route", "get", remote))
        return Fit((f"{look}  # the route is '{path.route}': correct or delete it",), evidence)
    if path.up is False:
        look = inside(case, line("ip", "-br", "link", "show", "dev", path.device))
        why = "it does not run: switched off, or its cable or other end is down"
        return Fit((f"{look}  # {why}",), evidence)
    if path.neighbour in SILENT:
        look = inside(case, line("ip", "neigh", "show", hop, "dev", path.device))
        why = f"nobody answers to {hop} there: host down, or wrong address or VLAN"
        return Fit((f"{look}  # {why}",), evidence)
    return Fit((), evidence)


def _seen(path: Path, hop: str) -> tuple[str, ...]:
    if path.route in NO_WAY:
        return (f"the route to the other end is now '{path.route}'",)
    via = f" by {path.gateway}" if path.gateway else ""
    kind = f" ({path.kind})" if path.kind else ""
    runs = {True: "runs", False: "does not run"}.get(path.up, "") if path.up is not None else ""
    found = [f"the way there is now {path.device}{kind}{via}{', which ' + runs if runs else ''}"]
    if path.other_end:
        found.append(f"{path.device} leads to {path.other_end}")
    if path.neighbour in SILENT:
        found.append(f"the next hop {hop} does not answer (neighbour {path.neighbour})")
    elif path.neighbour in ANSWERS:
        found.append(f"the next hop {hop} answers (neighbour {path.neighbour}): look behind it")
    return tuple(found)
