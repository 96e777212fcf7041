"""In which network namespaces an address is a local one, and in which a process is.

The question: ``{"addresses": [...], "pids": [...]}``; an address is 16 bytes in hexadecimal, IPv4
as ``::ffff:a.b.c.d``. The answer: ``{"local": {address: [inode, ...]}, "namespaces": [inode, ...],
"all": bool, "pids": {pid: inode}}``; ``all``: every namespace could be asked. It is the route that
is asked for: the kernel answers that without waiting for whoever changes devices just now.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from typing import Any

from rsttrace.enrich.answers.namespaces import enter, namespaces
from rsttrace.enrich.sources import _netlink

RTM_GETROUTE, RTA_DST, RTN_LOCAL = 26, 1, 2
RTMSG = struct.Struct("=BBBBBBBBI")  # family, length of the destination ... type, flags
ATTRIBUTE = struct.Struct("=HH")
V4 = bytes(10) + b"\xff\xff"


def answer(about: Any) -> dict[str, Any]:
    """As it is now."""
    local: dict[str, list[int]] = {address: [] for address in about["addresses"]}
    pids = {str(pid): inode for pid in about["pids"] if (inode := _namespace_of(pid))}
    seen, every = [], True
    for inode, path in namespaces():
        try:
            enter(path, inode)
            mine = _local(local)
        except FileNotFoundError:
            continue  # it is gone
        except OSError:
            every = False
            continue
        seen.append(inode)
        for address in mine:
            local[address].append(inode)
    return {"local": local, "namespaces": seen, "all": every, "pids": pids}


def _namespace_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{int(pid)}/ns/net").st_ino
    return 0


def _local(addresses: Iterable[str]) -> list[str]:
    return [address for address in addresses if is_local(bytes.fromhex(address))]


def is_local(address: bytes) -> bool:
    """Does this namespace take packets to it for its own?"""
    family, plain = socket.AF_INET6, address
    if address.startswith(V4):
        family, plain = socket.AF_INET, address[len(V4) :]
    body = RTMSG.pack(family, 8 * len(plain), 0, 0, 0, 0, 0, 0, 0)
    body += ATTRIBUTE.pack(ATTRIBUTE.size + len(plain), RTA_DST) + plain
    size = _netlink.HEADER.size + len(body)
    head = _netlink.HEADER.pack(size, RTM_GETROUTE, _netlink.NLM_F_REQUEST, 1, 0)
    try:
        found = _netlink.one(_netlink.ROUTE, head + body)
    except OSError:
        return False  # no way there, so it is not here
    return bool(RTMSG.unpack_from(found, _netlink.HEADER.size)[7] == RTN_LOCAL)
