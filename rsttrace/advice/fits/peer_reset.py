"""Where to look for the end that reset."""

from __future__ import annotations

from rsttrace.advice.elsewhere import evidence, watch_there
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place
from rsttrace.packet import ACK

CAUSE = "peer-reset"
WANTS = ("peer", "conntrack")


def fit(case: Case, place: Place) -> Fit | None:
    """A sender on this host that was seen has its own verdict; this is for all others."""
    packet = case.reset.packet
    why = "only that end knows the reason"
    if packet and packet.has(ACK):
        why = "it names the process there that aborted"
    elif packet and not packet.window and not packet.option_kinds:
        why = "why is the connection not known there: restart, full queue, firewall"
    there = watch_there(case, place, why)
    return Fit((there,), evidence(case, place), settles=("run rsttrace on the peer",))
