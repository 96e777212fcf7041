"""The peer sends data although this application has closed.

After close() nobody can read any more, so data that still arrives is answered with a RST. Where
that happens depends on how far the goodbye has come:

* the peer has acknowledged our FIN: a small "timewait" socket in FIN_WAIT2 stands in for the
  connection, and ``tcp_timewait_state_process`` resets (reason TCP_TIMEWAIT_SOCKET);
* shutdown(SHUT_RDWR), descriptor still open: ``tcp_rcv_state_process`` first calls ``tcp_reset`` on
  the own socket, so ``tcp_receive_reset`` fires for a segment that is no RST, then resets
  (TCP_ABORT_ON_DATA);
* our FIN is not acknowledged yet: the same from FIN_WAIT1;
* the segment acknowledges our FIN and brings data at once: ``tcp_done``, then a RST.

Always one RST per segment that arrives, so a peer that keeps sending makes several.
"""

from __future__ import annotations

import errno
from socket import SHUT_RDWR, socket

from rsttrace.lab.base import Expect, Lab, Scenario, received
from rsttrace.lab.tcp import must_fail

CAUSE = "data-after-close"
PAYLOAD = b"more data, and nobody to read it\n" * 4
SENT = Expect("sent", "data-after-close", end="server")
EXPECT = (
    SENT,
    received("peer-closed-first", "CLOSE_WAIT", "EPIPE"),
)
STILL_ESTABLISHED = (
    SENT,
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)


def write_after_close(lab: Lab, client: socket, payload: bytes) -> None:
    """The first write succeeds, its answer is the RST, the second write fails."""
    client.sendall(payload)
    lab.wait_state(client, "CLOSE")
    must_fail(errno.EPIPE, client.send, b"x")


def closed_pair(lab: Lab) -> tuple[socket, socket]:
    """The server has closed, the client knows and has acknowledged it."""
    client, server = lab.pair()
    port = server.getsockname()[1]
    server.close()
    lab.wait_state(client, "CLOSE_WAIT")
    lab.settle(client)
    lab.wait_for(lambda: lab.connections("server", port) == ["FIN_WAIT2"], "FIN_WAIT2")
    return client, server


def fin_wait2(lab: Lab, payload: bytes = PAYLOAD) -> None:
    """The usual case: closed, FIN acknowledged, the peer writes on."""
    client, _ = closed_pair(lab)
    write_after_close(lab, client, payload)


def shutdown_both(lab: Lab, payload: bytes = PAYLOAD) -> None:
    """shutdown(SHUT_RDWR) while the descriptor stays open."""
    client, server = lab.pair()
    server.shutdown(SHUT_RDWR)
    lab.wait_state(client, "CLOSE_WAIT")
    lab.settle(client)
    lab.wait_state(server, "FIN_WAIT2")
    write_after_close(lab, client, payload)
    must_fail(errno.ECONNRESET, server.recv, 1)


def fin_wait1(lab: Lab, payload: bytes = PAYLOAD) -> None:
    """The FIN has not reached the peer yet (the client's firewall loses it here)."""
    client, server = lab.pair()
    lab.firewall("client", "input", "tcp flags & fin == fin drop")
    server.close()
    client.sendall(payload)
    lab.wait_reset(client)


def fin_acked_with_data(lab: Lab, payload: bytes = PAYLOAD) -> None:
    """One segment acknowledges the FIN and brings data (the bare ACK gets lost here)."""
    client, server = lab.pair()
    lab.firewall("server", "input", "tcp flags == ack meta length < 100 drop")
    server.close()
    lab.wait_state(client, "CLOSE_WAIT")
    write_after_close(lab, client, payload)


VARIANTS: dict[str, Scenario] = {
    "fin-wait2": (EXPECT, fin_wait2),
    "shutdown-both": (EXPECT, shutdown_both),
    "fin-wait1": (STILL_ESTABLISHED, fin_wait1),
    "fin-acked-with-data": (EXPECT, fin_acked_with_data),
}
