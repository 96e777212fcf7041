"""How the namespaces of a lab are joined, and every address that labs use.

``direct``: client and server share one wire. ``router``: between them a namespace ``router``
forwards both families; each side has its own subnet, and the TTL drops by one. ``bridge``:
between them a namespace ``bridge`` joins two wires by a bridge; it has no address, and nothing
of a packet changes.
"""

from __future__ import annotations

import fcntl
import socket as so
import struct
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from rsttrace.lab.namespace import Namespace
from rsttrace.lab.tcp import wait_for

ENDS = ("client", "server")
OTHER = {"client": "server", "server": "client"}
# Without IFA_F_NODAD an IPv6 address could not be used for its first second.
PREFIX: Mapping[int, Mapping[str, int]] = {
    so.AF_INET: {"prefixlen": 24},
    so.AF_INET6: {"prefixlen": 64, "flags": 0x02},
}
# If both ends of a wire had the same index, the kernel would take up to a second to see the
# carrier.
FIRST_INDEX = 87
NUD_PERMANENT = 0x80
SIOCGIFFLAGS, IFF_RUNNING, RTF_LOCAL = 0x8913, 0x40, 0x80000000

ByFamily = Mapping[int, str]
Spaces = Mapping[str, Namespace]


class Port(NamedTuple):
    """One end of a wire. ``addresses``: none at a bridge; ``gateway``: none on the same wire."""

    end: str
    device: str
    addresses: ByFamily | None = None
    gateway: ByFamily | None = None


