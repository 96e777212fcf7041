"""The sources of a Place against this kernel, in namespaces of the tests' own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsttrace.enrich.answers import place as answers_place
from rsttrace.enrich.place import Place, Question, Sockets
from rsttrace.enrich.sources import (
    ORDER,
    TookTooLong,
    _diag,
    _spaces,
    ask_all,
    path,
    place_from_json,
    settings,
)
from rsttrace.lab.base import Lab
from rsttrace.lab.namespace import Namespace
from rsttrace.lab.tcp import SYN, wait_for

pytestmark = pytest.mark.kernel

V4, V6 = socket.AF_INET, socket.AF_INET6
BOTH = pytest.mark.parametrize("family", [V4, V6])
DEVICE = "veth0"
UNUSED = 9  # no client ever has this port


def question(lab: Lab, end: str, local: Any, remote: Any, *wants: str, **more: Any) -> Question:
    """Local and remote as the socket module gives them."""
    ends = (*local[:2], *remote[:2])
    version = 4 if lab.family == V4 else 6
    return Question(lab.netns[end], version, *ends, **{"device": DEVICE, "wants": wants, **more})


def ask(lab: Lab, end: str, local: Any, remote: Any, *wants: str, **more: Any) -> Place:
    """The Place as it comes out of a recording; fails if something went wrong."""
    asked = question(lab, end, local, remote, *wants, **more)
    with lab.inside(end):
        before = _spaces.here()
        value = ask_all(asked)
        assert _spaces.here() == before
    place = place_from_json(json.loads(json.dumps(value)))
    assert not place.problems, place.problems
    return place


def sockets(lab: Lab, local: Any, remote: Any, end: str = "server", **more: Any) -> Sockets:
    found = ask(lab, end, local, remote, "sockets", **more).sockets
    assert found
    return found


# -- sockets -----------------------------------------------------------------------------------


@BOTH
def test_a_full_accept_queue(family: int) -> None:
    """listen(2) and three that nobody accepts: the queue holds one more than its limit."""
    with Lab(family) as lab:
        listener = lab.listen(backlog=2)
        for waiting in range(1, 4):
            lab.connect(listener)
            wait_for(lambda n=waiting: _waiting(lab, listener) == n, f"{waiting} in the queue")
        found = sockets(lab, listener.getsockname(), (lab.address["client"], UNUSED))
        assert found.state is None
        listening = found.listening
        assert listening
        assert (listening.waiting, listening.limit, listening.half_open) == (3, 2, 0)
        assert (listening.address, listening.port) == listener.getsockname()[:2]
        assert listening.inode == os.fstat(listener.fileno()).st_ino
        assert (listening.uid, listening.device) == (0, "")


def _waiting(lab: Lab, listener: socket.socket) -> int:
    found = sockets(lab, listener.getsockname(), (lab.address["client"], 0)).listening
    return found.waiting if found else -1


@BOTH
def test_handshakes_that_do_not_end_are_counted(family: int) -> None:
    """Three SYNs whose SYN-ACKs never get through; those to another port do not count."""
    with Lab(family) as lab:
        listener, other = lab.listen(), lab.listen()
        lab.firewall("client", "input", "tcp flags & (syn|ack) == (syn|ack) drop")
        target = listener.getsockname()
        for sport in (2001, 2002, 2003):
            lab.send_segment("client", (sport, target[1]), SYN, 1000, 0)
        lab.send_segment("client", (2004, other.getsockname()[1]), SYN, 1000, 0)

        def half_open() -> int | None:
            found = sockets(lab, target, (lab.address["client"], UNUSED)).listening
            return found.half_open if found else None

        wait_for(lambda: half_open() == 3, "three half-open connections")
        request = sockets(lab, target, (lab.address["client"], 2002))
        assert (request.state, request.inode, request.uid) == ("SYN_RECV", None, None)


def test_handshakes_of_several_listeners_are_nobodys(lab: Lab) -> None:
    """SO_REUSEPORT: a request does not say whose it is, so no limit can be compared with it."""
    first = lab.socket("server")
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    first.bind((lab.address["server"], 0))
    first.listen()

    def found() -> Any:
        listening = sockets(lab, first.getsockname(), (lab.address["client"], UNUSED)).listening
        assert listening
        return listening

    assert found().half_open == 0
    second = lab.socket("server")
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    second.bind(first.getsockname())
    second.listen()
    assert found().half_open is None
    assert found().port == first.getsockname()[1]


@BOTH
def test_a_live_connection(family: int) -> None:
    with Lab(family) as lab:
        client, server = lab.pair()
        found = sockets(lab, server.getsockname(), server.getpeername())
        assert found.state == "ESTABLISHED"
        assert found.inode == os.fstat(server.fileno()).st_ino
        assert (found.uid, found.retransmits, found.total_retransmits) == (0, 0, 0)
        assert found.rtt_ms is not None
        assert 0 < found.rtt_ms < 5000
        assert found.last_sent_ms is not None
        assert found.last_heard_ms is not None
        assert found.listening
        assert found.listening.port == server.getsockname()[1]
        back = sockets(lab, client.getsockname(), client.getpeername(), "client")
        assert (back.state, back.listening) == ("ESTABLISHED", None)
        assert back.inode == os.fstat(client.fileno()).st_ino


@BOTH
def test_retransmits_are_counted(family: int) -> None:
    with Lab(family) as lab:
        _client, server = lab.pair()
        lab.firewall("client", "input", "tcp flags & (rst|psh) == psh drop")
        server.sendall(b"never arrives")

        def again() -> int:
            return sockets(lab, server.getsockname(), server.getpeername()).retransmits or 0

        wait_for(lambda: again() > 0, "a retransmit")
        assert sockets(lab, server.getsockname(), server.getpeername()).total_retransmits


@BOTH
def test_time_wait_has_no_owner(family: int) -> None:
    with Lab(family) as lab:
        client, server = lab.pair()
        ends = server.getsockname(), server.getpeername()
        server.close()
        client.close()
        wait_for(lambda: sockets(lab, *ends).state == "TIME_WAIT", "TIME_WAIT")
        found = sockets(lab, *ends)
        assert (found.inode, found.uid, found.rtt_ms) == (None, None, None)


@BOTH
def test_nothing_listens(family: int) -> None:
    with Lab(family) as lab:
        found = sockets(lab, (lab.address["server"], UNUSED), (lab.address["client"], UNUSED))
        assert found == Sockets()


def test_a_dual_stack_listener_accepts_ipv4() -> None:
    """[::]:port takes 10.87.0.2:port; the connection is found by its addresses on the wire."""
    with Lab(V4) as lab:
        listener = _listener(lab, "::", V6)
        target = (lab.address["server"], listener.getsockname()[1])
        client = lab.socket("client")
        client.connect(target)
        lab.accept(listener)
        found = sockets(lab, target, client.getsockname())
        assert (found.state, found.listening and found.listening.address) == ("ESTABLISHED", "::")
        mapped = [(f"::ffff:{host}", port) for host, port in (target, client.getsockname())]
        assert sockets(lab, *mapped).inode == found.inode


def test_a_listener_on_a_mapped_address() -> None:
    with Lab(V4) as lab:
        listener = _listener(lab, f"::ffff:{lab.address['server']}", V6)
        target = (lab.address["server"], listener.getsockname()[1])
        found = sockets(lab, target, (lab.address["client"], UNUSED)).listening
        assert found
        assert found.address == lab.address["server"]


def test_a_v6only_listener_does_not_accept_ipv4() -> None:
    with Lab(V4) as lab:
        listener = _listener(lab, "::", V6, only=True)
        target = (lab.address["server"], listener.getsockname()[1])
        assert sockets(lab, target, (lab.address["client"], UNUSED)).listening is None


@BOTH
def test_the_most_specific_listener_is_the_one(family: int) -> None:
    """Also if it came first, and also if the question has no remote port."""
    with Lab(family) as lab:
        specific = _listener(lab, lab.address["server"], family, reuse=True)
        port = specific.getsockname()[1]
        _listener(lab, "::" if family == V6 else "0.0.0.0", family, port=port, reuse=True)
        target = (lab.address["server"], port)
        for rport in (UNUSED, 0):
            found = sockets(lab, target, (lab.address["client"], rport)).listening
            assert found
            assert found.address == lab.address["server"]


@BOTH
def test_of_a_reuseport_group_the_kernel_names_the_one(family: int) -> None:
    """Which of eight it takes depends on the client's port; without one, it is the fullest."""
    with Lab(family) as lab:
        first = _listener(lab, lab.address["server"], family, reuse=True)
        target = first.getsockname()[:2]
        group = [first]
        group += [_listener(lab, target[0], family, port=target[1], reuse=True) for _ in range(7)]
        client = lab.socket("client")
        client.connect(target)
        source = client.getsockname()
        wait_for(lambda: _fullest(lab, target) == 1, "a connection that waits")
        (owner,) = [x for x in group if _readable(x)]
        found = sockets(lab, target, (source[0], 0)).listening
        assert found
        assert found.inode == os.fstat(owner.fileno()).st_ino
        lab.accept(owner)
        client.close()  # quietly: nothing knows of it now
        inodes = {_chosen(lab, target, (source[0], port)) for port in range(3000, 3100)}
        assert inodes <= {os.fstat(x.fileno()).st_ino for x in group}
        assert len(inodes) > 1


