"""Keepalive probes get no answer, so the kernel gives up and resets.

``tcp_keepalive_timer`` sends a probe when nothing was heard for TCP_KEEPIDLE, then one more after
each TCP_KEEPINTVL. When TCP_KEEPCNT of them are out it calls ``tcp_send_active_reset`` (reason
TCP_KEEPALIVE_TIMEOUT) and ``tcp_write_err``: the application gets ETIMEDOUT. This is the only
time-out of TCP after which Linux sends a RST. Here only the answers get lost, so the peer still
hears the RST; usually it is gone and hears nothing.

The options count in whole seconds: one second idle, one for the single probe.
"""

from __future__ import annotations

import errno
from socket import (
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    socket,
)

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, received

CAUSE = "keepalive-timeout"
PROBES = 1
EXPECT = (
    Expect(
        "sent",
        "keepalive-timeout",
        end="server",
        state="ESTABLISHED",
        facts={"errno": "ETIMEDOUT", "socket.keepalive_probes": PROBES},
    ),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)


def keep_alive(sock: socket) -> None:
    """Probe after one second of silence, give up one second later."""
    sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    for option, value in ((TCP_KEEPIDLE, 1), (TCP_KEEPINTVL, 1), (TCP_KEEPCNT, PROBES)):
        sock.setsockopt(IPPROTO_TCP, option, value)


def stay_silent(lab: Lab, client: socket, server: socket) -> None:
    """The client's answers get lost until the server gives up."""
    lab.firewall("server", "input", f"tcp dport {server.getsockname()[1]} drop")
    lab.wait_state(server, "CLOSE")
    tcp.must_fail(errno.ETIMEDOUT, server.recv, 1)
    lab.wait_reset(client)


def run(lab: Lab) -> None:
    client, server = lab.pair()
    keep_alive(server)
    stay_silent(lab, client, server)
