"""TCP_LINGER2 of the socket beside the namespace's tcp_fin_timeout."""

from __future__ import annotations

from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case, name_of
from rsttrace.enrich.place import Place

CAUSE = "linger2-expired"
WANTS = ()
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"


def fit(case: Case, place: Place) -> Fit | None:
    """Only the sign of TCP_LINGER2 is known: it is kept in ticks of unknown length."""
    sock, seconds = case.sock, place.number(FIN_TIMEOUT)
    evidence = () if seconds is None else (f"{FIN_TIMEOUT} is {seconds} s there",)
    if sock is None or sock.linger2 >= 0:
        return Fit((), evidence)
    who = name_of(case.facts.closer or case.facts.owner, "the application")
    wait = "" if seconds is None else f": the kernel then waits {seconds} s for the peer's FIN"
    return Fit(
        (f"let {who} not set TCP_LINGER2 to a negative value{wait}",),
        evidence,
        settles=("remove TCP_LINGER2",),
    )
