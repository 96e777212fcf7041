"""What may happen to a RST, or to a connection, between its two ends, and to the fixture itself."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.lab import closed_port, firewall_reject, tcp
from rsttrace.lab.base import Expect, Lab
from rsttrace.lab.namespace import RUN_NETNS, sweep
from rsttrace.lab.runner import FAMILY_NAMES
from rsttrace.lab.topology import TOPOLOGIES
from rsttrace.model import RECEIVED, SENT
from rsttrace.records import at
from rsttrace.session import Session

from .conftest import Starter, command, live_session, python
from .playing import BOTH, addresses, check_ends, expected, lab_spec, play

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One trace for all."""
    with live_session() as live:
        live.pipeline.since_ns = None  # as `lab run`: the namespaces are younger than the trace
        yield live


def published_port(lab: Lab) -> None:
    """Port 80 of the router is port 8080 of the server, as a container engine publishes it."""
    kind, server = "ip", f"{lab.address['server']}:8080"
    if lab.family == socket.AF_INET6:
        kind, server = "ip6", f"[{lab.address['server']}]:8080"
    nat = f"""table inet lab {{
        chain in {{ type nat hook prerouting priority -100; tcp dport 80 dnat {kind} to {server}; }}
        chain out {{ type nat hook postrouting priority 100; oifname veth-server masquerade; }}
    }}
    """
    lab.prepare("router", "nft", "-f", "-", input=nat)
    listener, client = lab.listen(port=8080), lab.socket("client")
    client.connect((lab.address["router"], 80))
    server_end = lab.accept(listener)
    lab.talk(client, server_end)
    tcp.linger_zero(server_end)
    server_end.close()
    lab.wait_reset(client)


@pytest.mark.parametrize("family", BOTH, ids=FAMILY_NAMES.get)
def test_addresses_changed_on_the_way(session: Session, family: int) -> None:
    """No end has the addresses of the other end's record, and still they find each other."""
    spec = expected(lab_spec("linger-zero/established"), "router")
    sent, passed, got = play(session, replace(spec, run=published_port), family)
    server, client = addresses("router", family)
    router = TOPOLOGIES["router"].addresses(family)["router"]
    assert (sent["local"]["address"], sent["local"]["port"]) == (server, 8080)
    assert passed["local"] == got["remote"] == {"address": router, "port": 80}
    assert passed["remote"]["address"] == got["local"]["address"] == client
    assert (sent["peer_id"], got["peer_id"]) == (got["id"], sent["id"])
    assert f"linger-zero by {sent['process']['comm']}" in got["summary"]
    assert f"made on this host, by {at(server, 8080)}" in passed["summary"]


# -- a firewall on the way -------------------------------------------------------------------------


def cut_on_the_way(lab: Lab) -> None:
    """The router's rule comes while the connection lives. The server hears nothing of it."""
    client, server = lab.pair()
    port = server.getsockname()[1]
    lab.firewall("router", "forward", f"tcp dport {port} reject with tcp reset")
    client.sendall(b"next request\n")
    lab.wait_reset(client)
    assert tcp.info(server).state == "ESTABLISHED"


@pytest.mark.parametrize("family", BOTH, ids=FAMILY_NAMES.get)
def test_firewall_of_a_router(session: Session, family: int) -> None:
    """The RST has the server's address, but neither record blames the server for it."""
    by_firewall = {"initiator": "local-firewall", "phase": "transfer"}
    promised = (
        Expect(SENT, "firewall-reject", end="router", facts=by_firewall),
        Expect(RECEIVED, "middlebox-reset", end="client", state="ESTABLISHED", facts=by_firewall),
    )
    plain = lab_spec("firewall-reject/nft-forward")
    told = play(session, replace(plain, run=cut_on_the_way, expect=promised), family)
    check_ends(told, *addresses("router", family))
    server = f"{addresses('router', family)[0]}"
    made, got = told
    assert "the forward hook rejected PSH+ACK" in made["summary"]
    assert made["process"]["role"] == "current"
    assert got["errno"] == "ECONNRESET"
    assert got["summary"].startswith("The firewall of a router or bridge on this host reset")
    assert server in got["summary"].rpartition(";")[2]  # it "itself did not"


@pytest.mark.parametrize("name", ["raw", "forged-source", "packet"])
def test_the_tool_is_named(session: Session, name: str) -> None:
    """At both ends, by the process that wrote the packet."""
    sent, got = play(session, lab_spec(f"injected-by-local-tool/{name}"), socket.AF_INET)
    assert sent["process"]["pid"] == os.getpid()
    assert f"[{os.getpid()}] sent a reset through a" in sent["summary"]
    assert f"[{os.getpid()}], on this host, made the reset" in got["summary"]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_router_lab_interrupted(start: Starter, number: int) -> None:
    """All three namespaces are there; none is afterwards."""
    running = start(command("lab", "run", "forwarded-reset", "-1"), start_new_session=True)
    spaces = f"rsttrace-{running.pid}-*"
    running.wait_for(lambda: len(list(RUN_NETNS.glob(spaces))) == 3, "three namespaces")
    os.killpg(running.pid, number)
    assert running.end().clean().code == 130
    assert list(RUN_NETNS.glob(spaces)) == []


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
