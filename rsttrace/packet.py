"""IPv4, IPv6 and TCP headers (RFC 791, 8200, 9293), parsed from the first bytes of a packet."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
_FLAG_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG"))

TLS_ALERT = 0x15
TLS_RECORD_TYPES = {0x14: "tls-change-cipher", 0x15: "tls-alert", 0x16: "tls-handshake"}
TLS_DATA = 0x17


def signed(difference: int) -> int:
    """A difference of sequence numbers (RFC 9293 3.4), -2^31 to 2^31 - 1."""
    return (difference + (1 << 31)) % (1 << 32) - (1 << 31)


@dataclass(frozen=True)
class Packet:
    """A TCP segment. ``length`` is its payload in bytes, ``payload`` what was captured of it.

    ``option_kinds`` are the TCP option kinds in order (RFC 9293 3.2), ``ttl`` the TTL or hop
    limit, ``ip_id`` None and ``df`` (Don't Fragment) False on IPv6.
    """

    src: str
    dst: str
    sport: int
    dport: int
    flags: int
    seq: int
    ack: int
    window: int
    ttl: int
    ip_id: int | None
    length: int
    payload: bytes
    option_kinds: tuple[int, ...]
    df: bool = False

    @property
    def flag_text(self) -> str:
        """``SYN+ACK`` and the like."""
        return "+".join(name for bit, name in _FLAG_NAMES if self.flags & bit) or "none"

    def has(self, flag: int) -> bool:
        """Is this flag set?"""
        return bool(self.flags & flag)

    @property
    def payload_kind(self) -> str | None:
        """What the payload is: ``tls-alert``, ``tls-data``, ``data``, or None if empty.

        ``unknown`` if there is payload that could not be read.
        """
        if not self.length:
            return None
        return payload_kind(self.payload)


def payload_kind(payload: bytes) -> str:
    """Classify first payload bytes by the TLS record header (RFC 8446 5.1)."""
    if not payload:
        return "unknown"
    if len(payload) < 5:
        return "data"
    kind, version, length = struct.unpack_from(">BHH", payload)
    if version not in (0x0300, 0x0301, 0x0302, 0x0303, 0x0304):
        return "data"
    if kind == TLS_ALERT:
        # an alert is two bytes in the clear, two dozen or so when encrypted
        return "tls-alert" if 2 <= length <= 64 else "data"
    if kind == TLS_DATA:
        return "tls-data"
    return TLS_RECORD_TYPES.get(kind, "data")


def parse_packet(raw: bytes, total: int, payload: bytes = b"") -> Packet | None:
    """Parse from the network header on; None if it is no complete TCP header.

    ``total`` is the packet's length in bytes from the network header, ``payload`` its first
    payload bytes where they are not part of ``raw``.
    """
    if len(raw) < 20:
        return None
    version = raw[0] >> 4
    if version == 4:
        header = (raw[0] & 15) * 4
        ip_total, ip_id = struct.unpack_from(">HH", raw, 2)
        ttl, protocol = raw[8], raw[9]
        src: object = ipaddress.IPv4Address(raw[12:16])
        dst: object = ipaddress.IPv4Address(raw[16:20])
    elif version == 6 and len(raw) >= 40:
        header, ip_id, ttl, protocol = 40, None, raw[7], raw[6]
        ip_total = struct.unpack_from(">H", raw, 4)[0] + 40
        src, dst = ipaddress.IPv6Address(raw[8:24]), ipaddress.IPv6Address(raw[24:40])
    else:
        return None
    if protocol != 6 or len(raw) < header + 20:
        return None
    sport, dport, seq, ack, off_flags, window = struct.unpack_from(">HHIIHH", raw, header)
    tcp_header = (off_flags >> 12) * 4
    start = header + tcp_header
    length = max(0, (ip_total if ip_total > header else total) - start)
    linear = raw[start : start + length]
    return Packet(
        src=str(src),
        dst=str(dst),
        sport=sport,
        dport=dport,
        flags=off_flags & 0xFF,
        seq=seq,
        ack=ack,
        window=window,
        ttl=ttl,
        ip_id=ip_id,
        length=length,
        payload=linear or payload[:length],
        option_kinds=_option_kinds(raw[header + 20 : start]),
        df=version == 4 and bool(raw[6] & 0x40),
    )


def _option_kinds(options: bytes) -> tuple[int, ...]:
    kinds = []
    i = 0
    while i < len(options) and options[i] != 0:
        kinds.append(options[i])
        if options[i] == 1:
            i += 1
        elif i + 1 < len(options) and options[i + 1] >= 2:
            i += options[i + 1]
        else:
            break
    return tuple(kinds)
