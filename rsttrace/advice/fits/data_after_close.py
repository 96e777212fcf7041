"""How long after close() the data came, and for how long the kernel remembers the connection."""

from __future__ import annotations

from rsttrace.advice.commands import unit_of
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case, duration, name_of
from rsttrace.enrich.place import Place

CAUSE = "data-after-close"
WANTS = ()
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
RACE_S = 1.0  # about what data that crosses the FIN takes at most


def fit(case: Case, place: Place) -> Fit | None:
    """At once: it crossed the FIN. Later: the peer went on although it was told."""
    history, facts = case.history, case.facts
    seconds = place.number(FIN_TIMEOUT)
    evidence = () if seconds is None else (f"{FIN_TIMEOUT} is {seconds} s there",)
    if not history or not history.close_ns or (case.sock and case.sock.has_socket):
        return Fit((), evidence)
    since = case.seconds_since(history.close_ns)
    who = name_of(facts.closer or facts.owner, "the application")
    if history.closed_by_exit:
        service = unit_of(facts.closer or facts.owner) or who
        ago = duration(since)
        end = f"let {service} finish its connections before it ends: it ended {ago} before"
        return Fit((end,), evidence)
    if since < RACE_S:
        race = (
            f"let {who} call shutdown(SHUT_WR) and read to end of file before close(): the data "
            f"came {duration(since)} after close(), so it may have been on its way"
        )
        return Fit((race,), evidence, settles=("use shutdown(SHUT_WR)",), in_code=True)
    if not _told(case):
        return Fit((), evidence)
    late = (
        f"look at {case.remote}: it still sent {duration(since)} after {who} had closed, so it had "
        "read end of file or does not look"
    )
    return Fit((late,), evidence, settles=("on the peer: stop writing",))


def _told(case: Case) -> bool:
    """FIN_WAIT2: the peer has acknowledged our FIN, so it has the end of file to read."""
    decided, history = case.reset.decided, case.history
    here = decided.tw_substate if decided else None
    return "FIN_WAIT2" in (here, history.old_state if history else None)