def _fullest(lab: Lab, target: Any) -> int:
    found = sockets(lab, target, (lab.address["client"], 0)).listening
    return found.waiting if found else -1


def _chosen(lab: Lab, target: Any, remote: Any) -> int:
    found = sockets(lab, target, remote).listening
    return found.inode if found else 0


def _readable(listener: socket.socket) -> bool:
    import select

    return bool(select.select([listener], [], [], 0)[0])


@BOTH
def test_a_listener_bound_to_a_device(family: int) -> None:
    with Lab(family) as lab:
        listener = _listener(lab, lab.address["server"], family, device=DEVICE)
        found = sockets(lab, listener.getsockname(), (lab.address["client"], UNUSED)).listening
        assert found
        assert found.device == DEVICE


def _listener(
    lab: Lab,
    address: str,
    family: int,
    port: int = 0,
    only: bool = False,
    reuse: bool = False,
    device: str = "",
) -> socket.socket:
    sock = lab.socket("server", family)
    if family == V6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind((address, port))
    sock.listen(8)
    return sock


def test_connections_on_the_port_are_left_out_by_the_kernel() -> None:
    """However many there are: one message for the listener, none for the half-open ones."""
    with Lab(V4) as lab:
        listener = lab.listen(backlog=64)
        port = listener.getsockname()[1]
        for _ in range(50):
            lab.connect(listener)
        lab.listen()  # another port
        with lab.inside("server"):
            assert len(list(_diag.dump_raw(4, _diag.LISTEN, port))) == 1
            assert list(_diag.dump_raw(4, _diag.SYN_RECV, port)) == []
            assert len(list(_diag.dump_raw(4, 1, port))) == 50  # ESTABLISHED: the counter-check


