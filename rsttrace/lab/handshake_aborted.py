"""A RST ends a handshake before the last ACK: the server's application never hears of it.

The listener has only a request (NEW_SYN_RECV), no socket. ``tcp_check_req`` removes it without
``tcp_receive_reset``, and the RST is freed without a reason; that its sequence number is exactly
the SYN's plus one shows that it was believed.
"""

from __future__ import annotations

from socket import IPPROTO_TCP, TCP_QUICKACK

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab

CAUSE = "handshake-aborted"
RECEIVED = Expect("received", CAUSE, end="server", facts={"errno": None})
EXPECT = (Expect("sent", "unexpected-syn-ack", end="client", confidence="likely"), RECEIVED)
HEALTH_CHECK = (Expect("sent", "linger-zero", end="client"), RECEIVED)
FAST_OPEN = (EXPECT[0], Expect("received", CAUSE, end="server", state="SYN_RECV"))
PORT = 40001
SERVER, NO_COOKIE, ALL_LISTENERS = 0x2, 0x200, 0x400  # bits of net.ipv4.tcp_fastopen


def syn_scan(lab: Lab) -> None:
    """nmap -sS: the SYN is hand-made, so the scanner's own kernel resets what it does not know."""
    knock(lab)


def knock(lab: Lab, payload: bytes = b"") -> None:
    port = lab.listen().getsockname()[1]
    lab.send_segment("client", (PORT, port), tcp.SYN, 0x30000000, 0, payload)
    attempt_fails(lab)


def attempt_fails(lab: Lab) -> None:
    lab.wait_for(lambda: lab.counter("server", "AttemptFails") > 0, "the end of the request")


def health_check(lab: Lab) -> None:
    """HAProxy's way to look whether a port is open: RST in place of the handshake's last ACK."""
    listener = lab.listen()
    client = lab.socket("client")
    client.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)  # delay the last ACK
    client.connect(listener.getsockname())
    tcp.linger_zero(client)
    client.close()
    attempt_fails(lab)


def fast_open(lab: Lab) -> None:
    """With TCP Fast Open there is a full socket before the handshake is complete: SYN_RECV."""
    lab.sysctl("server", "net.ipv4.tcp_fastopen", str(SERVER | NO_COOKIE | ALL_LISTENERS))
    knock(lab, b"request\n")


VARIANTS = {
    "syn-scan": (EXPECT, syn_scan),
    "health-check": (HEALTH_CHECK, health_check),
    "fast-open": (FAST_OPEN, fast_open),
}
