"""An application closes a socket although received bytes are still unread.

``__tcp_close`` drains the receive queue, sees that data was thrown away and, as RFC 2525 2.17 asks,
calls ``tcp_send_active_reset`` in place of sending a FIN: the peer must learn that its data got
lost. This test comes before SO_LINGER. In the trace: process context, reason TCP_ABORT_ON_CLOSE,
state already CLOSE, and rcv_nxt - copied_seq is the number of bytes nobody read. The RST carries
ACK, the connection's options and its window. The peer loses even what it had not read yet.
"""

from __future__ import annotations

from socket import SHUT_WR, socket

from rsttrace.lab.base import Expect, Expected, Lab, received
from rsttrace.lab.tcp import linger_zero

CAUSE = "unread-data-on-close"
UNREAD = 312


def expect(state_before: str, verdict: str, state: str) -> Expected:
    facts = {"socket.unread_bytes": UNREAD, "state_before": state_before}
    return (
        Expect("sent", "unread-data-on-close", end="server", facts=facts),
        received(verdict, state, "ECONNRESET"),
    )


EXPECT = expect("ESTABLISHED", "peer-reset", "ESTABLISHED")


def unread_pair(lab: Lab) -> tuple[socket, socket]:
    client, server = lab.pair()
    client.sendall(b"u" * UNREAD)
    lab.wait_readable(server, UNREAD)
    return client, server


def plain(lab: Lab) -> None:
    """The server does not read the last 312 bytes of the request."""
    client, server = unread_pair(lab)
    server.close()
    lab.wait_reset(client)


def close_wait(lab: Lab) -> None:
    """The client has already said goodbye (FIN); its last 312 bytes are not read."""
    client, server = unread_pair(lab)
    client.shutdown(SHUT_WR)
    lab.wait_state(server, "CLOSE_WAIT")
    lab.wait_state(client, "FIN_WAIT2")
    server.close()
    lab.wait_reset(client)


def with_linger(lab: Lab) -> None:
    """SO_LINGER {1,0} is set as well: the kernel still names the unread data, and so must we."""
    client, server = unread_pair(lab)
    linger_zero(server)
    server.close()
    lab.wait_reset(client)


VARIANTS = {
    "plain": (EXPECT, plain),
    "close-wait": (expect("CLOSE_WAIT", "reset-after-fin", "FIN_WAIT2"), close_wait),
    "with-linger": (EXPECT, with_linger),
}
