"""Routes, devices and neighbours, as rtnetlink tells them in pyroute2's messages."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any, NamedTuple

from rsttrace.enrich.place import Question
from rsttrace.enrich.sources import _netlink
from rsttrace.enrich.sources._address import address_of

RTM_GETLINK, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETNSID = 18, 26, 30, 90
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# enum of linux/rtnetlink.h
TYPES = (
    "none",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
)
# how the kernel answers where packets are refused (fib_props in net/ipv4/fib_semantics.c)
REFUSED = {
    errno.EHOSTUNREACH: "unreachable",
    errno.EACCES: "prohibit",
    errno.EINVAL: "blackhole",
    errno.ENETUNREACH: "none",
    errno.EAGAIN: "none",
}
# NUD_* of linux/neighbour.h
NEIGHBOUR = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}


class Route(NamedTuple):
    """One way: a word of TYPES, the index of its device (0: none), gateway, preferred source."""

    kind: str
    device: int = 0
    gateway: str = ""
    source: str = ""


def _ask(request: Any, kind: int) -> Any:
    raw = _netlink.one(_netlink.ROUTE, _netlink.encoded(request, kind))
    return _netlink.decoded(type(request), raw)


def link(index: int = 0, name: str = "", nsid: int | None = None) -> Any | None:
    """One network device (ifinfmsg), of another namespace by that one's number here; or None."""
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    request = ifinfmsg()
    request["index"] = index
    request["attrs"] = [("IFLA_IFNAME", name)] if name else []
    if nsid is not None:
        request["attrs"].append(("IFLA_IF_NETNSID", nsid))
    try:
        return _ask(request, RTM_GETLINK)
    except OSError as err:
        if err.errno in (errno.ENODEV, errno.EINVAL):
            return None
        raise


def kind_of(device: Any) -> str:
    """veth, bridge, vlan ...; empty for hardware."""
    info = device.get_attr("IFLA_LINKINFO")
    return (info.get_attr("IFLA_INFO_KIND") if info else "") or ""


def master_of(device: Any, kind: str) -> Any | None:
    """The bridge or VRF that a device is a port of."""
    index = device.get_attr("IFLA_MASTER")
    above = link(index) if index else None
    return above if above and kind_of(above) == kind else None


def number_of(descriptor: int) -> int | None:
    """The number that a namespace (an open file) has in this one; None if it has none."""
    from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

    request = nsidmsg()
    request["attrs"] = [("NETNSA_FD", descriptor)]
    found = _ask(request, RTM_GETNSID).get_attr("NETNSA_NSID")
    return None if found is None or found < 0 else int(found)


def neighbour(device: int, address: str) -> str:
    """State of a neighbour's entry; empty if there is none."""
    from pyroute2.netlink.rtnl.ndmsg import ndmsg

    request = ndmsg()
    request["family"], request["ifindex"] = FAMILY[address_of(address).version], device
    request["attrs"] = [("NDA_DST", address)]
    try:
        return NEIGHBOUR.get(_ask(request, RTM_GETNEIGH)["state"], "")
    except FileNotFoundError:
        return ""


def find(question: Question) -> Route:
    """The way from the local to the remote address.

    The local address is not this namespace's if it forwards: then by the remote one alone. The
    question's device decides only where it has to: for link-local addresses, and in a VRF.
    """
    remote = address_of(question.remote)
    used = link(name=question.device) if question.device else None
    through = 0
    if used:
        vrf = used if kind_of(used) == "vrf" else master_of(used, "vrf")
        through = used["index"] if remote.is_link_local else vrf["index"] if vrf else 0
    route = _route(remote, str(address_of(question.local)), through)
    return route if route.device else _route(remote, "", through)


def _route(remote: Any, source: str, through: int) -> Route:
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    request = rtmsg()
    request["family"], request["dst_len"] = FAMILY[remote.version], remote.max_prefixlen
    request["attrs"] = [("RTA_DST", str(remote))]
    if source:
        request["src_len"] = remote.max_prefixlen
        request["attrs"].append(("RTA_SRC", source))
    if through:
        request["attrs"].append(("RTA_OIF", through))
    try:
        found = _ask(request, RTM_GETROUTE)
    except OSError as err:
        if err.errno in REFUSED:
            return Route(REFUSED[err.errno])
        raise
    kind = TYPES[found["type"]] if found["type"] < len(TYPES) else str(found["type"])
    chosen = found.get_attr("RTA_PREFSRC") or source
    return Route(kind, found.get_attr("RTA_OIF") or 0, _gateway(found), chosen)


def _gateway(found: Any) -> str:
    via = found.get_attr("RTA_VIA")  # IPv4 over an IPv6 next hop
    with contextlib.suppress(TypeError, KeyError):
        return str(found.get_attr("RTA_GATEWAY") or (via["addr"] if via else ""))
    return ""
