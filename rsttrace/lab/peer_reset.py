"""The peer aborts an established connection; this is what the receiving application sees.

``tcp_validate_incoming`` accepts the RST (its seq is exactly what we expect next) and ``tcp_reset``
sets ECONNRESET; the state in the trace is still ESTABLISHED. What had arrived before stays
readable, then comes one ECONNRESET, then only EOF and EPIPE. A RST|ACK with options and a live
window was made by an aborting application; a bare RST, window 0, without options by a host that
does not know the connection.
"""

from __future__ import annotations

import errno

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError, received

CAUSE = "peer-reset"
RECEIVED = received("peer-reset", "ESTABLISHED", "ECONNRESET")
EXPECT = (Expect("sent", "linger-zero", end="server"), RECEIVED)
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


VARIANTS = {
    "while-reading": (EXPECT, while_reading),
    "while-writing": (EXPECT, while_writing),
    "unknown-there": (UNKNOWN_THERE, unknown_there),
}
