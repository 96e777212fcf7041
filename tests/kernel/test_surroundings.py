"""The same causes where sockets, addresses or the way between the ends are of another kind.

The labs run as they are, on another fixture: IPv6 sockets that speak IPv4, both ends in one
namespace, a router or a bridge between them. Verdict, confidence, state and errno of both ends must
be those of the plain lab, the addresses those on the wire, and no RST may be missed or told twice.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rsttrace.lab.base import Lab
from rsttrace.lab.runner import FAMILY_NAMES
from rsttrace.lab.topology import OTHER, TOPOLOGIES
from rsttrace.model import FORWARDED, RECEIVED, SENT
from rsttrace.session import Session

from .conftest import live_session
from .playing import BOTH, addresses, check_ends, expected, lab_spec, play

pytestmark = pytest.mark.kernel

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Mapped(Lab):
    """Both ends use IPv6 sockets and ::ffff:a.b.c.d; on the wire that is IPv4."""

    def __init__(self, family: int, topology: str = "direct") -> None:
        super().__init__(family, topology)
        self.address = {end: f"::ffff:{address}" for end, address in self.address.items()}

    def socket(self, end: str, family: int | None = None) -> socket.socket:
        return super().socket(end, family or socket.AF_INET6)

    def connections(self, end: str, port: int) -> list[str]:
        self.family, plain = socket.AF_INET6, self.family
        try:
            return super().connections(end, port)
        finally:
            self.family = plain


class DualStack(Mapped):
    """One listener for both families ([::]:port), as most servers have; the client has IPv4."""

    def __init__(self, family: int, topology: str = "direct") -> None:
        super().__init__(family, topology)
        self.address = TOPOLOGIES[topology].addresses(family)

    def socket(self, end: str, family: int | None = None) -> socket.socket:
        six = end == "server"
        return super().socket(end, family or (socket.AF_INET6 if six else socket.AF_INET))

    def listen(self, end: str = "server", port: int = 0, backlog: int = 16) -> socket.socket:
        sock = self.socket(end)
        sock.bind(("::", port))
        sock.listen(backlog)
        return sock

    def connect(self, listener: socket.socket, end: str = "client") -> socket.socket:
        sock = self.socket(end)
        sock.connect((self.address[OTHER[end]], listener.getsockname()[1]))
        return sock


class OneHost(Lab):
    """Both ends in one namespace, on the loopback device."""

    def __enter__(self) -> Lab:
        super().__enter__()
        self.address = dict.fromkeys(self.ends, LOOPBACK[self.family])
        self._spaces["client"] = self._spaces["server"]
        self.netns["client"] = self.netns["server"]
        self.ends = ("server",)
        return self


# acts of every kind: the answer to a SYN, to data, and to nothing at all; one RST and several;
# a socket of its own, a listener's, a timewait minisocket, and none
LABS = (
    "closed-port/plain",
    "connection-refused/nonblocking",
    "unread-data-on-close/plain",
    "unread-data-on-close/close-wait",
    "linger-zero/established",
    "process-exit-unread-data/killed",
    "listener-closed/closed",
    "disconnect-call",
    "data-after-close/fin-wait2",
    "data-after-close/shutdown-both",
    "tls-close-notify/fin-wait2",
    "peer-closed-first/eof-ignored",
    "stale-connection/listening-port",
    "accept-queue-overflow",
    "firewall-reject/nft-input",
)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One trace for all."""
    with live_session() as live:
        live.pipeline.since_ns = None  # as `lab run`: the namespaces are younger than the trace
        yield live


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in (Mapped, DualStack)
        for name in LABS
        if (kind, name) != (DualStack, "accept-queue-overflow")  # it binds to one address itself
    ],
)
def test_ipv4_through_ipv6_sockets(session: Session, kind: type[Lab], name: str) -> None:
    """The family is that of the packets, the addresses have no ::ffff: in front."""
    told = play(session, lab_spec(name), socket.AF_INET, kind)
    check_ends(told, *addresses("direct", socket.AF_INET))


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize("family", BOTH, ids=FAMILY_NAMES.get)
def test_loopback(session: Session, family: int, name: str) -> None:
    """An active RST arrives before the sender's own record (chapter 0, rule 9)."""
    spec = expected(lab_spec(name), "direct", one_host=True)
    told = play(session, spec, family, OneHost)
    check_ends(told, LOOPBACK[family], LOOPBACK[family])


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize("family", BOTH, ids=FAMILY_NAMES.get)
@pytest.mark.parametrize("topology", ["router", "bridge"])
def test_something_between(session: Session, topology: str, family: int, name: str) -> None:
    """One RST, three records; the receiver still knows the maker's cause."""
    told = play(session, expected(lab_spec(name), topology), family)
    check_ends(told, *addresses(topology, family))
    hops = {"router": 1, "bridge": 0}[topology]
    ttl = {one["direction"]: one["packet"]["ttl"] for one in told}
    assert ttl[SENT] - hops == ttl[FORWARDED] == ttl[RECEIVED]


@pytest.mark.parametrize("topology", ["router", "bridge"])
def test_ipv6_sockets_and_something_between(session: Session, topology: str) -> None:
    """The two do not disturb each other."""
    spec = expected(lab_spec("linger-zero/established"), topology)
    told = play(session, spec, socket.AF_INET, Mapped)
    check_ends(told, *addresses(topology, socket.AF_INET))
