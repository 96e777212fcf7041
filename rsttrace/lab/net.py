"""A lab: throw-away network namespaces, "client" and "server", joined by a veth pair.

A lab module says ``TOPOLOGY = "router"`` (or "bridge"; default "direct", see topology.py) and gets
a third namespace of that name between them, an end like the others: ``lab.inside("router")``,
``lab.run("router", ...)``, ``lab.sysctl``, ``lab.firewall("router", "forward", RULE)``,
``Expect(..., end="router")``. If its variants differ: ``TOPOLOGY = {"variant": "router"}``. Tests
say ``Lab(family, "router")``. ``lab.address["server"]`` is right in every topology;
``lab.address["router"]`` is the router's on the client's side.

Everything a lab does stays inside these namespaces. They are called ``rsttrace-<pid>-client`` and
so on, are removed when the lab ends however it ends, and what a killed process left behind is
swept by the next lab.
"""

from __future__ import annotations

import contextlib
import os
import socket as so
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rsttrace.lab import tcp
from rsttrace.lab.errors import LabError, LabSkip
from rsttrace.lab.limit import host_limit
from rsttrace.lab.namespace import Namespace, end_child, sweep
from rsttrace.lab.topology import OTHER, TOPOLOGIES, join

_one_at_a_time = threading.Lock()


