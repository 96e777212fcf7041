"""A program on this host puts a RST on the wire itself, through a raw or a packet socket.

``raw_sendmsg`` (``rawv6_sendmsg``) or ``packet_sendmsg`` is the innermost maker in the packet's
stack, in the context of the program, so its name is certain. TCP takes no part: no
``tcp_send_reset``, no TcpOutRsts. The receiver believes it if the sequence number is exactly the
next one; the end in whose name it was sent notices nothing.
"""

from __future__ import annotations

import fcntl
import socket as so
import struct
from dataclasses import replace

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError, received

CAUSE = "injected-by-local-tool"
RECEIVED = received("middlebox-reset", "ESTABLISHED", "ECONNRESET")
FACTS = {"process.role": "owner"}
EXPECT = (Expect("sent", CAUSE, end="server", facts=FACTS), RECEIVED)
FORGED = (Expect("sent", CAUSE, end="router", facts=FACTS), RECEIVED)
# a packet socket might be the network card of a user-space TCP
BY_PACKET = (EXPECT[0], replace(RECEIVED, confidence="likely"))
SIOCGIFHWADDR = 0x8927
ETHERTYPE = {so.AF_INET: 0x0800, so.AF_INET6: 0x86DD}


def must_live(sock: so.socket) -> None:
    """The end that is impersonated has sent nothing and hears nothing."""
    if tcp.info(sock).state != "ESTABLISHED":
        raise LabError("the end in whose name the RST was sent must not notice it")


def raw(lab: Lab) -> None:
    """A raw socket on the server's host, with the server's own address."""
    client, server = lab.pair()
    ports = (server.getsockname()[1], client.getsockname()[1])
    lab.send_segment("server", ports, tcp.RST, tcp.sequence(server)[0], 0)
    lab.wait_reset(client)
    must_live(server)


def forged_source(lab: Lab) -> None:
    """A raw socket on a router between the two sends in the name of the server."""
    client, server = lab.pair()
    here, there = server.getsockname()[:2], client.getsockname()[:2]
    lab.forge("router", here, there, tcp.RST, tcp.sequence(server)[0])
    lab.wait_reset(client)
    must_live(server)


def packet(lab: Lab) -> None:
    """A packet socket, as tcpkill, tcpreplay and everything with libpcap use: no route needed."""
    client, server = lab.pair()
    here, there = server.getsockname()[:2], client.getsockname()[:2]
    segment = tcp.segment(here, there, tcp.RST, tcp.sequence(server)[0])
    kind = ETHERTYPE[lab.family]
    frame = hardware_address(lab, "client") + hardware_address(lab, "server")
    frame += struct.pack("!H", kind) + tcp.ip_packet(here[0], there[0], segment)
    with lab.inside("server"), so.socket(so.AF_PACKET, so.SOCK_RAW, 0) as wire:
        wire.sendto(frame, ("veth0", kind))
    lab.wait_reset(client)
    must_live(server)


def hardware_address(lab: Lab, end: str) -> bytes:
    with lab.inside(end), so.socket(so.AF_INET, so.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("16s24x", b"veth0"))
    return answer[18:24]


TOPOLOGY = {"forged-source": "router"}
VARIANTS = {
    "raw": (EXPECT, raw),
    "forged-source": (FORGED, forged_source),
    "packet": (BY_PACKET, packet),
}
