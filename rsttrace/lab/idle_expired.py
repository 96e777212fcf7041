"""A connection is silent for long; meanwhile the other side forgets it, and nobody says so.

That is what a NAT, a firewall or a load balancer does when its idle limit is over, and what a
restart of the peer looks like. The client notices when it sends again: its segment meets nobody and
is answered by a bare RST (window 0, no options, seq = the segment's ack). Here the server forgets
by TCP_REPAIR: one of two connections while it was in use before, the other one it never knew.
This lab takes 11 seconds: a shorter silence is not long.
"""

from __future__ import annotations

import struct
from socket import IPPROTO_TCP, TCP_INFO, socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, received

CAUSE = "idle-expired"
RECEIVED = received(CAUSE, "ESTABLISHED", "ECONNRESET")
EXPECT = (
    # it remembers one of them as ended, silently, ten seconds ago
    Expect("sent", "late-segment", end="server", confidence="likely"),
    RECEIVED,
    Expect("sent", "stale-connection", end="server", confidence="likely"),
    RECEIVED,
)
PORT = 8080
SILENCE_MS = 10_500
# struct tcp_info: tcpi_last_data_recv and tcpi_last_ack_recv, ms
LAST_RECEIVED = 52


def silent_ms(sock: socket) -> int:
    """Since data or an ACK last came in; a repaired socket has had no ACK yet."""
    data = sock.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_RECEIVED + 8)
    return int(min(struct.unpack_from("=2I", data, LAST_RECEIVED)))


def wait_silent(ms: int, *socks: socket) -> None:
    tcp.wait_for(
        lambda: all(silent_ms(sock) >= ms for sock in socks),
        f"{ms} ms of silence",
        timeout=ms / 1000 + tcp.TIMEOUT,
    )


def run(lab: Lab) -> None:
    used, server = lab.pair(listener=lab.listen(port=PORT))
    tcp.close_quietly(server)
    unknown = lab.half_open(PORT)
    wait_silent(SILENCE_MS, used, unknown)
    for client in (used, unknown):
        client.sendall(b"still there?\n")
        lab.wait_reset(client)
