"""A RST whose numbers do not fit the connection at all: dropped without a word.

In a connection that exists the sequence number must lie in the receive window (RFC 9293 3.10.7.4);
in SYN_SENT there is no window yet, and the RST must acknowledge our SYN (3.10.7.3). The drop
reasons are TCP_OLD_SEQUENCE and TCP_INVALID_SEQUENCE, in SYN_SENT TCP_RESET (no ACK) and
TCP_INVALID_ACK_SEQUENCE (an ACK of something else). Not even a challenge ACK is sent.
"""

from __future__ import annotations

from socket import socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError
from rsttrace.lab.blind_reset_rejected import FORGED, deliver, forge

CAUSE = "out-of-window-reset"
EXPECT = (FORGED, Expect("rejected", "out-of-window-reset", end="client", state="ESTABLISHED"))
IN_SYN_SENT = (FORGED, Expect("rejected", "out-of-window-reset", end="client", state="SYN_SENT"))
PORT = 8080
FAR = 0x40000000  # further than any window


def old(lab: Lab) -> None:
    """The number was used up long ago: a late copy."""
    client, server = lab.pair()
    forge(lab, client, server, tcp.RST, -1000)
    lab.talk(client, server)


def beyond(lab: Lab) -> None:
    """The number is far ahead of anything the peer may send."""
    client, server = lab.pair()
    forge(lab, client, server, tcp.RST, FAR)
    lab.talk(client, server)


def unanswered(lab: Lab) -> socket:
    """A connect() under way whose SYN got lost."""
    lab.firewall("server", "input", f"tcp dport {PORT} drop")
    client = lab.socket("client")
    client.setblocking(False)
    client.connect_ex((lab.address["server"], PORT))
    lab.wait_state(client, "SYN_SENT")
    return client


def reset_connect(lab: Lab, flags: int, ack: int) -> None:
    client = unanswered(lab)
    deliver(lab, "server", (PORT, client.getsockname()[1]), flags, 0, ack)
    if tcp.info(client).state != "SYN_SENT":
        raise LabError("the RST was believed")


def syn_sent_without_ack(lab: Lab) -> None:
    """A bare RST proves nothing to a connect(): it could be meant for an earlier connection."""
    reset_connect(lab, tcp.RST, 0)


def syn_sent_wrong_ack(lab: Lab) -> None:
    """A RST+ACK that acknowledges another SYN than ours."""
    reset_connect(lab, tcp.RST | tcp.ACK, 0x12345678)


VARIANTS = {
    "old": (EXPECT, old),
    "beyond": (EXPECT, beyond),
    "syn-sent-without-ack": (IN_SYN_SENT, syn_sent_without_ack),
    "syn-sent-wrong-ack": (IN_SYN_SENT, syn_sent_wrong_ack),
}
