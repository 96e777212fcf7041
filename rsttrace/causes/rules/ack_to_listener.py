"""An ACK to a listening port, and nothing tells of a connection before (rows P2, P3)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    TRIGGER,
    Case,
    Finding,
    count_of,
    duration,
    reason_evidence,
)
from rsttrace.causes.rules._handshake import TIMESTAMPS, at_listener, unfinished
from rsttrace.packet import ACK, FIN, RST, SYN, Packet, signed
from rsttrace.records import Handshake

CAUSE = "ack-to-listener"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("bad-ack-in-handshake", "late-segment", "accept-queue-overflow")


def rule(case: Case) -> Finding | None:
    """The last ACK of a handshake that is not known any more, or a bare ACK without options."""
    trigger = case.trigger
    if not trigger or not at_listener(case) or not trigger.has(ACK) or trigger.has(SYN | RST):
        return None
    shake = unfinished(case)
    if shake and signed(trigger.ack - shake.tx_seq) == 1:
        return _gave_up(case, trigger, shake)
    # what a TCP repeats on its own has the timestamp option almost always
    if case.recent or trigger.length or trigger.has(FIN) or TIMESTAMPS in trigger.option_kinds:
        return None
    return _probe(case, trigger)


def _gave_up(case: Case, trigger: Packet, shake: Handshake) -> Finding:
    """It acknowledges exactly our SYN+ACK, but tcp_check_req() was not reached."""
    asked = duration(case.seconds_since(shake.rx_ns))
    answered = duration(case.seconds_since(shake.tx_ns))
    return Finding(
        CERTAIN,
        f"For {case.remote} the connection to {case.local} is open, but here its handshake was "
        "never completed and is not known any more: its SYN cookie was not accepted, or the "
        "half-open connection was given up.",
        (
            f"SYN {asked} before, our last SYN+ACK {answered} before",
            f"{trigger.flag_text} with {count_of(trigger.length, 'byte')} acknowledges exactly "
            "that SYN+ACK",
            "no connection came of it",
            *reason_evidence(case),
        ),
        remedies=(
            "see whether the accept queue overflows: nstat -az TcpExtListenOverflows "
            "TcpExtListenDrops; a faster accept() or a larger backlog helps",
            "see whether SYN cookies are sent: nstat -az TcpExtSyncookiesSent "
            "TcpExtSyncookiesFailed; raise the backlog and net.core.somaxconn, or stop the flood",
            "otherwise look for lost packets from this client",
        ),
        benign=False,
        sees="ECONNRESET on the first read or write",
    )


def _probe(case: Case, trigger: Packet) -> Finding:
    others = case.facts.neighbours
    scan = bool(others and others.scan)
    seen = (
        (f"in the minute before, this address tried {count_of(others.ports, 'port')}",)
        if others and others.ports
        else ()
    )
    or_else = (
        "" if scan else ", or a connection from before a restart (of a TCP without timestamps)"
    )
    return Finding(
        LIKELY,
        f"{case.remote} sent a bare ACK to the listening port {case.reset.flow.lport}, without any "
        f"sign of a connection: most likely an ACK scan (nmap -sA){or_else}.",
        (
            f"{trigger.flag_text}, no data, {_options(trigger)}",
            "only a listener matched, no handshake and no connection with these ports is known",
            *seen,
            *reason_evidence(case),
        ),
        sees="a scanner: no firewall stops such segments",
        missing="" if scan else "what happened before the trace began",
    )


def _options(trigger: Packet) -> str:
    return "no timestamp option" if trigger.option_kinds else "no TCP options"
