"""We have closed and wait for the peer's goodbye; it cuts that short with a RST.

The states are those of a connection that we closed: FIN_WAIT1 (our FIN is not acknowledged yet),
FIN_WAIT2 (it is), CLOSING (both closed at once), LAST_ACK (the peer closed first and we after it).
Our data was delivered, so this is mostly harmless. Here the client only shuts its sending side
down, so that its application still sees the ECONNRESET; one that had closed would not even notice.
To hold a state that passes in a blink, the server's firewall loses the client's FIN.
"""

from __future__ import annotations

from socket import SHUT_WR, socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "reset-after-fin"


def expect(state: str, server_state: str) -> Expected:
    facts = {"state_before": server_state}
    return (
        Expect("sent", "linger-zero", end="server", facts=facts),
        received("reset-after-fin", state, "ECONNRESET"),
    )


ORPHAN = (
    Expect("sent", "linger-zero", end="server", facts={"state_before": "CLOSE_WAIT"}),
    Expect("received", "reset-after-fin", end="client", facts={"errno": None, "benign": True}),
)


def abort(server: socket) -> None:
    tcp.linger_zero(server)
    server.close()


def lose_fin_of_client(lab: Lab) -> None:
    lab.firewall("server", "input", "tcp flags & fin == fin drop")


def fin_wait1(lab: Lab) -> None:
    """The peer aborts before it has seen our FIN."""
    client, server = lab.pair()
    lose_fin_of_client(lab)
    client.shutdown(SHUT_WR)
    lab.wait_state(client, "FIN_WAIT1")
    abort(server)
    lab.wait_reset(client)


def fin_wait2(lab: Lab) -> None:
    """The peer has acknowledged our FIN and aborts in place of closing."""
    client, server = lab.pair()
    client.shutdown(SHUT_WR)
    lab.wait_state(server, "CLOSE_WAIT")
    lab.settle(server)
    lab.wait_state(client, "FIN_WAIT2")
    abort(server)
    lab.wait_reset(client)


def orphan(lab: Lab) -> None:
    """The usual case: we have closed for good, only a timewait entry waits for the peer's FIN."""
    client, server = lab.pair()
    port = client.getsockname()[1]
    client.close()
    lab.wait_state(server, "CLOSE_WAIT")
    lab.settle(server)
    lab.wait_for(lambda: lab.connections("client", port) == ["FIN_WAIT2"], "FIN_WAIT2")
    abort(server)
    lab.wait_for(lambda: lab.connections("client", port) == [], "the end of the entry")


def closing(lab: Lab) -> None:
    """Both closed at once, then the peer aborts."""
    client, server = lab.pair()
    lose_fin_of_client(lab)
    client.shutdown(SHUT_WR)
    server.shutdown(SHUT_WR)
    lab.wait_state(client, "CLOSING")
    lab.wait_state(server, "FIN_WAIT2")
    abort(server)
    tcp.wait_reset_after_eof(client)


def last_ack(lab: Lab) -> None:
    """The peer closed first, we closed after it, and the last ACK never comes but a RST."""
    client, server = lab.pair()
    lose_fin_of_client(lab)
    server.shutdown(SHUT_WR)
    lab.wait_state(client, "CLOSE_WAIT")
    client.shutdown(SHUT_WR)
    lab.wait_state(client, "LAST_ACK")
    lab.wait_state(server, "FIN_WAIT2")
    abort(server)
    tcp.wait_reset_after_eof(client)


VARIANTS = {
    "fin-wait1": (expect("FIN_WAIT1", "ESTABLISHED"), fin_wait1),
    "fin-wait2": (expect("FIN_WAIT2", "CLOSE_WAIT"), fin_wait2),
    "orphan": (ORPHAN, orphan),
    "closing": (expect("CLOSING", "FIN_WAIT2"), closing),
    "last-ack": (expect("LAST_ACK", "FIN_WAIT2"), last_ack),
}
