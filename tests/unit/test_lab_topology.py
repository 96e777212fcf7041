"""How the namespaces of labs are joined: the parts that need no kernel."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest

from rsttrace.lab import labs, tcp
from rsttrace.lab.base import LabSpec
from rsttrace.lab.net import Lab
from rsttrace.lab.runner import only_labs
from rsttrace.lab.topology import ADDRESSES, ENDS, TOPOLOGIES, Topology
from rsttrace.packet import RST, parse_packet

FAMILIES = (socket.AF_INET, socket.AF_INET6)
PREFIXES = {socket.AF_INET: 24, socket.AF_INET6: 64}

each = pytest.mark.parametrize("name", sorted(TOPOLOGIES))


def subnet(address: str, family: int) -> object:
    return ipaddress.ip_interface(f"{address}/{PREFIXES[family]}").network


@each
def test_ends(name: str) -> None:
    topology = TOPOLOGIES[name]
    middle = () if name == "direct" else (name,)
    assert topology.ends == (*ENDS, *middle)
    assert {port.end for port in topology.ports} == {*topology.ends}
    assert len({(port.end, port.device) for port in topology.ports}) == len(topology.ports)


@pytest.mark.parametrize("family", FAMILIES)
@each
def test_client_and_server_have_addresses(name: str, family: int) -> None:
    """A router stands between two subnets, a bridge and a wire within one."""
    found = TOPOLOGIES[name].addresses(family)
    assert {*ENDS} <= {*found}
    subnets = {subnet(found[end], family) for end in ENDS}
    assert len(subnets) == (2 if name == "router" else 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_gateways_are_the_other_end_of_the_wire(family: int) -> None:
    for near, far in TOPOLOGIES["router"].wires:
        assert near.end in ENDS
        assert near.gateway
        assert far.addresses
        assert near.addresses
        assert near.gateway[family] == far.addresses[family]
        assert subnet(near.addresses[family], family) == subnet(far.addresses[family], family)


@each
def test_the_filter_of_lab_run_has_every_address(name: str) -> None:
    topology: Topology = TOPOLOGIES[name]
    used = {a for p in topology.ports for a in (p.addresses or {}).values()}
    assert used <= ADDRESSES == {*only_labs().addresses}
    assert {*Lab(socket.AF_INET6, name).address.values()} <= ADDRESSES


def test_every_lab_names_a_topology_and_expects_at_its_ends() -> None:
    def stranger(spec: LabSpec) -> bool:
        return not {e.end for e in spec.expect} <= {*TOPOLOGIES[spec.topology].ends}

    assert [spec.name for spec in labs() if stranger(spec)] == []
    assert {spec.topology for spec in labs()} == {*TOPOLOGIES}


@pytest.mark.parametrize(
    ("source", "target"), [("10.87.1.2", "10.87.0.1"), ("fd00:87:0:1::2", "fd00:87::1")]
)
def test_hand_made_packet(source: str, target: str) -> None:
    segment = tcp.segment((source, 80), (target, 4242), tcp.RST, 7)
    raw = tcp.ip_packet(source, target, segment, ttl=37, ip_id=9)
    packet = parse_packet(raw, len(raw))
    assert packet
    assert (packet.src, packet.dst, packet.sport, packet.dport) == (source, target, 80, 4242)
    assert (packet.flags, packet.ttl, packet.seq, packet.length) == (RST, 37, 7, 0)
    if packet.ip_id is not None:
        assert (packet.ip_id, raw[6]) == (9, 0x40)  # DF
        words = sum(struct.unpack("!10H", raw[:20]))
        assert (words & 0xFFFF) + (words >> 16) == 0xFFFF  # RFC 1071
