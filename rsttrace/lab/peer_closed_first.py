"""The peer closes, we do not notice and write on: the classic "broken pipe".

Its FIN puts our socket into CLOSE_WAIT. Our next segment meets a closed socket and is answered with
a RST; ``tcp_reset`` turns that into EPIPE, not ECONNRESET, because the state is CLOSE_WAIT. The
first write succeeds, the one after it fails. The remedy is on our side: read, see EOF, and stop.
"""

from __future__ import annotations

import errno
from socket import SHUT_WR

from rsttrace.lab import data_after_close as parent
from rsttrace.lab.base import Expect, Lab, LabError
from rsttrace.lab.tcp import linger_zero, must_fail

CAUSE = "peer-closed-first"
EXPECT = parent.EXPECT
ABORTED = (
    Expect("sent", "linger-zero", end="server", facts={"state_before": "FIN_WAIT2"}),
    EXPECT[1],
)


def write_on(lab: Lab) -> None:
    """The application never reads, so it does not see the EOF."""
    client, _ = parent.closed_pair(lab)
    parent.write_after_close(lab, client, b"next request on a kept-alive connection\n")


def eof_ignored(lab: Lab) -> None:
    """The application reads after the RST: it sees a plain EOF, and EPIPE only when it writes."""
    client, _ = parent.closed_pair(lab)
    client.sendall(b"next request\n")
    lab.wait_state(client, "CLOSE")
    if client.recv(1) != b"":
        raise LabError("a RST in CLOSE_WAIT must look like EOF to the reader")
    must_fail(errno.EPIPE, client.send, b"x")


def nothing_written(lab: Lab) -> None:
    """The peer goes on reading after its FIN; then it aborts, although we have not written."""
    client, server = lab.pair()
    server.shutdown(SHUT_WR)
    lab.wait_state(client, "CLOSE_WAIT")
    lab.wait_state(server, "FIN_WAIT2")
    linger_zero(server)
    server.close()
    lab.wait_state(client, "CLOSE")
    must_fail(errno.EPIPE, client.send, b"x")


VARIANTS = {
    "write-on": (EXPECT, write_on),
    "eof-ignored": (EXPECT, eof_ignored),
    "nothing-written": (ABORTED, nothing_written),
}
