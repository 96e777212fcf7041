"""The user's filter as a C expression over ``struct record *r``, run inside the kernel. Pure."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from dataclasses import dataclass

# net_dev_queue stays for received ones: it tells those that only pass through
SENT_HOOKS = ("tcp_send_reset",)
RECEIVED_HOOKS = ("tcp_receive_reset", "netif_receive_skb")

# IPv4 addresses are kept as ::ffff:a.b.c.d: ten zero bytes, then two of 0xff
_IS_V4 = (
    "(((u64 *)(r)->laddr)[0] == 0 && ((u32 *)(r)->laddr)[2] == {marker} && "
    "((u64 *)(r)->raddr)[0] == 0 && ((u32 *)(r)->raddr)[2] == {marker})"
)


@dataclass(frozen=True)
class Filter:
    """What to watch; an empty field means no limit.

    Ports are ranges, both ends included; ``netns`` inode numbers; ``direction`` sent,
    received or None.
    """

    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    local_ports: tuple[tuple[int, int], ...] = ()
    remote_ports: tuple[tuple[int, int], ...] = ()
    family: int | None = None
    netns: tuple[int, ...] = ()
    direction: str | None = None

    @property
    def skipped_hooks(self) -> tuple[str, ...]:
        """Hooks that need not be attached at all."""
        if self.direction == "sent":
            return RECEIVED_HOOKS
        return SENT_HOOKS if self.direction == "received" else ()


def _any_of(terms: Iterable[str]) -> str:
    return "(" + " || ".join(terms) + ")"


def _words(address: str) -> list[int]:
    ip = ipaddress.ip_address(address)
    raw = ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed
    return [int.from_bytes(raw[i : i + 8], sys.byteorder) for i in (0, 8)]


def _has_address(address: str) -> str:
    low, high = _words(address)
    ends = (
        f"(((u64 *)(r)->{end})[0] == {low:#x}ULL && ((u64 *)(r)->{end})[1] == {high:#x}ULL)"
        for end in ("laddr", "raddr")
    )
    return _any_of(ends)


def _in_range(end: str, low: int, high: int) -> str:
    return f"((r)->{end} >= {low} && (r)->{end} <= {high})"


def c_expression(f: Filter) -> str:
    """C that is true for a record to keep."""
    terms = []
    if f.addresses:
        terms.append(_any_of(_has_address(a) for a in f.addresses))
    terms += [
        _any_of(_in_range(end, low, high) for low, high in ranges for end in ends)
        for ranges, ends in (
            (f.ports, ("lport", "rport")),
            (f.local_ports, ("lport",)),
            (f.remote_ports, ("rport",)),
        )
        if ranges
    ]
    if f.netns:
        terms.append(_any_of(f"IN_NETNS(r, {n})" for n in f.netns))
    if f.family:
        marker = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)
        is_v4 = _IS_V4.format(marker=f"{marker:#x}")
        terms.append(is_v4 if f.family == 4 else f"!{is_v4}")
    return " && ".join(terms) or "1"
