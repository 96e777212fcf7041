"""A segment of the handshake acknowledges something that was never sent.

Which function notices depends on how far the handshake is:

* SYN_SENT: ``tcp_rcv_synsent_state_process`` wants an ack of our SYN, no more and no less
  (TCP_INVALID_ACK_SEQUENCE), and an echo of a timestamp that we sent (TCP_RFC7323_PAWS);
* a request (NEW_SYN_RECV): ``tcp_check_req`` hands the segment on to the listener, which resets
  (TCP_FLAGS, state LISTEN);
* SYN_RECV of a full socket (both ends open at once, or Fast Open): ``tcp_ack`` sorts the number out
  (TCP_ACK_UNSENT_DATA, TCP_TOO_OLD_ACK).

The RST goes to whoever sent that segment; the attempt itself goes on. The bad segments are
hand-made, but for the half-open peer's: that is what happens after a crash.
"""

from __future__ import annotations

import struct

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab
from rsttrace.lab.blind_reset_rejected import deliver

CAUSE = "bad-ack-in-handshake"
STRAY = Expect("rejected", "reset-no-socket", end="server")
EXPECT = (
    Expect("sent", CAUSE, end="server", state="LISTEN"),
    Expect("rejected", "reset-no-socket", end="client"),
)
TO_SYN_SENT = (Expect("sent", CAUSE, end="client", state="SYN_SENT"), STRAY)
TO_SYN_RECV = (Expect("sent", CAUSE, end="client", state="SYN_RECV"), STRAY)
PORT, START = 40001, 0x30000000
SERVER_PORT = 8080
WRONG = 77777


def last_ack(lab: Lab) -> None:
    """The ACK that should complete the handshake has a wrong number."""
    port = lab.listen().getsockname()[1]
    # otherwise the client's kernel would reset the connection that it does not know
    lab.firewall("client", "input", "tcp flags & syn == syn drop")
    lab.send_segment("client", (PORT, port), tcp.SYN, START, 0)
    lab.wait_for(lambda: lab.connections("server", port) == ["SYN_RECV"], "the request")
    deliver(lab, "client", (PORT, port), tcp.ACK, START + 1, WRONG)


def opening(lab: Lab) -> tuple[tuple[int, int], int]:
    """A client in SYN_SENT whose SYNs get lost: (ports of the server's answers, its number + 1)."""
    lab.firewall("server", "input", "tcp flags & syn == syn drop")
    client = lab.socket("client")
    client.setblocking(False)
    client.connect_ex((lab.address["server"], SERVER_PORT))
    return (SERVER_PORT, client.getsockname()[1]), tcp.sequence(client)[0]


def syn_ack(lab: Lab) -> None:
    """The SYN+ACK acknowledges another SYN than ours."""
    ports, number = opening(lab)
    deliver(lab, "server", ports, tcp.SYN | tcp.ACK, START, number + WRONG)


def old_timestamp(lab: Lab) -> None:
    """The SYN+ACK fits, but echoes a timestamp that this host has not sent."""
    ports, number = opening(lab)
    options = struct.pack("!BBBBII", 1, 1, 8, 10, 1, 1)
    arrived = lab.counter("client", "InSegs")
    lab.send_segment("server", ports, tcp.SYN | tcp.ACK, START, number, options=options)
    lab.wait_for(lambda: lab.counter("client", "InSegs") > arrived, "the arrival of the segment")


def simultaneous(lab: Lab, offset: int) -> None:
    ports, number = opening(lab)
    deliver(lab, "server", ports, tcp.SYN, START)
    deliver(lab, "server", ports, tcp.ACK, START + 1, number + offset)


def unsent(lab: Lab) -> None:
    """Both ends open at once, and the ACK is ahead of all that was sent."""
    simultaneous(lab, WRONG)


def too_old(lab: Lab) -> None:
    """The same with an ACK of something older than the SYN."""
    simultaneous(lab, -WRONG)


VARIANTS = {
    "last-ack": (EXPECT, last_ack),
    "syn-ack": (TO_SYN_SENT, syn_ack),
    "old-timestamp": (TO_SYN_SENT, old_timestamp),
    "unsent": (TO_SYN_RECV, unsent),
    "too-old": (TO_SYN_RECV, too_old),
}
