"""A client connected and reset at once, without a byte of data (chapter 3.1)."""

from __future__ import annotations

from rsttrace.causes import catalogue
from rsttrace.causes.case import (
    ACCEPTED,
    AGE,
    CERTAIN,
    CLIENT,
    JUDGEMENT,
    LIKELY,
    Case,
    Finding,
    count_of,
    duration,
)
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    odd_evidence,
    packet_evidence,
    sender_evidence,
)
from rsttrace.packet import ACK

CAUSE = "connect-and-abort"
WHEN = (ACCEPTED,)

NEEDS = (JUDGEMENT, AGE)
AFTER = ("middlebox-reset", "idle-expired")
YOUNG_S = 1.0
ROUND_TRIPS = 8


def rule(case: Case) -> Finding | None:
    """Opened by the peer, ESTABLISHED, nothing sent either way, and young or not yet accepted."""
    sock, history, packet = case.sock, case.history, case.reset.packet
    if not accepted_in(case, "ESTABLISHED") or not sock or not history or history.closed:
        return None
    if not history.passive or not history.established_ns or sock.spoke:
        return None
    if sock.is_mptcp:  # one path of a connection that may live on
        return None
    age = case.seconds_since(history.established_ns)
    young = age <= max(YOUNG_S, ROUND_TRIPS * sock.srtt_us / 8 / 1e6)
    if not young and sock.has_socket:
        return None
    # some devices abort by a bare RST; else that is the answer of a host that has forgotten us
    if packet and not packet.has(ACK) and (case.reset.peer or not young):
        return None
    sender = known_sender(case)
    how = f" ({sender.words})" if sender else ""
    accepted = "accepted" if sock.has_socket else "not accepted yet"
    return Finding(
        CERTAIN if sender else LIKELY,
        f"{case.remote} connected to {case.local} and reset after {duration(age)}, without a byte "
        f"of data{how}: {_why(case, young)}.",
        (
            f"state ESTABLISHED for {duration(age)}, {accepted}, no data either way",
            *_neighbours(case),
            *packet_evidence(case),
            *sender_evidence(case),
            *odd_evidence(case),
        ),
        # whose end closed does not matter here, so the sender's own remedies would mislead
        remedies=catalogue()[CAUSE].remedies,
        benign=young,
        initiator=CLIENT,
        sees=None if sock.has_socket else "accept() still succeeds, then ECONNRESET on first use",
    )


def _why(case: Case, young: bool) -> str:
    """What it was, by what else this address did."""
    others, port = case.facts.neighbours, case.reset.flow.lport
    interval = others and others.health_check_of(port, also_ns=case.reset.time_ns)
    if interval:
        return f"it looks like a health check, every {duration(interval)}"
    if others and others.scan:
        return f"it looks like a port scan, {others.ports} ports within a minute"
    if not young:
        return "a client that gave up while it waited to be accepted"
    return "a port scan, a load balancer's health check, or a client that gave up"


def _neighbours(case: Case) -> tuple[str, ...]:
    others, port = case.facts.neighbours, case.reset.flow.lport
    if not others or not others.ports:
        return ()
    times = count_of(len(others.attempts(port)), "time")
    return (
        f"this address tried {count_of(others.ports, 'port')} within the minute before, this one "
        f"{times}",
    )
