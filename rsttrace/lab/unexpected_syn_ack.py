"""A SYN+ACK arrives that no socket here waits for.

Either the socket that had sent the SYN is gone (connect() was given up), or there never was one: a
program made the SYN by hand (a port scan), or another host used this address. Without any socket
``tcp_v4_rcv`` answers with a bare RST whose number is the SYN+ACK's ack (NO_SOCKET); if the port
listens, the listener does (TCP_FLAGS). At the other end that RST removes the half-open connection.
"""

from __future__ import annotations

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab
from rsttrace.lab.blind_reset_rejected import deliver

CAUSE = "unexpected-syn-ack"
SENT = Expect("sent", CAUSE, end="client")
ABORTED = Expect("received", "handshake-aborted", end="server", facts={"errno": None})
EXPECT = (SENT, ABORTED)
UNSURE = Expect("sent", CAUSE, end="client", confidence="likely")
BY_HAND = (UNSURE, ABORTED)
FORGED = (UNSURE, Expect("forwarded", "forwarded-reset", end="router"), ABORTED)
TO_LISTENER = (UNSURE, Expect("rejected", "reset-no-socket", end="server"))
PORT, START = 40001, 0x30000000


def request_over(lab: Lab) -> None:
    lab.wait_for(lambda: lab.counter("server", "AttemptFails") == 1, "the end of the request")


def cancelled_connect(lab: Lab) -> None:
    """The first SYN+ACK is lost; when it is repeated, a second later, the client has given up."""
    listener = lab.listen()
    port = listener.getsockname()[1]
    lab.firewall("client", "input", "tcp flags & (syn|ack) == (syn|ack) drop")
    client = lab.socket("client")
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
    lab.wait_for(lambda: lab.connections("server", port) == ["SYN_RECV"], "the request")
    client.close()
    lab.run("client", "nft", "flush", "ruleset")
    request_over(lab)


def raw_socket(lab: Lab) -> None:
    """nmap -sS: the SYN was made by hand, so the scanner's own kernel does not know of it."""
    port = lab.listen().getsockname()[1]
    lab.send_segment("client", (PORT, port), tcp.SYN, START, 0)
    request_over(lab)


def forged_address(lab: Lab) -> None:
    """Another machine (the router here) sends a SYN in the client's name."""
    port = lab.listen().getsockname()[1]
    source, target = (lab.address["client"], PORT), (lab.address["server"], port)
    lab.forge("router", source, target, tcp.SYN, START)
    request_over(lab)


def listening_port(lab: Lab) -> None:
    """A SYN+ACK out of nowhere, and the port it comes to listens."""
    port = lab.listen("client").getsockname()[1]
    deliver(lab, "server", (PORT, port), tcp.SYN | tcp.ACK, START, 0x10000000)


TOPOLOGY = {"forged-address": "router"}
VARIANTS = {
    "cancelled-connect": (EXPECT, cancelled_connect),
    "raw-socket": (BY_HAND, raw_socket),
    "forged-address": (FORGED, forged_address),
    "listening-port": (TO_LISTENER, listening_port),
}
