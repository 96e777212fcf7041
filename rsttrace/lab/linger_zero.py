"""An application sets SO_LINGER {on, 0 seconds} and closes: it asks for a reset.

``__tcp_close`` finds no unread data but SOCK_LINGER with time 0 and calls ``tcp_disconnect``, which
sends the RST. The kernel's reason is TCP_STATE and its counter TCPAbortOnData; TCP_ABORT_ON_LINGER
is something else (a negative TCP_LINGER2). In the trace: ``tcp_disconnect < __tcp_close``, the
linger flag and time 0 on the socket, and no unread bytes.
"""

from __future__ import annotations

from socket import SHUT_WR

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "linger-zero"


def expect(state_before: str, verdict: str, state: str) -> Expected:
    facts = {"socket.unread_bytes": 0, "state_before": state_before}
    return (
        Expect("sent", "linger-zero", end="server", facts=facts),
        received(verdict, state, "ECONNRESET"),
    )


EXPECT = expect("ESTABLISHED", "peer-reset", "ESTABLISHED")


def established(lab: Lab) -> None:
    """The server aborts a live connection."""
    client, server = lab.pair()
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)


def close_wait(lab: Lab) -> None:
    """The client has closed first; the server saves itself the orderly goodbye."""
    client, server = lab.pair()
    client.shutdown(SHUT_WR)
    lab.wait_state(server, "CLOSE_WAIT")
    lab.wait_state(client, "FIN_WAIT2")
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)


VARIANTS = {
    "established": (EXPECT, established),
    "close-wait": (expect("CLOSE_WAIT", "reset-after-fin", "FIN_WAIT2"), close_wait),
}
