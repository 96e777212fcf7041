"""The peer aborts an established connection; this is what the receiving application sees.

``tcp_validate_incoming`` accepts the RST (its seq is exactly what we expect next) and ``tcp_reset``
sets ECONNRESET; the state in the trace is still ESTABLISHED. What had arrived before stays
readable, then comes one ECONNRESET, then only EOF and EPIPE. A RST|ACK with options and a live
window was made by an aborting application; a bare RST, window 0, without options by a host that
does not know the connection. One feature that does not fit the peer is not enough to accuse a
device in the path: the verdict stays, but only as possible.
"""

from __future__ import annotations

import errno

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError, received
from rsttrace.lab.middlebox_reset import TTL_OF_DEVICE, inject, name

CAUSE = "peer-reset"
RECEIVED = received("peer-reset", "ESTABLISHED", "ECONNRESET")
EXPECT = (Expect("sent", "linger-zero", end="server"), RECEIVED)
# the RST that was ahead and the one that is believed are one abort: one record at the client
TWO_STEPS = (
    Expect("sent", "linger-zero", end="server"),
    # all this happens before the kernel tells of the abort itself (chapter 0, rule 9)
    Expect("sent", "late-segment", end="server", confidence="likely"),
    RECEIVED,
)
ONE_ODDITY = (
    Expect(
        "received",
        "peer-reset",
        end="client",
        state="ESTABLISHED",
        confidence="possible",
        facts={"errno": "ECONNRESET"},
    ),
)
UNKNOWN_THERE = (Expect("sent", "stale-connection", end="server", confidence="likely"), RECEIVED)


def while_reading(lab: Lab) -> None:
    """Half of the answer has arrived and can still be read, then the error comes."""
    client, server = lab.pair()
    server.sendall(b"half an ans")
    lab.wait_readable(client, 11)
    tcp.linger_zero(server)
    server.close()
    lab.wait_state(client, "CLOSE")
    if client.recv(100) != b"half an ans":
        raise LabError("what had arrived before the RST must stay readable")
    tcp.must_fail(errno.ECONNRESET, client.recv, 1)


def while_writing(lab: Lab) -> None:
    """The application only writes: ECONNRESET once, then EPIPE."""
    client, server = lab.pair()
    tcp.linger_zero(server)
    server.close()
    lab.wait_state(client, "CLOSE")
    tcp.must_fail(errno.ECONNRESET, client.send, b"x")
    tcp.must_fail(errno.EPIPE, client.send, b"x")


def unknown_there(lab: Lab) -> None:
    """The peer host has no such connection: a bare RST."""
    lab.listen(port=8080)
    client = lab.half_open(8080)
    client.sendall(b"hello?\n")
    lab.wait_state(client, "CLOSE")
    tcp.must_fail(errno.ECONNRESET, client.recv, 1)


def data_lost(lab: Lab) -> None:
    """The peer aborts when its last data is lost: its RST is ahead of what has arrived.

    It draws a challenge ACK, and the peer, which has no socket any more, answers that with a RST of
    exactly the number expected (RFC 5961 3.2).
    """
    client, server = lab.pair()
    lab.firewall("client", "input", "tcp flags & (psh | rst) == psh drop")
    server.sendall(b"the end of the answer")
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)


def other_ttl(lab: Lab) -> None:
    """A RST that answers nothing unusual but comes with another TTL than the handshake."""
    client, server = lab.pair()
    seq = tcp.sequence(server)[0]
    inject(lab, client, name(server), tcp.RST, seq, ttl=TTL_OF_DEVICE)
    lab.wait_reset(client)


TOPOLOGY = {"other-ttl": "router"}
VARIANTS = {
    "while-reading": (EXPECT, while_reading),
    "while-writing": (EXPECT, while_writing),
    "unknown-there": (UNKNOWN_THERE, unknown_there),
    "data-lost": (TWO_STEPS, data_lost),
    "other-ttl": (ONE_ODDITY, other_ttl),
}
