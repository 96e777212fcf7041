"""Headers out of the first bytes of a packet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsttrace.packet import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, parse_packet, payload_kind

from .build import CLIENT_PORT, FLOW6, HERE, PORT, THERE, ipv4, ipv6, parsed, tcp_bytes

ESTABLISHED_OPTIONS = b"\x01\x01\x08\x0a" + b"\0" * 8
SYN_OPTIONS = b"\x02\x04\x05\xb4\x04\x02\x08\x0a" + b"\0" * 8 + b"\x01\x03\x03\x07"


def test_ipv4() -> None:
    p = parsed(ipv4(tcp_bytes(RST | ACK, seq=7, ack=9), ttl=61, ip_id=4711))
    assert (p.src, p.sport, p.dst, p.dport) == (THERE, CLIENT_PORT, HERE, PORT)
    assert (p.flags, p.seq, p.ack, p.window) == (RST | ACK, 7, 9, 502)
    assert (p.ttl, p.ip_id, p.length, p.payload, p.option_kinds) == (61, 4711, 0, b"", ())


def test_ipv6() -> None:
    p = parsed(ipv6(tcp_bytes(SYN, options=SYN_OPTIONS), hops=33))
    assert (p.src, p.dst, p.ttl, p.ip_id) == (FLOW6.remote, FLOW6.local, 33, None)
    assert p.option_kinds == (2, 4, 8, 1, 3)
    assert p.length == 0


def test_ip_options_are_skipped() -> None:
    p = parsed(ipv4(tcp_bytes(ACK, b"data"), options=b"\x94\x04\0\0"))
    assert (p.sport, p.length, p.payload) == (CLIENT_PORT, 4, b"data")


def test_payload_in_the_linear_part() -> None:
    p = parsed(ipv4(tcp_bytes(PSH | ACK, b"hello", ESTABLISHED_OPTIONS)))
    assert (p.length, p.payload, p.option_kinds) == (5, b"hello", (1, 1, 8))


def test_payload_from_a_fragment() -> None:
    """Only the headers were linear; the hook copied the first payload bytes apart."""
    raw = ipv4(tcp_bytes(PSH | ACK, b"x" * 100))
    assert parsed(raw, captured=40, payload=b"x" * 32).payload == b"x" * 32
    assert parsed(raw, captured=40).payload_kind == "unknown"
    assert parsed(raw, captured=40).length == 100


def test_fragment_bytes_beyond_the_payload_are_not_payload() -> None:
    raw = ipv4(tcp_bytes(PSH | ACK, b"ab"))
    assert parsed(raw, captured=40, payload=b"abcdef").payload == b"ab"


def test_ethernet_padding_is_no_payload() -> None:
    """A 40-byte RST fills up to 46 bytes on Ethernet; the IP header says how long it is."""
    raw = ipv4(tcp_bytes(RST)) + b"\0" * 6
    assert parsed(raw).length == 0


def test_length_of_a_big_packet() -> None:
    """BIG TCP: the length in the header is 0, the kernel's own counts."""
    raw = bytearray(ipv4(tcp_bytes(ACK, b"x" * 60)))
    raw[2:4] = b"\0\0"
    assert parsed(bytes(raw)).length == 60


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, "none"),
        (RST, "RST"),
        (RST | ACK, "RST+ACK"),
        (SYN | ACK, "SYN+ACK"),
        (SYN | FIN, "SYN+FIN"),
        (PSH | ACK | URG, "PSH+ACK+URG"),
        (ACK | ECE | CWR, "ACK"),
    ],
)
def test_flag_text(flags: int, text: str) -> None:
    packet = parsed(ipv4(tcp_bytes(flags)))
    assert packet.flag_text == text
    assert packet.has(SYN) == bool(flags & SYN)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", "unknown"),
        (b"GET / HTTP/1.1\r\n", "data"),
        (b"\x15\x03\x03\x00\x02\x01\x00", "tls-alert"),
        (b"\x15\x03\x01\x00\x1a" + b"\xaa" * 26, "tls-alert"),
        (b"\x15\x03\x03\x40\x00" + b"\xaa" * 20, "data"),  # no alert is that long
        (b"\x15\x03\x03\x00\x01\x01", "data"),  # nor that short
        (b"\x17\x03\x03\x00\x13" + b"\xaa" * 19, "tls-data"),
        (b"\x16\x03\x01\x02\x00\x01", "tls-handshake"),
        (b"\x14\x03\x03\x00\x01\x01", "tls-change-cipher"),
        (b"\x15\x09\x09\x00\x02\x01\x00", "data"),  # no version of TLS
        (b"\x18\x03\x03\x00\x02\x01\x00", "data"),
        (b"\x15\x03\x03", "data"),
    ],
)
def test_payload_kind(payload: bytes, kind: str) -> None:
    assert payload_kind(payload) == kind
    expected = kind if payload else None
    assert parsed(ipv4(tcp_bytes(ACK, payload))).payload_kind == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x45" * 19,
        ipv4(tcp_bytes(RST))[:39],  # a TCP header too short
        ipv6(tcp_bytes(RST))[:59],
        ipv6(tcp_bytes(RST))[:39],
        ipv4(b"\0" * 20, protocol=17),
        ipv6(b"\0" * 40, next_header=43),  # extension headers are not followed
        b"\x10" + b"\0" * 60,
    ],
)
def test_what_is_no_tcp_segment(raw: bytes) -> None:
    assert parse_packet(raw, len(raw)) is None


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (b"\x01\x01\x01\x00", (1, 1, 1)),  # 0 ends the list
        (b"\x02\x00\x05\xb4", (2,)),  # a length of 0 would never end
        (b"\x02\x01\x05\xb4", (2,)),
        (b"\x01\x01\x01\x08", (1, 1, 1, 8)),  # no length at all
        (b"\x08\xff\x00\x00", (8,)),
    ],
)
def test_damaged_options(options: bytes, kinds: tuple[int, ...]) -> None:
    assert parsed(ipv4(tcp_bytes(ACK, options=options))).option_kinds == kinds