# -- path --------------------------------------------------------------------------------------


def _path(lab: Lab, end: str, remote: str = "", local: str = "", **more: Any) -> Any:
    other = "server" if end == "client" else "client"
    ends = (local or lab.address[end], 0), (remote or lab.address[other], 0)
    return ask(lab, end, *ends, "path", **more).path


@BOTH
def test_a_direct_wire(family: int) -> None:
    with Lab(family) as lab:
        found = _path(lab, "client")
        assert (found.route, found.device, found.kind, found.up) == (
            "unicast",
            DEVICE,
            "veth",
            True,
        )
        assert found.other_end == f"rsttrace-{os.getpid()}-server {DEVICE}"
        assert (found.gateway, found.bridge) == ("", "")
        assert found.source == lab.address["client"]


@BOTH
def test_a_router_between(family: int) -> None:
    with Lab(family, "router") as lab:
        found = _path(lab, "client")
        assert found.gateway == lab.address["router"]
        assert found.neighbour == "PERMANENT"
        assert found.other_end.endswith("-router veth-client")
        # for the router both addresses are foreign
        middle = _path(lab, "router", lab.address["server"], lab.address["client"], device="")
        assert (middle.route, middle.device, middle.gateway) == ("unicast", "veth-server", "")


@BOTH
def test_a_port_of_a_bridge(family: int) -> None:
    """The bridge has no address: the device is what the question says, where it leads is known."""
    with Lab(family, "bridge") as lab:
        ends = lab.address["server"], lab.address["client"]
        found = _path(lab, "bridge", *ends, device="to-client")
        assert found.route == "none"
        assert (found.device, found.bridge, found.up) == ("to-client", "br0", True)
        assert found.other_end.endswith("-client veth0")


