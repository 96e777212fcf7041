"""The parts of the labs that need no kernel."""

from __future__ import annotations

import socket
import struct

import pytest

from rsttrace.lab import find, labs, tcp
from rsttrace.lab.base import Expect
from rsttrace.lab.errors import LabError
from rsttrace.lab.runner import differences, look_up
from rsttrace.packet import ACK, PSH, parse_packet

from .build import A2, HERE, THERE, decided, explained, ipv4, sent_reset, sock


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
@pytest.mark.parametrize(
    ("source", "target"), [((THERE, 1), (HERE, 2)), (("fd00::9", 1), ("fd00::5", 2))]
)
def test_hand_made_segment(
    source: tuple[str, int], target: tuple[str, int], payload: bytes
) -> None:
    raw = tcp.segment(source, target, tcp.PSH | tcp.ACK, 7, 9, payload)
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    pseudo = b"".join(socket.inet_pton(family, a) for a, _ in (source, target))
    assert checksum(pseudo + struct.pack("!II", len(raw), 6) + raw) == 0xFFFF
    packet = parse_packet(ipv4(raw), 0)
    assert packet
    assert (packet.sport, packet.dport, packet.seq, packet.ack) == (1, 2, 7, 9)
    assert (packet.flags, packet.payload) == (PSH | ACK, payload)


def test_find() -> None:
    assert {spec.name for spec in find("closed-port")} > {"closed-port/plain"}
    assert [spec.name for spec in find("closed-port/plain")] == ["closed-port/plain"]
    assert find("nosuch") == ()
    assert len({spec.name for spec in labs()}) == len(labs())
    assert all(spec.doc for spec in labs())


def test_look_up() -> None:
    assert look_up({"a": {"b": 1}}, "a.b") == 1
    assert look_up({"a": None}, "a.b") is None
    assert look_up({}, "a") is None


def test_differences() -> None:
    one = explained(sent_reset(decided(A2, sock=sock(flags=16))))
    right = Expect("sent", "linger-zero", end="server", state="CLOSE", facts={"socket.linger": 0})
    assert differences(right, one, "server") == []
    assert differences(right, one, "client") == ["at the client"]
    wrong = Expect("received", "linger-zero", end="server", state="LISTEN")
    assert differences(wrong, one, "server") == [
        "direction is 'sent', not 'received'",
        "state is 'CLOSE', not 'LISTEN'",
    ]


def test_must_fail() -> None:
    def refuse(*_: object) -> None:
        raise ConnectionResetError(104, "reset")

    tcp.must_fail(104, refuse)
    with pytest.raises(LabError, match="expected EPIPE"):
        tcp.must_fail(32, refuse)
    with pytest.raises(LabError, match="but the call returned 5"):
        tcp.must_fail(104, lambda: 5)
