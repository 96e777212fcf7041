"""The accept queue is full when a handshake completes, and tcp_abort_on_overflow is 1.

``tcp_check_req`` cannot create the child (``sk_acceptq_is_full``) and, with that sysctl, resets
instead of leaving the client in doubt. The kernel says INVALID_SYN, which it is not; the listener's
``sk_ack_backlog > sk_max_ack_backlog``, ListenOverflows and, from 6.17, the drop reason
TCP_LISTEN_OVERFLOW give the real cause.

A full queue already drops SYNs, so the overflow needs handshakes that began before the queue was
full: with TCP_DEFER_ACCEPT they end only when the client sends its first bytes.
"""

from __future__ import annotations

from socket import IPPROTO_TCP, TCP_DEFER_ACCEPT

from rsttrace.lab.base import Expect, Lab, received
from rsttrace.lab.tcp import info

CAUSE = "accept-queue-overflow"
BACKLOG = 2  # enough for two handshakes at a time on kernels that count them against the backlog
EXPECT = (
    Expect(
        "sent",
        "accept-queue-overflow",
        end="server",
        facts={"socket.accept_queue.used": BACKLOG + 1, "socket.accept_queue.max": BACKLOG},
    ),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)


def run(lab: Lab) -> None:
    lab.sysctl("server", "net.ipv4.tcp_abort_on_overflow", "1")
    listener = lab.socket("server")
    listener.setsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT, 30)
    listener.bind((lab.address["server"], 0))
    listener.listen(BACKLOG)

    def ready(clients: int) -> None:
        lab.wait_for(lambda: info(listener).unacked == clients, f"{clients} in the accept queue")

    for waiting in range(1, BACKLOG + 1):
        lab.connect(listener).sendall(b"x")
        ready(waiting)
    last_in, refused = lab.connect(listener), lab.connect(listener)
    last_in.sendall(b"x")
    ready(BACKLOG + 1)
    refused.sendall(b"x")
    lab.wait_reset(refused)