def test_a_veth_whose_other_end_is_here_too() -> None:
    from pyroute2 import IPRoute

    with Lab(V4) as lab:
        with lab.inside("client"), IPRoute() as ip:
            ip.link("add", ifname="one", kind="veth", peer="two")
        ends = (lab.address["client"], 0), ("203.0.113.1", 0)
        found = ask(lab, "client", *ends, "path", device="one").path
        assert found
        assert (found.device, found.other_end, found.up) == ("one", "two", False)


def test_a_veth_into_a_namespace_without_a_name() -> None:
    """Only a thread of ours is in it: it has a number for the kernel, but nobody here knows it."""
    with Lab(V4) as lab:
        space = Path("/run/netns", f"rsttrace-{os.getpid()}-server")
        import pyroute2

        assert "server" in _path(lab, "client").other_end
        pyroute2.netns.remove(space.name)
        assert _path(lab, "client").other_end == f"another namespace {DEVICE}"


@BOTH
@pytest.mark.parametrize("kind", ["unreachable", "prohibit", "blackhole", "none"])
def test_routes_that_lead_nowhere(family: int, kind: str) -> None:
    from pyroute2 import IPRoute

    target = "203.0.113.9" if family == V4 else "2001:db8::9"
    with Lab(family) as lab:
        if kind != "none":
            width = 32 if family == V4 else 128
            with lab.inside("client"), IPRoute() as ip:
                ip.route("add", dst=f"{target}/{width}", type=kind, family=family)
        found = _path(lab, "client", target)
        assert (found.route, found.gateway, found.neighbour) == (kind, "", "")
        assert found.device == DEVICE


@BOTH
def test_the_way_to_oneself(family: int) -> None:
    with Lab(family) as lab:
        found = _path(lab, "client", lab.address["client"])
        assert (found.route, found.device, found.neighbour) == ("local", "lo", "")


@BOTH
def test_a_neighbour_that_does_not_answer(family: int) -> None:
    with Lab(family) as lab:
        nobody = "10.87.0.77" if family == V4 else "fd00:87::77"
        assert _path(lab, "client", nobody).neighbour == ""
        with lab.inside("client"), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"anybody?", (nobody, UNUSED))
        assert _path(lab, "client", nobody).neighbour in ("INCOMPLETE", "FAILED")


@BOTH
def test_a_wire_that_is_down(family: int) -> None:
    from pyroute2 import IPRoute

    with Lab(family) as lab:
        with lab.inside("server"), IPRoute() as ip:
            ip.link("set", index=ip.link_lookup(ifname=DEVICE)[0], state="down")
        wait_for(lambda: _path(lab, "client").up is False, "the wire to be seen as down")


def test_a_link_local_address_is_behind_the_device_of_the_question() -> None:
    with Lab(V6, "router") as lab:
        for device in ("veth-client", "veth-server"):
            found = _path(lab, "router", "fe80::77", "fe80::1", device=device)
            assert (found.route, found.device) == ("unicast", device)


