"""Data of a connection that this host does not know: it rebooted, or a balancer sent it here.

The peer's socket is established, ours never existed (labs make such a socket with TCP_REPAIR, the
way checkpoint/restore does). A segment with ACK is answered with a bare RST whose seq is the ACK
number of that segment: ``tcp_v4_rcv`` without any socket (NO_SOCKET), or, if the port listens,
``tcp_v4_do_rcv`` with the listener (TCP_FLAGS, state LISTEN). Window 0 and no options tell the peer
that no connection was found, as opposed to an application that aborted.
"""

from __future__ import annotations

from socket import SHUT_WR

from rsttrace.lab.base import Expect, Lab, received

CAUSE = "stale-connection"
SENT = Expect("sent", "stale-connection", end="server", confidence="likely")
EXPECT = (SENT, received("peer-reset", "ESTABLISHED", "ECONNRESET"))
EXPECT_FIN = (SENT, received("reset-after-fin", "FIN_WAIT1", "ECONNRESET"))
PORT = 8080


def write(lab: Lab) -> None:
    client = lab.half_open(PORT)
    client.sendall(b"are you still there?\n")
    lab.wait_reset(client)


def closed_port(lab: Lab) -> None:
    """The service does not run any more either."""
    write(lab)


def listening_port(lab: Lab) -> None:
    """The service is up again and listens."""
    lab.listen(port=PORT)
    write(lab)


def fin(lab: Lab) -> None:
    """The first thing that the peer sends is its FIN."""
    client = lab.half_open(PORT)
    client.shutdown(SHUT_WR)
    lab.wait_reset(client)


VARIANTS = {
    "closed-port": (EXPECT, closed_port),
    "listening-port": (EXPECT, listening_port),
    "fin": (EXPECT_FIN, fin),
}
