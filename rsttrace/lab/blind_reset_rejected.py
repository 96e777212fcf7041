"""A RST that lies in the receive window but not at its very start: believed only after asking.

``tcp_validate_incoming`` takes a RST at once only if its sequence number is exactly the next one
expected. Anything else in the window might be a guess by somebody who cannot see the connection
(RFC 5961 3.2): the kernel answers with a challenge ACK and frees the RST with drop reason
TCP_RESET. The real peer, if it had aborted, would answer that ACK with a RST that fits.

The RSTs here are hand-made in the server's namespace, which the server's record tells.
"""

from __future__ import annotations

from socket import socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabSkip

CAUSE = "blind-reset-rejected"
FORGED = Expect("sent", "injected-by-local-tool", end="server")


def rejected(benign: bool) -> Expect:
    facts = {"benign": benign, "errno": None}
    return Expect("rejected", CAUSE, end="client", state="ESTABLISHED", facts=facts)


EXPECT = (FORGED, rejected(benign=True))
# the second and third are told together
GUESSES = (
    *(FORGED, rejected(benign=False)),
    Expect("sent", "injected-by-local-tool", end="server", facts={"count": 2}),
    Expect("rejected", CAUSE, end="client", facts={"count": 2, "benign": False}),
)
IN_REQUEST = (
    Expect("sent", "injected-by-local-tool", end="client"),
    # older kernels believe it: only the peer's silence or its ACK would tell
    Expect("rejected", "blind-reset-rejected", end="server", confidence="likely"),
)
PORT = 40001
START = 0x30000000


def forge(lab: Lab, client: socket, server: socket, flags: int, offset: int) -> None:
    """A segment to the client in the server's name, ``offset`` off the number expected next."""
    expected, acknowledged = tcp.sequence(server)
    ports = (server.getsockname()[1], client.getsockname()[1])
    deliver(lab, "server", ports, flags, expected + offset, acknowledged)


def deliver(lab: Lab, end: str, ports: tuple[int, int], flags: int, seq: int, ack: int = 0) -> None:
    """Send a hand-made segment and wait until the other end's TCP has it."""
    other = "client" if end == "server" else "server"
    before = lab.counter(other, "InSegs")
    lab.send_segment(end, ports, flags, seq & 0xFFFFFFFF, ack)
    lab.wait_for(lambda: lab.counter(other, "InSegs") > before, "the arrival of the segment")


def one_guess(lab: Lab) -> None:
    """One RST, 100 bytes too far on; the connection lives."""
    client, server = lab.pair()
    forge(lab, client, server, tcp.RST, 100)
    lab.talk(client, server)


def many_guesses(lab: Lab) -> None:
    """RSTs that step through the window, as an attacker's do."""
    client, server = lab.pair()
    for offset in (1000, 11000, 21000):
        forge(lab, client, server, tcp.RST, offset)
    lab.talk(client, server)


def handshake(lab: Lab) -> None:
    """The same guess at a connection whose handshake is not complete."""
    server_port = lab.listen().getsockname()[1]
    ports = (PORT, server_port)
    # otherwise the client's kernel would reset the connection that it does not know
    lab.firewall("client", "input", f"tcp dport {PORT} drop")
    deliver(lab, "client", ports, tcp.SYN, START)
    lab.wait_for(lambda: lab.connections("server", server_port) == ["SYN_RECV"], "the request")
    deliver(lab, "client", ports, tcp.RST, START + 1 + 100)
    if lab.connections("server", server_port) != ["SYN_RECV"]:
        raise LabSkip("this kernel believes any RST in the window during a handshake.")


VARIANTS = {
    "one-guess": (EXPECT, one_guess),
    "many-guesses": (GUESSES, many_guesses),
    "handshake": (IN_REQUEST, handshake),
}