@BOTH
def test_a_vrf_has_routes_of_its_own(family: int) -> None:
    """The client's route is in the table of the VRF that its device belongs to, and only there."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with Lab(family) as lab, lab.inside("client"), IPRoute() as ip:
        try:
            ip.link("add", ifname="red", kind="vrf", vrf_table=77)
        except NetlinkError as error:
            pytest.skip(f"no VRF in this kernel: {error}")
        red, index = (ip.link_lookup(ifname=name)[0] for name in ("red", DEVICE))
        ip.link("set", index=red, state="up")
        ip.link("set", index=index, master=red)
        target = "203.0.113.0/24" if family == V4 else "2001:db8::/64"
        ip.route("add", dst=target, oif=index, table=77, family=family)
        remote = target.replace("0/24", "5").replace("::/64", "::5")
        found = _path(lab, "client", remote)
        assert (found.route, found.device, found.bridge) == ("unicast", DEVICE, "")
        assert _path(lab, "client", remote, device="").route == "none"


# -- settings ----------------------------------------------------------------------------------


def test_each_namespace_has_its_own_settings() -> None:
    with Lab(V4) as lab:
        lab.sysctl("server", "net.ipv4.tcp_abort_on_overflow", "1")
        lab.sysctl("server", "net.core.somaxconn", "77")
        ends = (lab.address["server"], 0), (lab.address["client"], 0)
        server, client = (ask(lab, end, *ends, "settings") for end in ("server", "client"))
        assert server.number("net.ipv4.tcp_abort_on_overflow") == 1
        assert client.number("net.ipv4.tcp_abort_on_overflow") == 0
        assert server.number("net.core.somaxconn") == 77
        assert client.number("net.core.somaxconn") != 77
        assert len(server.settings["net.ipv4.ip_local_port_range"].split(" ")) == 2


def test_settings_of_the_whole_host_are_read_where_they_are() -> None:
    with Lab(V4) as lab:
        with lab.inside("server"):
            assert settings.values(settings.HIDDEN) == {}
        ends = (lab.address["server"], 0), (lab.address["client"], 0)
        found = ask(lab, "server", *ends, "settings").settings
        for name in settings.HIDDEN:
            there = Path("/proc/sys", *name.split(".")).read_text().split()
            assert found[name].split() == there


def test_which_settings_belong_to_the_whole_host() -> None:
    """As this kernel shows it: what root cannot write in a new namespace, or does not see there."""
    on_the_host = set(settings.values(settings.KNOWN)) - {"net.netfilter.nf_conntrack_count"}
    with Namespace("own") as own, own.inside():
        own_ones = {name for name in settings.values(settings.KNOWN) if _mode(name) & 0o200}
    assert on_the_host - own_ones == on_the_host & settings.HOST_WIDE


def _mode(name: str) -> int:
    return os.stat(Path("/proc/sys", *name.split("."))).st_mode


# -- peer --------------------------------------------------------------------------------------


def _own_address(lab: Lab, end: str) -> str:
    """One more address there that no other lab on this host has, as all have the usual ones."""
    from pyroute2 import IPRoute

    pid = os.getpid()
    if lab.family == V4:
        address, width = f"198.18.{pid >> 8 & 255}.{pid & 255}", 32
    else:
        address, width = f"fd00:88::{pid & 0xFFFF:x}", 128
    with lab.inside(end), IPRoute() as ip:
        index = ip.link_lookup(ifname="lo")[0]
        ip.addr("add", index=index, address=address, prefixlen=width)
    return address


def _peer(lab: Lab, remote: str) -> Any:
    found = ask(lab, "client", (lab.address["client"], 0), (remote, 0), "peer").peer
    assert found
    return found


@BOTH
def test_an_address_of_another_namespace(family: int) -> None:
    with Lab(family, "router") as lab:
        found = _peer(lab, _own_address(lab, "server"))
        assert (found.here, found.elsewhere) == (False, (f"rsttrace-{os.getpid()}-server",))


@BOTH
def test_an_address_of_this_namespace(family: int) -> None:
    with Lab(family) as lab:
        found = _peer(lab, _own_address(lab, "client"))
        assert (found.here, found.elsewhere) == (True, ())


@BOTH
def test_an_address_that_two_namespaces_have(family: int) -> None:
    with Lab(family) as lab:
        address = _own_address(lab, "client")
        _own_address(lab, "server")
        found = _peer(lab, address)
        assert (found.here, found.elsewhere) == (True, (f"rsttrace-{os.getpid()}-server",))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_says_nothing_about_others(address: str) -> None:
    with Lab(V6 if address == "::1" else V4) as lab:
        peer = ask(lab, "client", (address, 0), (address, 0), "peer").peer
        assert peer
        assert (peer.here, peer.elsewhere) == (True, ())


def test_an_address_that_nobody_here_has() -> None:
    with Lab(V4) as lab:
        found = _peer(lab, "203.0.113.9")
        assert (found.here, found.elsewhere) == (False, ())


def test_namespaces_for_which_no_time_was_left() -> None:
    with Lab(V4) as lab:
        ways = [(lab.netns[end], f"/run/netns/rsttrace-{os.getpid()}-{end}") for end in lab.ends]
        before = _spaces.here()
        said, silent = _spaces.visit(ways, _spaces.here)
        assert ([s[2] for s in said], silent) == ([lab.netns[end] for end in lab.ends], 0)
        assert _spaces.visit(ways, _spaces.here, 0) == ([], 2)
        gone = [(1, "/run/netns/rsttrace-never-was")]
        assert _spaces.visit(gone, _spaces.here) == ([], 0)
        assert _spaces.here() == before


def test_a_look_that_hangs_is_left_behind() -> None:
    """The caller has its answer in time, and the namespaces that it could not see are counted."""
    with Lab(V4) as lab:
        ways = [(lab.netns[end], f"/run/netns/rsttrace-{os.getpid()}-{end}") for end in lab.ends]
        let_go = threading.Event()
        began = time.monotonic()
        assert _spaces.visit(ways, let_go.wait, 0.05) == ([], 2)
        assert time.monotonic() - began < 2
        let_go.set()


# -- conntrack ---------------------------------------------------------------------------------


def _tracked(lab: Lab, end: str, local: Any, remote: Any) -> Any:
    return ask(lab, end, local, remote, "conntrack").conntrack


@BOTH
def test_a_tracked_connection(family: int) -> None:
    """Each direction is found, on the router as on an end."""
    with Lab(family, "router") as lab:
        lab.firewall("router", "forward", "ct state invalid drop")
        client, server = lab.pair()
        for ends in (
            (client.getsockname(), server.getsockname()),
            (server.getsockname(), client.getsockname()),
        ):
            found = _tracked(lab, "router", *ends)
            assert (found.found, found.state, found.assured) == (True, "ESTABLISHED", True)
            assert found.natted == ""
            assert found.timeout_s > 60
        missing = (lab.address["client"], UNUSED), server.getsockname()
        assert _tracked(lab, "router", *missing).found is False


@BOTH
def test_translated_addresses(family: int) -> None:
    """The client speaks to a port where nobody listens; the router leads it to the server's."""
    with Lab(family, "router") as lab:
        listener = lab.listen()
        port, word = listener.getsockname()[1], "ip" if family == V4 else "ip6"
        own, there = lab.address["router"], lab.address["server"]
        to = f"{there}:{port}" if family == V4 else f"[{there}]:{port}"
        rule = f"{word} daddr {own} tcp dport 7 dnat to {to};"
        chain = "chain c { type nat hook prerouting priority -100; " + rule + " }"
        lab.prepare("router", "nft", "-f", "-", input=f"table {word} lab {{\n{chain}\n}}\n")
        client = lab.socket("client")
        client.connect((own, 7))
        server = lab.accept(listener)
        text = f"{own}:7 > {to}" if family == V4 else f"[{own}]:7 > {to}"
        for ends in (
            (client.getpeername(), client.getsockname()),
            (server.getsockname(), server.getpeername()),
        ):
            found = _tracked(lab, "router", *ends)
            assert (found.found, found.natted) == (True, text)


