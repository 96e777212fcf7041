"""A SYN to a port where nobody listens (row P1)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, LIKELY, PASSIVE, Case, Finding, duration
from rsttrace.listeners import ANY, ANY_OF, Listener
from rsttrace.packet import ACK, FIN, RST, SYN

CAUSE = "closed-port"
WHEN = (PASSIVE,)
NEEDS = ()
AFTER = ()


def rule(case: Case) -> Finding | None:
    """No socket matched, and the segment asked for a new connection."""
    asked = _asked(case) if case.socketless else None
    if not asked:
        return None
    flow = case.reset.flow
    hint, remedy = _hint(case)
    return Finding(
        asked,
        f"{case.remote} wanted to connect, but nothing listens on {case.local}{hint}.",
        (
            f"SYN to port {flow.lport}, no socket (NO_SOCKET)",
            *((f"network namespace {case.facts.netns_name}",) if case.facts.netns_name else ()),
        ),
        remedies=(remedy,) if remedy else None,
        missing="" if asked == CERTAIN else "the segment that provoked the RST",
    )


def _asked(case: Case) -> str | None:
    """How sure it is that the segment was a SYN, None if it was something else."""
    if case.trigger:
        first = case.trigger.has(SYN) and not case.trigger.has(ACK | FIN | RST)
        return CERTAIN if first else None
    return _answers_syn(case)


def _answers_syn(case: Case) -> str | None:
    """The same without the segment (before 6.10), by the form of the RST.

    The answer to a segment without ACK is RST+ACK with sequence number 0 (RFC 9293 3.10.7.1); it
    acknowledges a SYN as one byte. A connection in FIN_WAIT2 would answer in the same way, so it
    is never sure, and a port that listens proves nothing.
    """
    packet, flow, table = case.reset.packet, case.reset.flow, case.facts.listeners
    if not packet or not packet.has(ACK) or packet.seq != 0:
        return None
    if table and table.accepting(flow.netns, flow.local, flow.lport):
        return None
    return LIKELY


def _hint(case: Case) -> tuple[str, str]:
    """What does listen there, or did: (clause for the sentence, remedy)."""
    flow, table = case.reset.flow, case.facts.listeners
    here = [x for x in case.listeners() if x.netns == flow.netns]
    other = [x for x in here if x.address not in ANY and x.address != flow.local]
    wildcard = [x for x in here if x.address in ANY]
    fitting = [x for x in wildcard if x.address == ANY_OF[flow.family]]
    exact = [x for x in here if x.address == flow.local]
    if fitting or exact:
        name = (exact or fitting)[0].name
        return (
            f" by way of this network device: {name} listens, but did not match (another device or "
            "VRF)",
            "bind the server to no device (SO_BINDTODEVICE; ss -ltne shows %dev); with a VRF: "
            "ip vrf exec, or net.ipv4.tcp_l3mdev_accept=1",
        )
    if wildcard and not fitting:
        return _other_family(flow.family, wildcard[0])
    if other:
        name = other[0].name
        return (
            f": {name} is bound to another address",
            f"connect to {other[0].address}, or bind the server to {flow.local} or to any address",
        )
    gone = table.closed_on_port(flow.netns, flow.lport, case.reset.time_ns) if table else None
    if gone and gone.address in (flow.local, ANY_OF[flow.family]):
        ago = duration(case.seconds_since(gone.closed_ns))
        return f": {gone.name} stopped listening {ago} ago", "start the server again"
    elsewhere = [x for x in case.listeners() if x.netns != flow.netns]
    if elsewhere:
        name = elsewhere[0].name
        return (
            f" in this network namespace: {name} listens in another one",
            "connect inside that namespace, or publish or forward the port",
        )
    return "", ""


def _other_family(family: int, listener: Listener) -> tuple[str, str]:
    if family == 6:
        name = listener.name
        return f": {name} listens on IPv4 only", f"let {name} listen on :: as well"
    return (
        f" for IPv4: {listener.name} is IPv6 only (IPV6_V6ONLY)",
        "switch IPV6_V6ONLY off for that socket, or listen on 0.0.0.0 as well",
    )
