"""Why this host knows nothing of the connection: a restart, a time-out, or NAT let it through."""

from __future__ import annotations

from rsttrace.advice.commands import sysctl, unit_of
from rsttrace.advice.fit import Fit
from rsttrace.advice.timers import give_up_s
from rsttrace.causes.case import Case, duration
from rsttrace.causes.rules._handshake import timed_out
from rsttrace.enrich.place import Place

CAUSE = "stale-connection"
WANTS = ("conntrack",)
LIBERAL, RETRIES = "net.netfilter.nf_conntrack_tcp_be_liberal", "net.ipv4.tcp_retries2"
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
AFTER, BEFORE, NAT = "after a restart", "before a planned restart", "behind NAT or conntrack"
RESTARTED_NS = 600_000_000_000


def fit(case: Case, place: Place) -> Fit | None:
    """Only what was seen; each history has its own remedy."""
    evidence, tracked = _how_it_ended(case, place), place.conntrack
    if tracked and tracked.natted:
        evidence = (*evidence, f"connection tracking translates it: {tracked.natted}")
    known = case.history if case.history and case.history.closed else None
    if known and timed_out(known):
        ago = duration(case.seconds_since(known.change_ns))
        cut = f"find what cut the way to {case.remote}: the connection timed out here {ago} before"
        return Fit((cut,), evidence, settles=(AFTER, BEFORE, NAT))
    if restart := _restarted(case):
        return Fit((restart,), evidence, settles=(BEFORE, NAT))
    if known or not tracked or not tracked.natted or place.number(LIBERAL) != 0:
        return Fit((), evidence)
    drop = "drop INVALID packets before they skip NAT and end here: rule 'ct state invalid drop'"
    why = "is 0; in place of that rule: calls fewer INVALID, but lets odd ones pass"
    return Fit((drop, sysctl(case, LIBERAL, 1, why)), evidence, settles=(NAT,))


def _restarted(case: Case) -> str:
    """The listener is younger than the peer's connection, as far as that is seen."""
    flow, table, now = case.reset.flow, case.facts.listeners, case.reset.time_ns
    found = table.accepting(flow.netns, flow.local, flow.lport) if table else None
    if found is None or not 0 < found.opened_ns <= now or now - found.opened_ns > RESTARTED_NS:
        return ""
    ago = duration((now - found.opened_ns) / 1e9)
    name = unit_of(case.facts.listener) or found.name
    return (
        f"if that was a restart: drain {name} before one (it began to listen {ago} before): first "
        "no new connections, then end the old ones, then stop"
    )


def _how_it_ended(case: Case, place: Place) -> tuple[str, ...]:
    ended = case.history
    if not ended or not ended.closed:
        return ()
    retries, seconds = place.number(RETRIES), place.number(FIN_TIMEOUT)
    if ended.old_state == "FIN_WAIT2" and seconds is not None:
        return (f"{FIN_TIMEOUT} is {seconds} s there: so long a closed connection is remembered",)
    if timed_out(ended) and retries is not None:
        least = duration(give_up_s(place, retries))
        return (f"{RETRIES} is {retries} there: a time-out takes at least {least}",)
    return ()
