"""Who has a socket open, by the links in /proc/PID/fd. Bounded in time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
BURST_SECONDS = 0.02  # of searching at once
EARNED_SECONDS = 0.001  # what each search adds: a host with many open files must not slow a trace
PATIENT_BURST, PATIENT_EARNED = 0.1, 0.005
LEAST_SECONDS = 0.0005  # less is not worth a search
CHILDREN = 64
LOOKS = 64  # links between two looks at the clock
REMEMBERED = 100_000  # sockets

Held = tuple[int, str]  # pid and descriptor


class Owners:
    """Remembers who held a socket; searches the likely processes first, then all.

    ``meanwhile`` is called at least every few milliseconds.
    """

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._meanwhile = meanwhile
        self._known: dict[int, Held] = {}
        self._burst_s = self._left = BURST_SECONDS
        self._earned_s = EARNED_SECONDS
        self._from = 0

    def be_patient(self) -> None:
        """Search longer: for a report at the end, not for live output."""
        self._burst_s = self._left = PATIENT_BURST
        self._earned_s = PATIENT_EARNED

    def learn(self, places: dict[int, Held]) -> None:
        """Who holds which socket now."""
        self._known = places if len(places) <= REMEMBERED else {}

    def find(self, inode: int, likely: Iterable[int] = ()) -> int | None:
        """A process that has the socket with this inode number open, or had when last seen."""
        known = self._known.get(inode)
        if known and _socket(*known) == inode:
            return known[0]
        self._known.pop(inode, None)
        self._left = min(self._burst_s, self._left + self._earned_s)
        if self._left >= LEAST_SECONDS:
            begun = time.monotonic()
            self._search(inode, likely, begun + self._left)
            self._left -= time.monotonic() - begun  # what it took too long, the next ones save
        if known:  # closed, and nobody else was seen to have it
            self._known.setdefault(inode, known)
        found = self._known.get(inode)
        return found[0] if found else None

    def _search(self, inode: int, likely: Iterable[int], end: float) -> None:
        """Until the socket is found, the time is over or all were looked at."""
        for pid in _families(likely):
            if not self._look(pid, end) or self._holds(pid, inode):
                return
        # where the last search of all processes ended
        for pid in sorted(pids(), key=lambda pid: (pid < self._from, pid)):
            if not self._look(pid, end):
                self._from = pid
                return
            if self._holds(pid, inode):
                return
        self._from = 0

    def _holds(self, pid: int, inode: int) -> bool:
        return self._known.get(inode, (0, ""))[0] == pid

    def _look(self, pid: int, end: float) -> bool:
        """Note the sockets of a process; False if there is no time for all."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        for number, descriptor in enumerate(_descriptors(pid)):
            if number % LOOKS == 0:
                self._meanwhile()
                if time.monotonic() >= end:
                    return False
            if found := _socket(pid, descriptor):
                self._known[found] = pid, descriptor
        return time.monotonic() < end


def everyone() -> dict[int, Held]:
    """The owner of every socket of this host now, by inode number."""
    found: dict[int, Held] = {}
    for pid in pids():
        for descriptor in _descriptors(pid):
            if inode := _socket(pid, descriptor):
                found.setdefault(inode, (pid, descriptor))
    return found


def pids() -> Iterator[int]:
    """Processes that exist now."""
    try:
        names = os.listdir(PROC)
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


def _families(likely: Iterable[int]) -> Iterator[int]:
    """These processes, then their children."""
    found = [pid for pid in likely if pid]
    yield from found
    for pid in found:
        with contextlib.suppress(OSError, ValueError):
            children = Path(f"{PROC}/{pid}/task/{pid}/children").read_text().split()
            yield from (int(child) for child in children[:CHILDREN])


def _descriptors(pid: int) -> Iterator[str]:
    """As the kernel gives them, not all at once: there may be many thousands."""
    with contextlib.suppress(OSError), os.scandir(f"{PROC}/{pid}/fd") as entries:
        for entry in entries:
            yield entry.name


def _socket(pid: int, descriptor: str) -> int:
    """Inode of the socket that a process has open there, 0 for none."""
    try:
        link = os.readlink(f"{PROC}/{pid}/fd/{descriptor}")
    except OSError:
        return 0
    return int(link[8:-1]) if link.startswith("socket:[") else 0
