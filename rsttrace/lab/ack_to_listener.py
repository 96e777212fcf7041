"""An ACK reaches a port that listens, and no connection with its addresses and ports is known.

``tcp_rcv_state_process`` in LISTEN resets for any ACK (TCP_FLAGS). An ACK scan (nmap -sA) asks
nothing but whether a firewall lets it through. Real clients come to this when their handshake is
complete on their side only: the SYN cookie in their ACK is not valid (any more), or the half-open
connection was given up.
"""

from __future__ import annotations

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, received
from rsttrace.lab.blind_reset_rejected import deliver

CAUSE = "ack-to-listener"
EXPECT = (
    Expect("sent", CAUSE, end="server", confidence="likely", state="LISTEN"),
    Expect("rejected", "reset-no-socket", end="client"),
)
FORGOTTEN = (
    Expect("sent", CAUSE, end="server", state="LISTEN"),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)
PORT = 40001


def scan(lab: Lab) -> None:
    """nmap -sA: a bare ACK without any option."""
    port = lab.listen().getsockname()[1]
    deliver(lab, "client", (PORT, port), tcp.ACK, 0, 0x10000000)


def syn_cookie(lab: Lab) -> None:
    """The last ACK is lost; when the client speaks again its SYN cookie is not valid any more."""
    lab.sysctl("server", "net.ipv4.tcp_syncookies", "2")
    listener = lab.listen()
    lab.firewall("server", "input", "tcp flags & (syn|ack) == ack drop")
    client = lab.connect(listener)
    lab.run("server", "nft", "flush", "ruleset")
    lab.sysctl("server", "net.ipv4.tcp_syncookies", "0")
    client.sendall(b"hello?\n")
    lab.wait_reset(client)


def request_given_up(lab: Lab) -> None:
    """The last ACK is lost, and so are all that answer the repeated SYN+ACK."""
    lab.sysctl("server", "net.ipv4.tcp_synack_retries", "0")
    listener = lab.listen()
    port = listener.getsockname()[1]
    lab.firewall("server", "input", "tcp flags & (syn|ack) == ack drop")
    client = lab.connect(listener)
    lab.wait_for(lambda: not lab.connections("server", port), "the end of the request")
    lab.run("server", "nft", "flush", "ruleset")
    client.sendall(b"hello?\n")
    lab.wait_reset(client)


VARIANTS = {
    "scan": (EXPECT, scan),
    "syn-cookie": (FORGOTTEN, syn_cookie),
    "request-given-up": (FORGOTTEN, request_given_up),
}
