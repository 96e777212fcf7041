"""A RST of others passes through this host, which routes or bridges it.

Between client and server stands a third namespace. It sees the RST come in by one device and leave
by another; nothing in it made the RST and none of its sockets is concerned. One RST, three records:
who made it, who passed it on, who got it. A router lowers the TTL by one, a bridge changes nothing.
"""

from __future__ import annotations

from rsttrace.lab import closed_port, linger_zero
from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "forwarded-reset"


def expect(maker: str, got: Expect, middle: str, ttl: int) -> Expected:
    """``ttl``: behind the namespace in the middle."""
    facts = {**got.facts, "packet.ttl": ttl}
    return (
        Expect("sent", maker, end="server", facts={"packet.ttl": 64}),
        Expect(
            "forwarded", CAUSE, end=middle, facts={"packet.ttl": ttl, "process.role": "current"}
        ),
        Expect("received", got.cause, end="client", state=got.state, facts=facts),
    )


ABORTED = received("peer-reset", "ESTABLISHED", "ECONNRESET")
REFUSED = received("connection-refused", "SYN_SENT", "ECONNREFUSED")


def aborted(lab: Lab) -> None:
    """The server's application aborts with SO_LINGER 0."""
    linger_zero.established(lab)


def refused(lab: Lab) -> None:
    """Nobody listens on the server's port."""
    closed_port.knock(lab)


TOPOLOGY = {
    "routed": "router",
    "routed-refused": "router",
    "bridged": "bridge",
    "bridged-refused": "bridge",
}
VARIANTS = {
    "routed": (expect("linger-zero", ABORTED, "router", 63), aborted),
    "routed-refused": (expect("closed-port", REFUSED, "router", 63), refused),
    "bridged": (expect("linger-zero", ABORTED, "bridge", 64), aborted),
    "bridged-refused": (expect("closed-port", REFUSED, "bridge", 64), refused),
}
