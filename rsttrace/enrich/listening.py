"""The listening sockets of every namespace at start, from /proc/PID/net/tcp and tcp6.

Later changes come as records (listeners.py). Needs the right to look into other processes.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rsttrace.enrich.live import read_process
from rsttrace.enrich.owners import PROC, Held, pids
from rsttrace.listeners import Listener

LISTEN_STATE = "0A"


def listening(owners: Mapping[int, Held]) -> list[Listener]:
    """All listeners of all namespaces that have a process; ``owners`` as owners.everyone()."""
    spaces: dict[int, int] = {}
    for pid in pids():
        try:
            space = os.stat(PROC / str(pid) / "ns" / "net").st_ino
        except OSError:
            continue
        spaces.setdefault(space, pid)
    found = []
    for space, pid in spaces.items():
        for name in ("tcp", "tcp6"):
            found += _read_table(PROC / str(pid) / "net" / name, space, owners)
    return found


def _read_table(path: Path, netns: int, owners: Mapping[int, Held]) -> list[Listener]:
    found = []
    try:
        with path.open() as file:
            next(file, None)
            for line in file:
                fields = line.split()
                if fields[3] != LISTEN_STATE:
                    break  # the kernel lists the listeners first
                found.append(_listener(fields, netns, owners))
    except (OSError, IndexError, ValueError):
        return found
    return found


def _listener(fields: list[str], netns: int, owners: Mapping[int, Held]) -> Listener:
    address, port = fields[1].split(":")
    inode = int(fields[9])
    pid = owners.get(inode, (0, ""))[0]
    process = read_process(pid) if pid else None
    return Listener(
        netns, _address(address), int(port, 16), inode, pid, process.comm if process else ""
    )


def _address(text: str) -> str:
    """The kernel prints each 32-bit word of an address in host order."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    if len(raw) == 4:
        return str(ipaddress.IPv4Address(raw))
    v6 = ipaddress.IPv6Address(raw)
    return str(v6.ipv4_mapped or v6)