class Topology(NamedTuple):
    """``middle``: the namespace between client and server, if there is one."""

    middle: str | None
    wires: tuple[tuple[Port, Port], ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """The names of all namespaces."""
        return (*ENDS, self.middle) if self.middle else ENDS

    @property
    def ports(self) -> tuple[Port, ...]:
        """All devices."""
        return tuple(port for wire in self.wires for port in wire)

    def addresses(self, family: int) -> dict[str, str]:
        """Each end's address; of a router the one on the client's side."""
        found: dict[str, str] = {}
        for port in self.ports:
            if port.addresses:
                found.setdefault(port.end, port.addresses[family])
        return found


def _both(v4: str, v6: str) -> ByFamily:
    return {so.AF_INET: v4, so.AF_INET6: v6}


_CLIENT = _both("10.87.0.1", "fd00:87::1")
_SERVER = _both("10.87.0.2", "fd00:87::2")
_BEHIND = _both("10.87.1.2", "fd00:87:0:1::2")  # the server, behind the router
_NEAR = _both("10.87.0.254", "fd00:87::fe")  # the router, on the client's side
_FAR = _both("10.87.1.254", "fd00:87:0:1::fe")

TOPOLOGIES = {
    "direct": Topology(
        None, ((Port("client", "veth0", _CLIENT), Port("server", "veth0", _SERVER)),)
    ),
    "router": Topology(
        "router",
        (
            (Port("client", "veth0", _CLIENT, _NEAR), Port("router", "veth-client", _NEAR)),
            (Port("server", "veth0", _BEHIND, _FAR), Port("router", "veth-server", _FAR)),
        ),
    ),
    "bridge": Topology(
        "bridge",
        (
            (Port("client", "veth0", _CLIENT), Port("bridge", "to-client")),
            (Port("server", "veth0", _SERVER), Port("bridge", "to-server")),
        ),
    ),
}
# everything that `rsttrace lab run` watches
ADDRESSES = frozenset(
    address
    for topology in TOPOLOGIES.values()
    for port in topology.ports
    for address in (port.addresses or {}).values()
)


def join(topology: Topology, family: int, spaces: Spaces) -> None:
    """Make the wires between the namespaces; all addresses can be used on return."""
    if topology.middle == "router":
        _forward(spaces["router"])
    for index, wire in enumerate(topology.wires, FIRST_INDEX):
        _make_wire(wire, index, spaces)
    if topology.middle == "bridge":
        _make_bridge(topology, spaces["bridge"])
    for end in topology.ends:
        _bring_up(spaces[end], ["lo", *(p.device for p in topology.ports if p.end == end)])
    for port in topology.ports:
        wait_for(partial(_running, port, spaces), f"carrier on the {port.end}'s {port.device}")
    if topology.middle == "router":
        for wire in topology.wires:
            _introduce(wire, family, spaces)
            _introduce(wire[::-1], family, spaces)
    with_address = [port for port in topology.ports if port.addresses]
    for port in with_address:
        _configure(port, topology, family, spaces)
    if family == so.AF_INET6:
        for port in with_address:
            wait_for(partial(_usable, port, spaces), f"the {port.end}'s address in use")


def _forward(router: Namespace) -> None:
    router.sysctl("net.ipv4.ip_forward", "1")
    router.sysctl("net.ipv6.conf.all.forwarding", "1")
    # It asks for its neighbours from link-local addresses, which would be tentative at first.
    router.sysctl("net.ipv6.conf.default.accept_dad", "0")


def _make_wire(wire: tuple[Port, Port], index: int, spaces: Spaces) -> None:
    from pyroute2 import IPRoute

    near, far = wire
    with spaces[near.end].inside(), IPRoute() as ip:
        peer = {"ifname": far.device, "net_ns_fd": spaces[far.end].fd}
        ip.link("add", index=index, ifname=near.device, kind="veth", peer=peer)


def _make_bridge(topology: Topology, bridge: Namespace) -> None:
    from pyroute2 import IPRoute

    with bridge.inside(), IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        index = ip.link_lookup(ifname="br0")[0]
        for port in topology.ports:
            if port.end == "bridge":
                ip.link("set", index=ip.link_lookup(ifname=port.device)[0], master=index)
        ip.link("set", index=index, state="up")


def _bring_up(space: Namespace, devices: list[str]) -> None:
    from pyroute2 import IPRoute

    with space.inside(), IPRoute() as ip:
        for name in devices:
            ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")


def _running(port: Port, spaces: Spaces) -> bool:
    request = struct.pack("16sH22x", port.device.encode(), 0)
    with spaces[port.end].inside(), so.socket(so.AF_INET, so.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
    return bool(struct.unpack_from("=H", answer, 16)[0] & IFF_RUNNING)


def _configure(port: Port, topology: Topology, family: int, spaces: Spaces) -> None:
    from pyroute2 import IPRoute

    assert port.addresses
    if family == so.AF_INET6:
        spaces[port.end].sysctl("net.ipv6.conf.all.disable_ipv6", "0")
    with spaces[port.end].inside(), IPRoute() as ip:
        index = ip.link_lookup(ifname=port.device)[0]
        ip.addr("add", index=index, address=port.addresses[family], **PREFIX[family])
        if port.end in ENDS:
            # Every segment is acknowledged at once: no delayed ACK can come when the socket that
            # it is meant for has already gone, and no lab has to wait for one.
            way = {"gateway": port.gateway[family]} if port.gateway else {"scope": "link"}
            target = topology.addresses(family)[OTHER[port.end]]
            route = {"dst": target, "metrics": {"quickack": 1}, **way}
            ip.route("add", oif=index, family=family, **route)


def _introduce(wire: tuple[Port, Port], family: int, spaces: Spaces) -> None:
    """Tell the first of the wire's ends the other's hardware address.

    A RST that is held until its neighbour has been found leaves with another stack: one that a
    firewall or a tool has made could not be told apart from others any more.
    """
    from pyroute2 import IPRoute

    own, other = wire
    assert other.addresses
    with spaces[other.end].inside(), IPRoute() as ip:
        (link,) = ip.get_links(ip.link_lookup(ifname=other.device)[0])
    with spaces[own.end].inside(), IPRoute() as ip:
        index = ip.link_lookup(ifname=own.device)[0]
        known = {"dst": other.addresses[family], "lladdr": link.get_attr("IFLA_ADDRESS")}
        ip.neigh("add", ifindex=index, state=NUD_PERMANENT, **known)


def _usable(port: Port, spaces: Spaces) -> bool:
    """Is there a local route to the port's IPv6 address? A work queue adds it."""
    assert port.addresses
    address = so.inet_pton(so.AF_INET6, port.addresses[so.AF_INET6]).hex()
    routes = (row.split() for row in spaces[port.end].read("ipv6_route"))
    return any(r[0] == address and int(r[8], 16) & RTF_LOCAL for r in routes)
