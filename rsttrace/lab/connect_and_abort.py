"""A client completes the handshake and resets at once: a connect scan, or a health check.

The last ACK makes the connection ESTABLISHED and puts it into the accept queue; the RST finds it
there, or just accepted, with not a byte sent by anybody. ``tcp_reset`` sets ECONNRESET and leaves
the connection in the queue: accept() hands it out, dead. Nothing is wrong with it, so the verdict
is about what the client wanted: the client's own record says only that it closed with SO_LINGER 0.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from socket import socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Expected, Lab, LabError, received
from rsttrace.lab.idle_expired import wait_silent

CAUSE = "connect-and-abort"
SENT = Expect("sent", "linger-zero", end="client")
RECEIVED = received(CAUSE, "ESTABLISHED", "ECONNRESET", end="server")
EXPECT = (SENT, RECEIVED)
REFUSED = (
    Expect("sent", "closed-port", end="server"),
    Expect("received", "connection-refused", end="client"),
)
CHECKS = 4
PORTS = range(8080, 8092)
OPEN = (8081, 8091)


def expect_benign(benign: bool) -> Expected:
    facts = {"errno": "ECONNRESET", "benign": benign, "phase": "establishment"}
    return (SENT, Expect("received", CAUSE, end="server", state="ESTABLISHED", facts=facts))


def abort(client: socket) -> None:
    tcp.linger_zero(client)
    client.close()


def before_accept(lab: Lab) -> None:
    """The RST comes while the connection waits for accept()."""
    listener = lab.listen()
    before = lab.counter("server", "EstabResets")
    client = lab.connect(listener)
    abort(client)
    lab.wait_for(lambda: lab.counter("server", "EstabResets") > before, "the RST at the server")
    server = lab.accept(listener)
    tcp.must_fail(errno.ENOTCONN, server.getpeername)
    lab.wait_reset(server)


def accepted(lab: Lab) -> None:
    """The application has the connection already."""
    listener = lab.listen()
    client = lab.connect(listener)
    server = lab.accept(listener)
    abort(client)
    lab.wait_reset(server)


def gave_up(lab: Lab) -> None:
    """Nobody accepts; after a while the client gives up."""
    listener = lab.listen()
    before = lab.counter("server", "EstabResets")
    client = lab.connect(listener)
    wait_silent(1100, client)
    abort(client)
    lab.wait_for(lambda: lab.counter("server", "EstabResets") > before, "the RST at the server")


def health_check(lab: Lab) -> None:
    """Again and again at regular times, as a load balancer does (only faster)."""
    listener = lab.listen()
    for _ in range(CHECKS):
        client = lab.connect(listener)
        server = lab.accept(listener)
        wait_silent(300, client)
        abort(client)
        lab.wait_reset(server)


def scan(lab: Lab) -> None:
    """nmap -sT: connect() to one port after the other, open ones are reset at once."""
    listeners = {port: lab.listen(port=port) for port in OPEN}
    for port in PORTS:
        client = lab.socket("client")
        code = client.connect_ex((lab.address["server"], port))
        if code != (0 if port in OPEN else errno.ECONNREFUSED):
            raise LabError(f"port {port}: {errno.errorcode.get(code, code)}")
        if port in OPEN:
            server = lab.accept(listeners[port])
            abort(client)
            lab.wait_reset(server)


def _scanned(ports: Iterable[int]) -> Expected:
    return tuple(e for port in ports for e in (EXPECT if port in OPEN else REFUSED))


VARIANTS = {
    "before-accept": (expect_benign(True), before_accept),
    "accepted": (expect_benign(True), accepted),
    "gave-up": (expect_benign(False), gave_up),
    "health-check": (CHECKS * EXPECT, health_check),
    "scan": (_scanned(PORTS), scan),
}
