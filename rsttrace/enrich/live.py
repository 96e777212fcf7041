"""Answers from the running system: /proc and /run/netns. Cached, bounded in time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rsttrace.enrich import Process
from rsttrace.enrich.asking import NO_HELPER, FirewallMemory
from rsttrace.enrich.firewall import Firewall
from rsttrace.output import printable

PROC = Path("/proc")
RUN_NETNS = Path("/run/netns")
SCAN_SECONDS = 0.2
SCAN_BURST = 0.5  # seconds of scanning at once
SCAN_SHARE = 0.1  # of the time, in the long run
CACHE_SECONDS = 2.0
NEW_NAMESPACE_SECONDS = 0.1
CACHE_SIZE = 4096

Noted = Callable[[str, str, object], None]


def not_noted(_kind: str, _key: str, _value: object) -> None:
    """Nobody records the answers."""


class LiveContext:
    """Context of this host. ``noted(kind, key, answer)`` is told every new answer.

    ``rules_of`` asks for the firewall rules of a namespace (asking.Broker).
    """

    def __init__(
        self, noted: Noted = not_noted, rules_of: Callable[[int], Firewall] | None = None
    ) -> None:
        self._noted = noted
        self._firewalls = FirewallMemory(rules_of or (lambda _netns: NO_HELPER), noted)
        self._processes: dict[int, tuple[float, Process | None]] = {}
        self._owners: dict[int, int] = {}
        self._credit = SCAN_BURST
        self._credited = time.monotonic()
        self._netns: dict[int, str] = {}
        self._named = -CACHE_SECONDS
        self._told: dict[int, str | None] = {}

    def process(self, pid: int) -> Process | None:
        """From /proc/PID; remembered, so that a process that just died keeps its name."""
        now = time.monotonic()
        age, known = self._processes.get(pid, (0.0, None))
        if known and now - age < CACHE_SECONDS:
            return known
        fresh = read_process(pid) or known
        if len(self._processes) >= CACHE_SIZE:
            self._processes.clear()
        self._processes[pid] = (now, fresh)
        if fresh and fresh != known:
            self._noted("process", str(pid), [fresh.comm, fresh.exe, fresh.cmdline, fresh.cgroup])
        return fresh

    def socket_owner(self, inode: int) -> int | None:
        """By the links in /proc/PID/fd, at most SCAN_SECONDS per scan."""
        if inode in self._owners and _holds(self._owners[inode], inode):
            return self._owners[inode]
        if self._may_scan():
            self._scan()
        pid = self._owners.get(inode)
        if pid is not None:
            self._noted("owner", str(inode), pid)
        return pid

    def _may_scan(self) -> bool:
        """A scan is dear on a large host: a burst, then a tenth of the time at most."""
        now = time.monotonic()
        self._credit = min(SCAN_BURST, self._credit + (now - self._credited) * SCAN_SHARE)
        self._credited = now
        return self._credit > 0

    def _scan(self) -> None:
        start = time.monotonic()
        found: dict[int, int] = {}
        for pid in pids():
            for inode in socket_inodes(pid):
                found.setdefault(inode, pid)
            if time.monotonic() - start > SCAN_SECONDS:
                break
        self._owners = {**self._owners, **found} if len(self._owners) < CACHE_SIZE else found
        self._credit -= time.monotonic() - start

    def netns_name(self, inode: int) -> str | None:
        """``host`` for process 1's, else the name under /run/netns, else None."""
        now = time.monotonic()
        patience = CACHE_SECONDS if inode in self._netns else NEW_NAMESPACE_SECONDS
        if now - self._named > patience:
            self._netns, self._named = _netns_names(), now
        name = self._netns.get(inode)
        if self._told.get(inode, "") != name:
            self._told[inode] = name
            self._noted("netns", str(inode), name)
        return name

    def firewall(self, netns: int, time_ns: int) -> Firewall:
        """From the helper process, soon after ``time_ns``; remembered."""
        return self._firewalls.firewall(netns, time_ns)


def pids() -> Iterator[int]:
    """Processes that exist now."""
    try:
        names = os.listdir(PROC)
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


def socket_inodes(pid: int) -> Iterator[int]:
    """Inodes of the sockets a process has open; nothing if it is gone or hidden."""
    directory = f"{PROC}/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        try:
            link = os.readlink(f"{directory}/{name}")
        except OSError:
            continue
        if link.startswith("socket:["):
            yield int(link[8:-1])


def _holds(pid: int, inode: int) -> bool:
    return inode in socket_inodes(pid)


def read_process(pid: int) -> Process | None:
    """What /proc says of a process, None if it is gone."""
    base = PROC / str(pid)
    try:
        comm = printable((base / "comm").read_bytes().removesuffix(b"\n"))
        raw = (base / "cmdline").read_bytes()
    except OSError:
        return None
    try:
        exe = printable(os.fsencode(os.readlink(base / "exe")))
    except OSError:
        exe = ""
    cmdline = printable(raw.rstrip(b"\0").replace(b"\0", b" "))
    return Process(pid, comm, exe, cmdline, _cgroup(base))


def _cgroup(base: Path) -> str:
    """Path in the unified hierarchy (cgroups(7)), empty if it is not known."""
    with contextlib.suppress(OSError):
        for line in (base / "cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line[3:]
    return ""


def _netns_names() -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        entries = list(RUN_NETNS.iterdir())
    except OSError:
        entries = []
    for entry in entries:
        try:
            names[entry.stat().st_ino] = entry.name
        except OSError:
            continue
    with contextlib.suppress(OSError):
        names[os.stat(PROC / "1" / "ns" / "net").st_ino] = "host"
    return names
