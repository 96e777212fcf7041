"""Guesses at a connection: drop what cannot come from the peer, and how the kernel answers."""

from __future__ import annotations

from rsttrace.advice.elsewhere import capture
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "blind-reset-rejected"
WANTS = ("path",)
LIMIT = "net.ipv4.tcp_challenge_ack_limit"
UNLIMITED = 2**31 - 1


def fit(case: Case, place: Place) -> Fit | None:
    """A shared limit of challenge ACKs lets an attacker learn of a connection (CVE-2016-5696)."""
    limit = place.number(LIMIT)
    evidence = []
    if limit is not None:
        words = "no limit" if limit >= UNLIMITED else f"{limit} in a second"
        evidence.append(f"challenge ACKs of this namespace: {words} ({LIMIT})")
    device = place.path.device if place.path else ""
    look = capture(case, device, "compare the TTL of the guesses with the peer's own")
    return Fit((look,), tuple(evidence), settles=("one of them:",))
