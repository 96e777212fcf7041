"""A RST ended a handshake before it was complete (chapters 3.1 and 3.2)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACCEPTED,
    CERTAIN,
    JUDGEMENT,
    LIKELY,
    REFUSED,
    Case,
    Finding,
    count_of,
    duration,
)
from rsttrace.causes.features import ROUTE_CHANGE
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    packet_evidence,
    sender_evidence,
)
from rsttrace.causes.rules._refused import REQUEST, met, refused_reset, request_offset, unnamed
from rsttrace.packet import ACK

CAUSE = "handshake-aborted"
# where the drop names no socket, the join cannot tell that the RST was believed
WHEN = (ACCEPTED, REFUSED)
NEEDS = (JUDGEMENT,)
AFTER = ()

FULL = (
    "accept() faster, or raise the backlog of listen() and net.core.somaxconn",
    "nstat -az TcpExtListenOverflows tells how often",
)


def rule(case: Case) -> Finding | None:
    """A RST with the exact number at a request, or in SYN_RECV of a full socket."""
    if accepted_in(case, "SYN_RECV"):
        return _full_socket(case)
    judged = refused_reset(case)
    if judged is None or not unnamed(judged) or met(case, judged) != REQUEST:
        return None
    if request_offset(judged) != 0:
        return None
    sender, sock = known_sender(case), judged.sock
    full = bool(sock and sock.ack_backlog > sock.max_ack_backlog)
    why = sender.words if sender else _why(case)
    if full and sock:
        used = f"{sock.ack_backlog} waiting, limit {sock.max_ack_backlog}"
        why = f"its accept queue is full ({used}), so the client may have waited in vain"
    listener = case.facts.listener or case.facts.owner
    unaware = f"; {listener.name} never heard of it" if listener else ""
    return Finding(
        CERTAIN if judged.state and not full else LIKELY,
        f"{case.remote} asked for a connection to {case.local} and reset it before this host had "
        f"made one of it{unaware}: {why}.",
        (
            "a half-open connection (NEW_SYN_RECV), and exactly the number that ends it",
            "no last ACK came, or it did not count: a full queue, TCP_DEFER_ACCEPT",
            *_pace(case),
            *_neighbours(case),
            *packet_evidence(case),
            *sender_evidence(case),
        ),
        benign=False if full else None,
        remedies=FULL if full else None,
        sees="nothing: the connection was never handed to accept()",
        missing="" if judged.state else "which socket the RST met",
    )


def _why(case: Case) -> str:
    """What it was, by what else this address did, else by the form of the RST."""
    others, packet = case.facts.neighbours, case.reset.packet
    interval = others and others.health_check_of(case.reset.flow.lport, also_ns=case.reset.time_ns)
    if interval:
        return f"a health check, it comes every {duration(interval)}"
    if others and others.scan:
        return f"a port scan or a monitor, it tried {others.ports} ports within a minute"
    if packet is None:
        return "a scan, a health check, or a client that gave up"
    if _made_apart(case):
        return "a scan that made its SYN by hand, or a device between that made the RST"
    if packet.has(ACK):
        return "a health check that stops there, or a client that gave up"
    return "a scan, a forged SYN, or a client that had given up"


def _made_apart(case: Case) -> bool:
    """Does the TTL say that SYN and RST were not made by the same TCP?"""
    packet, shake = case.reset.packet, case.reset.handshake
    return bool(packet and shake and abs(packet.ttl - shake.rx_ttl) > ROUTE_CHANGE)


def _neighbours(case: Case) -> tuple[str, ...]:
    others = case.facts.neighbours
    if not others or not others.ports:
        return ()
    before = count_of(len(others.attempts(case.reset.flow.lport)), "time")
    ports = count_of(others.ports, "port")
    return (f"in the minute before, this address tried {ports}, this one {before}",)


def _pace(case: Case) -> tuple[str, ...]:
    shake = case.reset.handshake
    if not shake or not shake.rx_ns:
        return ()
    return (f"the RST came {duration(case.seconds_since(shake.rx_ns))} after the SYN",)


def _full_socket(case: Case) -> Finding:
    """Simultaneous open, or a Fast Open child, which an application may hold already."""
    sock, sender = case.sock, known_sender(case)
    # the child's request has just been taken off (reqsk_fastopen_remove())
    fast = case.reset.in_stack("tcp_check_req") or bool(sock and sock.fastopen)
    kind = "a Fast Open connection" if fast else "a connection that both ends were opening"
    why = f" ({sender.words})" if sender else ""
    held = bool(sock and sock.has_socket)
    return Finding(
        CERTAIN,
        f"{case.remote} reset {kind} before the handshake was complete{why}.",
        ("state SYN_RECV of a full socket", *packet_evidence(case), *sender_evidence(case)),
        benign=not held,
        sees="ECONNRESET" if held else None,
    )
