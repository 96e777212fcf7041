"""TCP_USER_TIMEOUT beside what keepalive alone would wait, and the way to the peer."""

from __future__ import annotations

from rsttrace.advice.fit import Fit
from rsttrace.advice.timers import keepalive
from rsttrace.advice.way import way
from rsttrace.causes.case import Case, duration
from rsttrace.enrich.place import Place

CAUSE = "user-timeout"
WANTS = ("path",)


def fit(case: Case, place: Place) -> Fit | None:
    """The option is the application's: only it can change it."""
    found, default, sock = way(case, place), keepalive(place), case.sock
    evidence = (
        *((f"without TCP_USER_TIMEOUT: {default.words} (defaults there)",) if default else ()),
        *found.evidence,
    )
    if sock is None or not sock.user_timeout:
        return Fit(found.remedies, evidence)
    longer = (
        f"raise TCP_USER_TIMEOUT in {case.who} from {sock.user_timeout} ms if breaks of more than "
        f"{duration(sock.user_timeout / 1000)} have to be survived"
    )
    return Fit((*found.remedies, longer), evidence, settles=("connections lost in short breaks",))
