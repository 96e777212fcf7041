"""A SYN+ACK that no socket waits for (rows P1, P2)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    TRIGGER,
    Case,
    Finding,
    duration,
    name_of,
    reason_evidence,
)
from rsttrace.causes.rules._handshake import HANDSHAKE_NS, met_no_connection, syn_left_ns
from rsttrace.packet import ACK, FIN, SYN
from rsttrace.records import History

CAUSE = "unexpected-syn-ack"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("closed-port", "late-segment")


def rule(case: Case) -> Finding | None:
    """Told by what this host sent before: a connect() that is over, a hand-made SYN, or nothing."""
    trigger = case.trigger
    if not trigger or not met_no_connection(case):
        return None
    if not trigger.has(SYN) or not trigger.has(ACK) or trigger.has(FIN):
        return None
    left_ns = syn_left_ns(case)
    attempt = case.history
    over = attempt and attempt.closed and attempt.old_state == "SYN_SENT"
    if attempt and over and left_ns <= attempt.change_ns:
        return _too_late(case, attempt)
    return _made_by_hand(case, left_ns) if left_ns else _unasked(case)


def _too_late(case: Case, attempt: History) -> Finding:
    """connect() was over when the answer came."""
    ago = duration(case.seconds_since(attempt.change_ns))
    opener = f"{attempt.comm}[{attempt.pid}]" if attempt.pid and attempt.comm else "a process"
    who = name_of(case.facts.closer, opener)
    lost = bool(attempt.errno or attempt.got_reset)
    remedies = None
    if attempt.got_reset:
        how = f"a reset had refused the connection of {opener}"
        remedies = ("find the device that answered first: that reset was not the server's",)
    elif attempt.errno:
        how = f"the connect() of {opener} had timed out"
        remedies = ("find out why the answer is late: lost packets, or an overloaded server",)
    else:
        how = f"{who} had given up connecting"
    tried = duration((attempt.change_ns - attempt.open_ns) / 1e9)
    waited = (f"the attempt lasted {tried}",) if attempt.open_ns else ()
    return Finding(
        CERTAIN,
        f"{case.remote} answered too late: {how} {ago} before.",
        (*_evidence(case), "the socket had been in SYN_SENT", *waited),
        remedies=remedies,
        benign=not lost,
    )


def _made_by_hand(case: Case, left_ns: int) -> Finding:
    """Its SYN was seen, but no socket in SYN_SENT."""
    ago = duration(case.seconds_since(left_ns))
    return Finding(
        LIKELY,
        f"{case.remote} accepts a connection from {case.local}, but no socket here asked for it: a "
        "program made the SYN itself (a port scan such as nmap -sS), or this host translates "
        "addresses (NAT) and lost that connection.",
        (
            *_evidence(case),
            f"its SYN left this host {ago} before, but no socket of these ports was in SYN_SENT",
        ),
    )


def _unasked(case: Case) -> Finding:
    """No SYN was seen to leave."""
    watched = case.facts.watched_ns
    young, known, earlier = False, "the last two minutes", ""
    if watched is not None and watched < HANDSHAKE_NS:
        young, known = True, f"the {duration(watched / 1e9)} of this trace"
        earlier = ", or its SYN left before this trace began"
    return Finding(
        LIKELY,  # a program may send by a way that is not seen (PACKET_QDISC_BYPASS)
        f"{case.remote} accepts a connection that this host did not ask for: somebody used the "
        f"address {case.reset.flow.local} as a false sender, or sends such segments to probe"
        f"{earlier}.",
        (*_evidence(case), f"no SYN with these addresses and ports left this host in {known}"),
        missing="whether its SYN left before the trace began" if young else "",
    )


def _evidence(case: Case) -> tuple[str, ...]:
    where = "only a listener has that port" if case.reset.state == "LISTEN" else "no socket matched"
    return (f"SYN+ACK to {case.local}: {where}", *reason_evidence(case))
