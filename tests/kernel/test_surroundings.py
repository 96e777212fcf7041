"""The same causes where sockets, addresses or the way between the ends are of another kind.

The labs run as they are, on another fixture: IPv6 sockets that speak IPv4, both ends in one
namespace, a router or a bridge between them. Verdict, confidence, state and errno of both ends must
be those of the plain lab, the addresses those on the wire, and no RST may be missed or told twice.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.lab import closed_port, find, firewall_reject, tcp
from rsttrace.lab.base import Expect, Lab, LabSpec
from rsttrace.lab.namespace import RUN_NETNS, sweep
from rsttrace.lab.runner import FAMILY_NAMES, Outcome, run_lab
from rsttrace.lab.topology import OTHER, TOPOLOGIES
from rsttrace.model import FORWARDED, RECEIVED, SENT
from rsttrace.session import Session
from rsttrace.sinks.jsonl import reset_object

from .conftest import live_session, python

pytestmark = pytest.mark.kernel

BOTH = tuple(FAMILY_NAMES)
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


def expected(spec: LabSpec, topology: str, one_host: bool = False) -> LabSpec:
    """What the lab promises here: every RST also passes what stands in the middle."""
    promised = spec.expect
    if one_host:
        promised = tuple(replace(e, end="server") for e in promised)
    middle = TOPOLOGIES[topology].middle
    if middle:
        passing = Expect(FORWARDED, "forwarded-reset", end=middle)
        promised += (passing,) * sum(e.direction == SENT for e in promised)
    return replace(spec, topology=topology, expect=promised)


def lab_spec(name: str) -> LabSpec:
    (spec,) = find(name)
    return spec


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One trace for all."""
    with live_session() as live:
        live.pipeline.since_ns = None  # as `lab run`: the namespaces are younger than the trace
        yield live


def play(
    session: Session, spec: LabSpec, family: int, surroundings: type[Lab] = Lab
) -> list[dict[str, Any]]:
    """Run it, once more if somebody else's flood cost records; what was told, as JSON objects."""
    for _ in range(3):
        lost = session.lost
        outcome: Outcome = run_lab(session, spec, family, surroundings)
        if session.lost == lost:
            break
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert not outcome.problems, "\n".join(outcome.problems)
    return [reset_object(one, 0) for one in outcome.explained]


def check_ends(told: list[dict[str, Any]], server: str, client: str) -> None:
    """The addresses on the wire, the server's RSTs, and both ends of each name each other."""
    names = {one["id"]: one for one in told}
    for one in told:
        ends = [one["local"]["address"], one["remote"]["address"]]
        assert ends == ([client, server] if one["direction"] == RECEIVED else [server, client])
        assert one["family"] == (6 if ":" in server else 4)
        if one["direction"] != FORWARDED:
            assert names[one["peer_id"]]["peer_id"] == one["id"]
    received = [one for one in told if one["direction"] == RECEIVED]
    assert len(received) == sum(one["direction"] == SENT for one in told)


def addresses(topology: str, family: int) -> tuple[str, str]:
    """(server, client)."""
    found = TOPOLOGIES[topology].addresses(family)
    return found["server"], found["client"]


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


# -- a RST that has to wait ------------------------------------------------------------------------


def forget_neighbours(lab: Lab) -> tuple[socket.socket, socket.socket]:
    """A connected pair; the server must ask for the client's hardware address again.

    What it sends next is held, and leaves in the context of the answer (__neigh_update).
    """
    client, server = lab.pair()
    lab.run("server", "ip", "neigh", "flush", "all")
    return client, server


def abort_to_stranger(lab: Lab) -> None:
    client, server = forget_neighbours(lab)
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)


def refuse_stranger(lab: Lab) -> None:
    forget_neighbours(lab)
    closed_port.knock(lab)


def reject_stranger(lab: Lab) -> None:
    forget_neighbours(lab)
    firewall_reject.nft_input(lab)


@pytest.mark.parametrize("family", BOTH, ids=FAMILY_NAMES.get)
@pytest.mark.parametrize(
    ("name", "act"),
    [("linger-zero/established", abort_to_stranger), ("closed-port/plain", refuse_stranger)],
)
def test_held_for_its_neighbour(session: Session, name: str, act: Any, family: int) -> None:
    """The stack at the device does not name the maker; the decision of TCP does."""
    told = play(session, replace(lab_spec(name), run=act), family)
    check_ends(told, *addresses("direct", family))
    (sent,) = (one for one in told if one["direction"] == SENT)
    assert sent["interface"] == "veth0"


@pytest.mark.parametrize("family", BOTH, ids=FAMILY_NAMES.get)
def test_held_and_not_of_tcp(session: Session, family: int) -> None:
    """Nothing is left that names the firewall: no guess, at neither end."""
    spec = lab_spec("firewall-reject/nft-input")
    nobody = Expect(SENT, "unknown", end="server", confidence="unknown")
    told = play(
        session, replace(spec, run=reject_stranger, expect=(nobody, spec.expect[1])), family
    )
    assert "firewall" not in told[0]["summary"]
    assert "closed-port" not in told[1]["summary"]


# -- the fixture itself ----------------------------------------------------------------------------

KILLED = """
import os, signal, socket, sys
from rsttrace.lab.net import Lab
with Lab(socket.AF_INET6, sys.argv[1]):
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("topology", sorted(TOPOLOGIES))
def test_what_a_killed_lab_leaves_is_swept(topology: str) -> None:
    done = python(KILLED, topology)
    left = [RUN_NETNS / f"rsttrace-{int(done.out)}-{end}" for end in TOPOLOGIES[topology].ends]
    assert all(path.exists() for path in left)
    sweep()
    assert not any(path.exists() for path in left)