class Lab:
    """Context manager: the namespaces, and the few verbs that scenarios use."""

    wait_for = staticmethod(tcp.wait_for)
    wait_readable = staticmethod(tcp.wait_readable)
    wait_state = staticmethod(tcp.wait_state)
    wait_reset = staticmethod(tcp.wait_reset)
    settle = staticmethod(tcp.settle)
    talk = staticmethod(tcp.talk)

    def __init__(self, family: int, topology: str = "direct") -> None:
        self.family = so.AddressFamily(family)
        self._topology = TOPOLOGIES[topology]
        self.ends = self._topology.ends
        self.address = self._topology.addresses(family)
        self.netns: dict[str, int] = {}
        self._spaces: dict[str, Namespace] = {}
        self._sockets: list[so.socket] = []
        self._children: list[int] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Lab:
        if os.geteuid() != 0:
            raise LabError("labs make network namespaces: run as root.")
        if not _one_at_a_time.acquire(blocking=False):
            raise LabError("this process already runs a lab; one at a time.")
        with contextlib.ExitStack() as stack:
            stack.callback(_one_at_a_time.release)
            sweep()
            for end in self.ends:
                self._spaces[end] = stack.enter_context(Namespace(end))
                self.netns[end] = self._spaces[end].inode
            stack.callback(self._close_sockets)
            stack.callback(self._end_children)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _close_sockets(self) -> None:
        while self._sockets:
            tcp.close_quietly(self._sockets.pop())

    def _end_children(self) -> None:
        while self._children:
            end_child(self._children.pop())

    def _join(self) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            join(self._topology, self.family, self._spaces)
        except NetlinkError as error:
            raise LabSkip(f"cannot join the namespaces: {error}") from error

    # -- namespaces and commands --------------------------------------------------------------

    def inside(self, end: str) -> AbstractContextManager[None]:
        """Run the body of a ``with`` in that end's namespace (this thread only)."""
        return self._spaces[end].inside()

    def counter(self, end: str, name: str) -> int:
        """One value of the ``Tcp:`` lines in that namespace's /proc/net/snmp."""
        lines = self._spaces[end].read("snmp")
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index(name)])

    def out_rsts(self, end: str) -> int:
        return self.counter(end, "OutRsts")

    def tcp_out_rsts(self) -> int:
        return sum(self.out_rsts(end) for end in self.ends)

    def connections(self, end: str, port: int) -> list[str]:
        """States of the connections of that local port, orphans and timewait sockets included."""
        rows = self._spaces[end].read("tcp" if self.family == so.AF_INET else "tcp6")
        cells = (row.split() for row in rows[1:])
        states = [tcp.STATES[int(c[3], 16)] for c in cells if c[1].endswith(f":{port:04X}")]
        return [state for state in states if state != "LISTEN"]

    def sysctl(self, end: str, name: str, value: str) -> None:
        self._spaces[end].sysctl(name, value)

    def host_limit(self, name: str, value: str) -> None:
        """Change a sysctl of the whole host until the lab ends; its module says GLOBAL = name."""
        self._stack.enter_context(host_limit(Path("/proc/sys", *name.split(".")), value))

    def run(self, end: str, *argv: str, input: str | None = None) -> str:
        """Run a command there; LabError with its stderr if it fails."""
        return self._spaces[end].run(*argv, input=input)

    def prepare(self, end: str, *argv: str, input: str | None = None) -> None:
        """Run a command that the lab depends on: without it the lab is skipped."""
        try:
            self.run(end, *argv, input=input)
        except LabError as error:
            raise LabSkip(error.message) from error

    def firewall(self, end: str, hook: str, rule: str) -> None:
        """Add one nftables rule to that end's input, output or forward hook."""
        chain = f"chain {hook} {{ type filter hook {hook} priority 0; {rule}; }}"
        self.prepare(end, "nft", "-f", "-", input=f"table inet lab {{\n{chain}\n}}\n")

    def spawn(self, end: str, function: Callable[[], object]) -> int:
        """Fork a child that runs ``function`` there. It holds copies of all open lab sockets.

        Killed and reaped when the lab ends, if it still runs then.
        """
        pid = self._spaces[end].spawn(function)
        self._children.append(pid)
        return pid

    def at_end(self, function: Callable[[], object]) -> None:
        """Call it when the lab ends, before anything else is taken down."""
        self._stack.callback(function)

    # -- sockets ------------------------------------------------------------------------------

    def socket(self, end: str, family: int | None = None, protocol: int = 0) -> so.socket:
        """A TCP socket there; it is closed, without a word on the wire, when the lab ends."""
        with self.inside(end):
            return self._keep(so.socket(family or self.family, so.SOCK_STREAM, protocol))

    def _keep(self, sock: so.socket) -> so.socket:
        self._sockets.append(sock)
        sock.settimeout(tcp.TIMEOUT)
        return sock

    def listen(self, end: str = "server", port: int = 0, backlog: int = 16) -> so.socket:
        sock = self.socket(end)
        sock.bind((self.address[end], port))
        sock.listen(backlog)
        return sock

    def connect(self, listener: so.socket, end: str = "client") -> so.socket:
        sock = self.socket(end)
        sock.connect(listener.getsockname())
        return sock

    def accept(self, listener: so.socket) -> so.socket:
        return self._keep(listener.accept()[0])

    def pair(
        self, end: str = "client", listener: so.socket | None = None
    ) -> tuple[so.socket, so.socket]:
        """A connected pair (client, server) that has exchanged a request and an answer.

        The listener stays open until the lab ends, unless the caller brings its own.
        """
        listener = listener or self.listen(OTHER[end])
        client = self.connect(listener, end)
        server = self.accept(listener)
        tcp.talk(client, server)
        return client, server

    def half_open(self, port: int, end: str = "client") -> so.socket:
        """An established socket whose other end, ``port`` over there, never heard of it."""
        sock = self.socket(end)
        sock.bind((self.address[end], 0))
        tcp.pretend_connected(sock, (self.address[OTHER[end]], port))
        return sock

    def send_segment(
        self,
        end: str,
        ports: tuple[int, int],
        flags: int,
        seq: int,
        ack: int,
        payload: bytes = b"",
        options: bytes = b"",
    ) -> None:
        """Put one hand-made segment on the wire; ``ports`` are (own, the other end's)."""
        here, there = self.address[end], self.address[OTHER[end]]
        data = tcp.segment((here, ports[0]), (there, ports[1]), flags, seq, ack, payload, options)
        with self.inside(end), so.socket(self.family, so.SOCK_RAW, so.IPPROTO_TCP) as raw:
            raw.connect((here, 0))  # so that it gets no copy of the answer, to be freed as a drop
            raw.sendto(data, (there, 0))

    def forge(
        self,
        end: str,
        source: tuple[str, int],
        target: tuple[str, int],
        flags: int,
        seq: int,
        ack: int = 0,
        ttl: int = 64,
    ) -> None:
        """Send one segment from ``end`` with any source (address, port) and TTL, as a device in
        the path (``end="router"``) or a local tool could.
        """
        segment = tcp.segment(source, target, flags, seq, ack)
        data = tcp.ip_packet(source[0], target[0], segment, ttl)
        with self.inside(end), so.socket(self.family, so.SOCK_RAW, so.IPPROTO_RAW) as raw:
            raw.sendto(data, (target[0], 0))
