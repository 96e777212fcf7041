"""A RST for a connection that does not exist here (chapter 3.2)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    JUDGEMENT,
    LIKELY,
    RECENT_NS,
    REFUSED,
    Case,
    Finding,
    duration,
)
from rsttrace.causes.rules._refused import (
    NOTHING,
    UNPROVEN,
    maker_words,
    met,
    proven,
    reason_of,
    refused_evidence,
    refused_reset,
)

CAUSE = "reset-no-socket"
WHEN = (REFUSED,)
NEEDS = (JUDGEMENT,)
AFTER = ()

# a RST with ACK leaves the listener by the exit that would answer, were it not a RST
_AT_LISTENER = ("TCP_RESET", "TCP_FLAGS", "NOT_SPECIFIED", None)


def rule(case: Case) -> Finding | None:
    """No socket matched, or only a listener, or one that is closed already."""
    judged = refused_reset(case)
    if judged is None:
        return None
    where = met(case, judged)
    if where == NOTHING:
        what = "came for a connection that does not exist here"
        fact = "no socket matched"
    elif where == "LISTEN" and reason_of(judged) in _AT_LISTENER:
        what = f"came for a connection that does not exist here; only a listener has {case.local}"
        fact = "it reached the listener (state LISTEN)"
    elif judged.drop_reason == "TCP_CLOSE":
        what = "came for a connection that is over already"
        fact = "the socket is in state CLOSE, still held by a process"
    else:
        return None
    sure = proven(judged) or judged.drop_reason == "TCP_CLOSE"
    return Finding(
        CERTAIN if sure else LIKELY,
        f"A reset from {case.remote}{maker_words(case)} {what}; it was dropped.",
        (fact, *_attempt(case), *refused_evidence(case, judged)),
        missing="" if sure else UNPROVEN,
    )


def _attempt(case: Case) -> tuple[str, ...]:
    """A handshake of these ends not long ago: then it is no stranger's packet."""
    shake = case.reset.handshake
    if not shake:
        return ()
    first = min(t for t in (shake.rx_ns, shake.tx_ns) if t) if shake.rx_ns or shake.tx_ns else 0
    if not first or not 0 <= case.reset.time_ns - first <= RECENT_NS:
        return ()
    return (f"a handshake between these two ports began {duration(case.seconds_since(first))} ago",)