def test_data_offset_within_the_header() -> None:
    """A data offset below 5 is a lie of the sender."""
    raw = bytearray(ipv4(tcp_bytes(RST)))
    raw[32] = 0
    packet = parsed(bytes(raw))
    assert packet.option_kinds == ()


WHOLE = st.sampled_from(
    [
        ipv4(tcp_bytes(ACK, b"\x15\x03\x03\x00\x02\x01\x00", ESTABLISHED_OPTIONS)),
        ipv6(tcp_bytes(SYN, options=SYN_OPTIONS)),
        ipv4(tcp_bytes(RST), options=b"\x94\x04\0\0"),
    ]
)


@given(raw=WHOLE, cut=st.integers(0, 120), total=st.integers(0, 70_000), payload=st.binary())
def test_truncated_input_never_raises(raw: bytes, cut: int, total: int, payload: bytes) -> None:
    packet = parse_packet(raw[:cut], total, payload)
    if packet:
        assert packet.length >= 0
        assert len(packet.payload) <= packet.length


@given(raw=WHOLE, noise=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=8))
def test_damaged_headers_never_raise(raw: bytes, noise: list[tuple[int, int]]) -> None:
    damaged = bytearray(raw)
    for place, value in noise:
        damaged[place % len(damaged)] = value
    packet = parse_packet(bytes(damaged), len(damaged))
    if packet:
        assert packet.payload_kind in {
            None, "unknown", "data", "tls-alert", "tls-data", "tls-handshake", "tls-change-cipher"
        }  # fmt: skip
        assert len(packet.option_kinds) <= 40


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_any_bytes_never_raise(raw: bytes, total: int, payload: bytes) -> None:
    packet = parse_packet(raw, total, payload)
    assert packet is None or 0 <= packet.flags <= 0xFF
