"""An application has closed, and the wait for the peer's FIN (FIN_WAIT2) ends with a RST.

An orphan in FIN_WAIT2 normally just disappears after net.ipv4.tcp_fin_timeout. It resets

* when TCP_LINGER2 is negative (do not wait at all) and the ACK of our FIN comes after close():
  ``tcp_rcv_state_process`` ends the socket and answers that ACK with a bare RST. The kernel calls
  this TCP_ABORT_ON_DATA, although no data came;
* when it is negative and the ACK had come before close(): ``__tcp_close`` resets
  (TCP_ABORT_ON_LINGER);
* when the wait was to last more than a minute, so that it began with a full socket, and less than
  that is left to wait when ``tcp_keepalive_timer`` looks (TCP_STATE), as here, because the sysctl
  has been lowered in between.

The peer is in CLOSE_WAIT each time: its application sees the end of the stream, then EPIPE.
"""

from __future__ import annotations

import errno
from socket import IPPROTO_TCP, SHUT_WR, TCP_LINGER2, socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "linger2-expired"
MINUTE = 60  # TCP_TIMEWAIT_LEN: the kernel keeps a full socket for what is longer than this


def expect(state: str, trigger: str | None = None) -> Expected:
    facts = {"state_before": "FIN_WAIT2", "trigger.flags": trigger}
    return (
        Expect("sent", CAUSE, end="server", state=state, facts=facts),
        received("peer-closed-first", "CLOSE_WAIT", "EPIPE"),
    )


EXPECT = expect("CLOSE", trigger="ACK")


def do_not_wait(server: socket) -> None:
    server.setsockopt(IPPROTO_TCP, TCP_LINGER2, -1)


def broken_pipe(lab: Lab, client: socket) -> None:
    lab.wait_state(client, "CLOSE")
    tcp.must_fail(errno.EPIPE, client.send, b"x")


def fin_acknowledged(lab: Lab) -> None:
    """TCP_LINGER2 is -1: the ACK of the FIN is answered with a RST."""
    client, server = lab.pair()
    do_not_wait(server)
    server.close()
    broken_pipe(lab, client)


def closed_in_fin_wait2(lab: Lab) -> None:
    """TCP_LINGER2 is -1, and the FIN had been acknowledged before close()."""
    client, server = lab.pair()
    server.shutdown(SHUT_WR)
    lab.wait_state(server, "FIN_WAIT2")
    do_not_wait(server)
    server.close()
    broken_pipe(lab, client)


def time_over(lab: Lab) -> None:
    """The timer finds less than a minute left to wait."""
    lab.sysctl("server", "net.ipv4.tcp_fin_timeout", str(MINUTE + 1))
    client, server = lab.pair()
    port = server.getsockname()[1]
    server.close()
    lab.wait_for(lambda: lab.connections("server", port) == ["FIN_WAIT2"], "FIN_WAIT2")
    lab.sysctl("server", "net.ipv4.tcp_fin_timeout", str(MINUTE))
    broken_pipe(lab, client)


VARIANTS = {
    "fin-acknowledged": (EXPECT, fin_acknowledged),
    "closed-in-fin-wait2": (expect("CLOSE"), closed_in_fin_wait2),
    "time-over": (expect("FIN_WAIT2"), time_over),
}
