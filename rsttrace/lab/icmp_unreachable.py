"""connect() is ended by an ICMP message, not by a RST.

``tcp_v4_err`` (``tcp_v6_err``) hands a connection that is still being opened the error that the
message stands for: port unreachable ECONNREFUSED, host unreachable EHOSTUNREACH. An established
connection only notes it and goes on. The message may come from the far host's firewall, from a
router, or from this very host, when nobody on the link answers to the address.
"""

from __future__ import annotations

import errno
import struct
from socket import AF_INET, SO_SNDTIMEO, SOL_SOCKET

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Expected, Lab

CAUSE = "icmp-unreachable"
PORT = 8080


def expect(number: str) -> Expected:
    facts = {"errno": number, "state_before": "SYN_SENT"}
    return (Expect("none", CAUSE, end="client", facts=facts),)


EXPECT = expect("ECONNREFUSED")
NO_ROUTE = expect("EHOSTUNREACH")


def knock(lab: Lab, address: str, code: int) -> None:
    """A blocking connect(). On so short a way the message about the first SYN comes while the call
    still holds the socket, and is only noted; the one about the second, a second later, ends it.
    """
    client = lab.socket("client")
    client.settimeout(None)
    client.setsockopt(SOL_SOCKET, SO_SNDTIMEO, struct.pack("ll", 5, 0))
    tcp.must_fail(code, client.connect, (address, PORT))


def reject(lab: Lab, icmp: str, icmpv6: str) -> None:
    kind = f"icmp type {icmp}" if lab.family == AF_INET else f"icmpv6 type {icmpv6}"
    lab.firewall("server", "input", f"tcp dport {PORT} reject with {kind}")


def port_unreachable(lab: Lab) -> None:
    """The server's firewall rejects with an ICMP message: looks like a closed port."""
    reject(lab, "port-unreachable", "port-unreachable")
    knock(lab, lab.address["server"], errno.ECONNREFUSED)


def host_unreachable(lab: Lab) -> None:
    """A router or firewall says that the host cannot be reached."""
    reject(lab, "host-unreachable", "addr-unreachable")
    knock(lab, lab.address["server"], errno.EHOSTUNREACH)


def nobody_there(lab: Lab) -> None:
    """Nobody on the link has the address: the client's own kernel says so."""
    stack = "ipv4" if lab.family == AF_INET else "ipv6"
    for name, value in (("mcast_solicit", "1"), ("retrans_time_ms", "20")):
        lab.sysctl("client", f"net.{stack}.neigh.veth0.{name}", value)
    missing = lab.address["server"][:-1] + "9"
    knock(lab, missing, errno.EHOSTUNREACH)


VARIANTS = {
    "port-unreachable": (EXPECT, port_unreachable),
    "host-unreachable": (NO_ROUTE, host_unreachable),
    "nobody-there": (NO_ROUTE, nobody_there),
}
