"""The echo of our own reset: a segment that was in flight when we aborted.

The server aborts with SO_LINGER 0. A segment that the client had sent just before arrives when the
connection is gone and is answered with a second RST, bare this time, by the listener's or by no
socket at all. It tells nothing new: it belongs to the first reset and is benign. The client in turn
has no socket left when that second RST arrives and drops it (NO_SOCKET).

Both ends are on one fast link here, so the segment in flight is a hand-made copy of the one that
the client could have sent.
"""

from __future__ import annotations

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, received

CAUSE = "late-segment"
EXPECT = (
    Expect("sent", "linger-zero", end="server", facts={"state_before": "ESTABLISHED"}),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
    Expect("sent", "late-segment", end="server"),
    Expect("rejected", "reset-no-socket", end="client"),
)


def abort_with_data_in_flight(lab: Lab, keep_listening: bool) -> None:
    listener = lab.listen()
    client, server = lab.pair(listener=listener)
    if not keep_listening:
        listener.close()
    ports = (client.getsockname()[1], server.getsockname()[1])
    seq, ack = tcp.sequence(client)
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)
    resets, arrived = lab.out_rsts("server"), lab.counter("client", "InSegs")
    lab.send_segment("client", ports, tcp.PSH | tcp.ACK, seq, ack, b"in flight\n")
    lab.wait_for(lambda: lab.out_rsts("server") > resets, "the answer to the late segment")
    lab.wait_for(lambda: lab.counter("client", "InSegs") > arrived, "its arrival")


def listening_port(lab: Lab) -> None:
    """The service still listens, so its listener answers (TCP_FLAGS)."""
    abort_with_data_in_flight(lab, keep_listening=True)


def closed_port(lab: Lab) -> None:
    """Nobody listens any more (NO_SOCKET)."""
    abort_with_data_in_flight(lab, keep_listening=False)


VARIANTS = {
    "listening-port": (EXPECT, listening_port),
    "closed-port": (EXPECT, closed_port),
}
