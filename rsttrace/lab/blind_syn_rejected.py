"""A SYN arrives in a connection that is established.

``tcp_validate_incoming`` neither resets nor opens anew: whatever the sequence number, it answers
with a challenge ACK (RFC 5961 4.2) and frees the SYN with TCP_INVALID_SYN. Three senders do this:
somebody who guesses; the peer's host after a crash, which opens a new connection from the same port
(it answers the challenge with a RST that fits, and the dead connection is gone); and, harmless, the
network, which repeats a SYN or SYN+ACK of the handshake.
"""

from __future__ import annotations

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError, received
from rsttrace.lab.blind_reset_rejected import forge

CAUSE = "blind-syn-rejected"


def rejected(end: str, confidence: str, benign: bool) -> Expect:
    facts = {"packet.flags": "SYN" if not benign else "SYN+ACK", "benign": benign}
    return Expect(
        "rejected", CAUSE, end=end, confidence=confidence, state="ESTABLISHED", facts=facts
    )


EXPECT = (rejected("client", "certain", False),)
REPEATED = (rejected("client", "certain", True),)
RESTARTED = (
    rejected("server", "certain", False),
    Expect("sent", "bad-ack-in-handshake", end="client"),
    received("peer-reset", "ESTABLISHED", "ECONNRESET", end="server"),
)


def forged(lab: Lab) -> None:
    """A hand-made SYN; the connection lives."""
    client, server = lab.pair()
    forge(lab, client, server, tcp.SYN, 100)
    lab.talk(client, server)


def repeated_syn_ack(lab: Lab) -> None:
    """The server's SYN+ACK comes once more, because our ACK of it was lost."""
    client, server = lab.pair()
    answer = len(b"answer\n")
    forge(lab, client, server, tcp.SYN | tcp.ACK, -answer - 1)
    lab.talk(client, server)


def peer_restarted(lab: Lab) -> None:
    """The client's host forgot the connection and opens one from the same port."""
    client, server = lab.pair()
    address = client.getsockname()
    tcp.close_quietly(client)
    again = lab.socket("client")
    again.bind(address)
    again.setblocking(False)
    again.connect_ex(server.getsockname())
    lab.wait_reset(server)
    # a slow machine may have got through by now
    if tcp.info(again).state not in ("SYN_SENT", "ESTABLISHED"):
        raise LabError("the new connection must try again")


VARIANTS = {
    "forged": (EXPECT, forged),
    "repeated-syn-ack": (REPEATED, repeated_syn_ack),
    "peer-restarted": (RESTARTED, peer_restarted),
}
