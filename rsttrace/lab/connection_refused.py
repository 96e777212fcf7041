"""Our SYN is answered with a RST: the application gets ECONNREFUSED.

``tcp_rcv_synsent_state_process`` accepts a RST|ACK that acknowledges our SYN and calls
``tcp_reset``; the state in the trace is still SYN_SENT. The RST looks the same whether nobody
listens over there or a firewall refuses on the host's behalf; here both ends are visible, so the
other end's record tells.
"""

from __future__ import annotations

import errno
import os
import select
import socket

from rsttrace.lab import closed_port as parent
from rsttrace.lab.base import Expect, Lab, LabError

CAUSE = "connection-refused"
EXPECT = parent.EXPECT
BY_FIREWALL = (Expect("sent", "firewall-reject", end="server"), parent.EXPECT[1])


def closed_port(lab: Lab) -> None:
    """Nobody listens."""
    parent.knock(lab)


def nonblocking(lab: Lab) -> None:
    """The application connects without waiting and finds the error in SO_ERROR."""
    client = lab.socket("client")
    client.setblocking(False)
    client.connect_ex((lab.address["server"], parent.PORT))
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    poll.poll(5000)
    error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error != errno.ECONNREFUSED:
        raise LabError(f"expected ECONNREFUSED, got {os.strerror(error)}")


def firewall(lab: Lab) -> None:
    """The service listens, but the server's firewall rejects with a RST."""
    lab.listen(port=parent.PORT)
    lab.firewall("server", "input", f"tcp dport {parent.PORT} reject with tcp reset")
    parent.knock(lab)


VARIANTS = {
    "closed-port": (EXPECT, closed_port),
    "nonblocking": (EXPECT, nonblocking),
    "firewall": (BY_FIREWALL, firewall),
}
