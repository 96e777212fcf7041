"""A listening socket goes away while connections wait in its accept queue.

For the clients these connections are established; no application here has ever seen them.
``inet_csk_listen_stop`` walks the queue and ``inet_child_forget`` disconnects each child: one RST
per child. In the trace: the child has no ``sk_socket``, the task is the one that closed the
listener, the reason is TCP_STATE. Typical for a service that restarts under load.
"""

from __future__ import annotations

import os
import signal
from socket import SHUT_RD, socket

from rsttrace.lab.base import Expect, Lab, received
from rsttrace.lab.tcp import info

CAUSE = "listener-closed"
CLIENTS = 2
SENT = Expect("sent", "listener-closed", end="server", facts={"state_before": "ESTABLISHED"})
RECEIVED = received("peer-reset", "ESTABLISHED", "ECONNRESET")
EXPECT = (SENT,) * CLIENTS + (RECEIVED,) * CLIENTS


def queued(lab: Lab) -> tuple[socket, list[socket]]:
    """A listener and two clients that wait to be accepted."""
    listener = lab.listen()
    clients = [lab.connect(listener) for _ in range(CLIENTS)]
    lab.wait_for(lambda: info(listener).unacked == CLIENTS, "both clients in the accept queue")
    return listener, clients


def all_reset(lab: Lab, clients: list[socket]) -> None:
    for client in clients:
        lab.wait_reset(client)


def closed(lab: Lab) -> None:
    """The server closes its listening socket."""
    listener, clients = queued(lab)
    listener.close()
    all_reset(lab, clients)


def shut_down(lab: Lab) -> None:
    """The server calls shutdown(SHUT_RD) on it; the socket itself stays open."""
    listener, clients = queued(lab)
    listener.shutdown(SHUT_RD)
    all_reset(lab, clients)


def process_killed(lab: Lab) -> None:
    """The process that owns it is killed."""
    listener, clients = queued(lab)
    owner = lab.spawn("server", signal.pause)
    listener.close()
    os.kill(owner, signal.SIGKILL)
    all_reset(lab, clients)


VARIANTS = {
    "closed": (EXPECT, closed),
    "shut-down": (EXPECT, shut_down),
    "process-killed": (EXPECT, process_killed),
}