def test_a_namespace_without_connection_tracking() -> None:
    with Lab(V4) as lab:
        client, _server = lab.pair()
        asked = question(lab, "client", client.getsockname(), client.getpeername(), "conntrack")
        with lab.inside("client"):
            value = ask_all(asked)
        assert value["values"] == {}
        assert value["problems"]["conntrack"].startswith("connection tracking ")


# -- the engine --------------------------------------------------------------------------------


def test_everything_at_once_in_time() -> None:
    with Lab(V4) as lab:
        lab.firewall("server", "input", "ct state invalid drop")
        _client, server = lab.pair()
        place = ask(lab, "server", server.getsockname(), server.getpeername(), *ORDER)
        assert place.settings
        assert place.sockets
        assert place.path
        assert place.peer
        assert place.conntrack
        assert abs(place.time_ns - time.monotonic_ns()) < 10e9


@pytest.mark.parametrize("swallows", [False, True])
def test_a_source_that_hangs_is_cut(swallows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that swallows the first cut as well; the sources after it still answer."""

    def hang(_question: Question) -> None:
        if swallows:
            with contextlib.suppress(TookTooLong):
                time.sleep(30)
        time.sleep(30)

    monkeypatch.setattr(path, "ask", hang)
    with Lab(V4) as lab:
        ends = (lab.address["server"], 0), (lab.address["client"], 0)
        with lab.inside("server"):
            value = _timed(lambda: ask_all(question(lab, "server", *ends, "path", "peer")))
        assert value["problems"] == {"path": "took too long"}
        assert f"rsttrace-{os.getpid()}-client" in value["values"]["peer"]["elsewhere"]


def _timed(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    began = time.monotonic()
    value = act()
    assert time.monotonic() - began < 0.5  # 30 s without the cut
    return value


def test_a_vanished_namespace() -> None:
    with Lab(V4) as lab:
        about = question(lab, "server", ("192.0.2.1", 1), ("192.0.2.2", 2), *ORDER)
    value = answers_place.answer(
        {name: getattr(about, name) for name in Question.__dataclass_fields__}
    )
    place = place_from_json(json.loads(json.dumps(value)))
    assert place == Place(problems=dict.fromkeys(ORDER, "the network namespace is gone"))
