"""In which network namespace was it? For records that do not know (no BTF): the one that has the
local address, if only one of this host has it. Anything else stays unknown, which is 0.
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Mapping
from typing import Any

from rsttrace.enrich.answering import Helper
from rsttrace.enrich.asking import FRESH_SECONDS, LEAST_SECONDS, Credit
from rsttrace.layout import Layout

LISTEN = 10
PIDS, ADDRESSES = 32, 64  # of one question
REMEMBERED = 4096  # listeners
_USED = ("laddr", "netns", "kind", "pid", "sk", "sk_state")


class Whose:
    """Fills in the namespace of raw records, by asking the helper process what is where now."""

    def __init__(self, layout: Layout, helper: Helper, credit: Credit | None = None) -> None:
        self._helper = helper
        self._credit = credit or Credit()
        self._places = _places(layout)
        self._state_kind = layout.numbers["KIND_INET_SOCK_SET_STATE"]
        self._told: Mapping[str, Any] = {}
        self._told_at = -FRESH_SECONDS
        self._listening: dict[int, int] = {}

    def be_patient(self, seconds: float) -> None:
        """Ask more often, and wait longer: nobody waits for each reset."""
        self._credit.be_patient(seconds)

    def fill(self, raw: list[bytes]) -> list[bytes]:
        """The same records, with the namespace where it can be told."""
        known = [self._read(one) for one in raw]
        if all(one["netns"] for one in known):
            return raw
        self._ask([one for one in known if not one["netns"]])
        return [self._with(data, self._find(one)) for data, one in zip(raw, known)]

    def _read(self, raw: bytes) -> dict[str, Any]:
        places = self._places
        return {name: struct.unpack_from(code, raw, at)[0] for name, (at, code) in places.items()}

    def _with(self, raw: bytes, netns: int) -> bytes:
        at, code = self._places["netns"]
        filled = struct.pack(code, netns)
        return raw[:at] + filled + raw[at + len(filled) :]

    def _begins_to_listen(self, one: Mapping[str, Any]) -> bool:
        return bool(one["kind"] == self._state_kind and one["sk_state"] == LISTEN)

    def _ask(self, records: list[dict[str, Any]]) -> None:
        wait_s = self._credit.wait("addresses")
        if wait_s < LEAST_SECONDS:
            return
        pids = {one["pid"] for one in records if self._begins_to_listen(one)}
        addresses = {one["laddr"].hex() for one in records if not _is_everywhere(one["laddr"])}
        about = {"addresses": sorted(addresses)[:ADDRESSES], "pids": sorted(pids)[:PIDS]}
        with self._credit.spending():
            found = self._helper.ask("addresses", about, wait_s)
        if found is not None:
            self._told, self._told_at = found, time.monotonic()

    def _find(self, one: Mapping[str, Any]) -> int:
        if one["netns"]:
            return int(one["netns"])
        fresh = time.monotonic() - self._told_at <= FRESH_SECONDS
        netns = self._by_address(one["laddr"]) if fresh else 0
        if self._begins_to_listen(one):
            if fresh and not netns:  # it listens on every address: where its process is
                netns = int(self._told["pids"].get(str(one["pid"]), 0))
            self._remember(one["sk"], netns)
        return netns or self._listening.get(one["sk"], 0)

    def _remember(self, sk: int, netns: int) -> None:
        self._listening.pop(sk, None)
        self._listening[sk] = netns
        if len(self._listening) > REMEMBERED:
            del self._listening[next(iter(self._listening))]

    def _by_address(self, address: bytes) -> int:
        if not self._told["all"]:
            return 0
        local = self._told["local"].get(address.hex(), ())
        found = self._told["namespaces"] if _is_everywhere(address) else local
        return int(found[0]) if len(found) == 1 else 0


def _is_everywhere(address: bytes) -> bool:
    """Loopback, or not bound to any."""
    v6 = ipaddress.IPv6Address(address)
    plain = v6.ipv4_mapped or v6
    return plain.is_loopback or plain.is_unspecified


def _places(layout: Layout) -> dict[str, tuple[int, str]]:
    """Where the fields are in a raw record: offset and struct code."""
    found, at = {}, 0
    for name, code in layout.fields:
        if name in _USED:
            found[name] = (at, f"={code}")
        at += struct.calcsize(f"={code}")
    return found
