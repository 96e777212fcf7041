"""A device between client and server resets a connection in the name of one of them.

The third namespace, a router, plays the device. Where its own record shows who made the RST (a raw
socket, a firewall rule) the verdict is certain. A packet socket with PACKET_QDISC_BYPASS leaves no
record: the RST appears at the client as if it came from afar, and only what it lacks betrays it:
the TTL of the path, the timestamps of the connection, the right numbers, the time that an answer
takes, the peer's silence afterwards. Two of these must be odd, one alone has innocent reasons.
"""

from __future__ import annotations

import socket as so
import time
from dataclasses import replace
from socket import socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, received
from rsttrace.lab.injected_by_local_tool import ETHERTYPE, hardware_address, must_live

CAUSE = "middlebox-reset"
RECEIVED = received(CAUSE, "ESTABLISHED", "ECONNRESET")
LIKELY = Expect(
    "received",
    CAUSE,
    end="client",
    state="ESTABLISHED",
    confidence="likely",
    facts={"initiator": "middlebox"},
)
EXPECT = (Expect("sent", "injected-by-local-tool", end="router"), RECEIVED)
FIREWALL = (Expect("sent", "firewall-reject", end="router"), RECEIVED)
OWN_FIREWALL = (Expect("sent", "firewall-reject", end="client"), RECEIVED)
# two of three come when the connection is gone already
STEPPING = (LIKELY, Expect("rejected", "reset-no-socket", end="client", facts={"count": 2}))
# the server does not know, goes on, and is told by the client
GOES_ON = (
    LIKELY,
    Expect("sent", "late-segment", end="client"),
    Expect("forwarded", "forwarded-reset", end="router"),
    received("peer-reset", "ESTABLISHED", "ECONNRESET", end="server"),
)
Address = tuple[str, int]
PORT = 8080
START = 0x30000000
TEXT = b"blocked by the policy of this network"
ROUND_TRIP_S = 0.2
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
TTL_OF_PATH, TTL_OF_DEVICE = 63, 250


def inject(
    lab: Lab,
    client: socket,
    server: Address,
    flags: int,
    seq: int,
    ack: int = 0,
    *,
    ttl: int,
    text: bytes = b"",
) -> None:
    """A RST to the client in the server's name, from the router's device, past every hook there."""
    there = name(client)
    segment = tcp.segment(server, there, flags, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, text)
    packet = tcp.ip_packet(server[0], there[0], segment, ttl)
    kind = ETHERTYPE[lab.family]
    target = hardware_address(lab, "client")
    with lab.inside("router"), so.socket(so.AF_PACKET, so.SOCK_DGRAM, 0) as wire:
        wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        wire.sendto(packet, ("veth-client", kind, 0, 0, target))


def name(sock: socket) -> Address:
    """Address and port."""
    address, port = sock.getsockname()[:2]
    return address, port


def raw_socket(lab: Lab) -> None:
    """A program on the router, with a raw socket: its record tells."""
    client, server = lab.pair()
    lab.forge("router", name(server), name(client), tcp.RST, tcp.sequence(server)[0])
    lab.wait_reset(client)
    must_live(server)


def firewall(lab: Lab) -> None:
    """A rule on the router that rejects what passes."""
    client, server = lab.pair()
    port = server.getsockname()[1]
    lab.firewall("router", "forward", f"tcp dport {port} reject with tcp reset")
    client.sendall(b"next request\n")
    lab.wait_reset(client)
    must_live(server)


def own_firewall(lab: Lab) -> None:
    """A rule in the client's own output hook."""
    client, server = lab.pair()
    port = server.getsockname()[1]
    lab.firewall("client", "output", f"tcp dport {port} reject with tcp reset")
    client.sendall(b"next request\n")
    lab.wait_reset(client)
    must_live(server)


def foreign_form(lab: Lab) -> None:
    """RST+ACK with another TTL, and without the timestamps of the connection."""
    client, server = lab.pair()
    seq, ack = tcp.sequence(server)
    inject(lab, client, name(server), tcp.RST | tcp.ACK, seq, ack, ttl=TTL_OF_DEVICE)
    lab.wait_reset(client)
    must_live(server)


def with_text(lab: Lab) -> None:
    """The same, and it says what for (RFC 1122 4.2.2.12)."""
    client, server = lab.pair()
    seq, ack = tcp.sequence(server)
    flags = tcp.RST | tcp.ACK
    inject(lab, client, name(server), flags, seq, ack, ttl=TTL_OF_DEVICE, text=TEXT)
    lab.wait_reset(client)
    must_live(server)


def stepping(lab: Lab) -> None:
    """Three RSTs in a row, further and further ahead, to hit even if data is under way."""
    client, server = lab.pair()
    seq = tcp.sequence(server)[0]
    for step in (0, 1460, 4380):
        inject(lab, client, name(server), tcp.RST, seq + step, ttl=TTL_OF_DEVICE)
    lab.wait_reset(client)
    must_live(server)


def wrong_ack(lab: Lab) -> None:
    """RST+ACK with the TTL of the path, but an ACK number of nothing that was sent."""
    client, server = lab.pair()
    seq, ack = tcp.sequence(server)
    inject(lab, client, name(server), tcp.RST | tcp.ACK, seq, ack + 100_000, ttl=TTL_OF_PATH)
    lab.wait_reset(client)
    must_live(server)


def server_goes_on(lab: Lab) -> None:
    """The server sends as if nothing had happened, because for it nothing has."""
    client, server = lab.pair()
    inject(lab, client, name(server), tcp.RST, tcp.sequence(server)[0], ttl=TTL_OF_DEVICE)
    lab.wait_reset(client)
    server.sendall(b"the answer to your last request\n")
    lab.wait_reset(server)


def too_soon(lab: Lab) -> None:
    """The server's answers take long, but the RST that acknowledges our data comes at once.

    The server is hand-made: its host is silent, and its SYN-ACK is sent when it is late enough.
    """
    lab.firewall("server", "input", f"tcp dport {PORT} drop")
    client = lab.socket("client")
    client.setblocking(False)
    client.connect_ex((lab.address["server"], PORT))
    began = time.monotonic()
    lab.wait_for(lambda: time.monotonic() - began > ROUND_TRIP_S, "the end of a long round trip")
    ports = (PORT, client.getsockname()[1])
    ack = tcp.sequence(client)[0]
    lab.send_segment("server", ports, tcp.SYN | tcp.ACK, START, ack)
    lab.wait_state(client, "ESTABLISHED")
    request = b"ClientHello\n"
    client.sendall(request)
    here = (lab.address["server"], PORT)
    flags = tcp.RST | tcp.ACK
    inject(lab, client, here, flags, START + 1, ack + len(request), ttl=TTL_OF_DEVICE)
    lab.wait_reset(client)


TOPOLOGY = "router"
VARIANTS = {
    "raw-socket": (EXPECT, raw_socket),
    "firewall": (FIREWALL, firewall),
    "own-firewall": (OWN_FIREWALL, own_firewall),
    "foreign-form": ((LIKELY,), foreign_form),
    "with-text": ((replace(LIKELY, facts={"packet.length": len(TEXT)}),), with_text),
    "stepping": (STEPPING, stepping),
    "wrong-ack": ((LIKELY,), wrong_ack),
    "server-goes-on": (GOES_ON, server_goes_on),
    "too-soon": ((LIKELY,), too_soon),
}
