"""After a long silence our next segment met nobody who knows the connection (chapter 5.4)."""

from __future__ import annotations

from rsttrace.causes import catalogue
from rsttrace.causes.case import ACCEPTED, CERTAIN, JUDGEMENT, LIKELY, Case, Finding, duration
from rsttrace.causes.features import answers_us, quiet, ttl
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    odd_evidence,
    packet_evidence,
    sender_evidence,
)
from rsttrace.packet import ACK

CAUSE = "idle-expired"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ("middlebox-reset",)
# the shortest idle time-outs of load balancers and proxies are of this order
IDLE_MS = 10_000
# far longer than any wait for an answer
ROUND_TRIPS = 20
# what a peer on this host says that has no such connection
FORGOTTEN = ("stale-connection", "late-segment", "ack-to-listener")


def rule(case: Case) -> Finding | None:
    """A bare RST that answers our segment, the first one after the silence."""
    sock, packet = case.sock, case.reset.packet
    if not accepted_in(case, "ESTABLISHED") or not sock or not packet or packet.has(ACK):
        return None
    idle_ms = sock.heard_ms
    if idle_ms is None or idle_ms < max(IDLE_MS, ROUND_TRIPS * sock.srtt_us / 8000):
        return None
    if not answers_us(case) or sock.retransmits:
        return None
    sender = known_sender(case)
    if case.reset.peer and not (sender and sender.cause in FORGOTTEN):
        return None
    idle = duration(idle_ms / 1000)
    return Finding(
        CERTAIN if sender else LIKELY,
        f"The connection of {case.who} to {case.remote} had been idle for {idle}; the next segment "
        f"was answered by a reset: {sender.words if sender else _who_forgot(case)}.",
        (
            f"state ESTABLISHED, nothing heard from the peer for {idle}",
            f"our last segment left {quiet(case)} before the RST",
            *_keepalive(case),
            *packet_evidence(case),
            *sender_evidence(case),
            *odd_evidence(case),
        ),
        # this end can do something about it; the sender's own remedies are for the sender
        remedies=catalogue()[CAUSE].remedies,
    )


def _who_forgot(case: Case) -> str:
    if ttl(case):
        return "by its TTL a device in the path, not the peer, had forgotten the connection"
    return "a NAT, firewall or load balancer had forgotten it, or the peer had restarted"


def _keepalive(case: Case) -> tuple[str, ...]:
    sock = case.sock
    if not sock:
        return ()
    if sock.probes_out:
        return (f"keepalive probe {sock.probes_out} drew the RST",)
    return () if sock.keepalive else ("SO_KEEPALIVE is off: nothing kept the connection in mind",)
