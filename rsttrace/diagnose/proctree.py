"""Processes and their parents as /proc shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DEAD = ("Z", "X", "x")


@dataclass(frozen=True)
class Stat:
    """Of /proc/PID/stat (proc(5)): name, state letter, parent, session."""

    pid: int
    comm: str
    state: str
    parent: int
    session: int

    @property
    def alive(self) -> bool:
        """Does it still run? One that only waits for its parent to ask does not."""
        return self.state not in DEAD


def parse_stat(text: str) -> Stat | None:
    """The name, in parentheses, may hold anything."""
    pid, _, rest = text.partition(" ")
    comm, _, rest = rest.rpartition(")")
    fields = rest.split()
    try:
        return Stat(int(pid), comm[1:], fields[0], int(fields[1]), int(fields[3]))
    except (ValueError, IndexError):
        return None


def read_stat(pid: int) -> Stat | None:
    """None if it is gone."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text(errors="replace"))
    except OSError:
        return None


def pids() -> Iterator[int]:
    """Processes that exist now."""
    yield from (int(name) for name in os.listdir(PROC) if name.isdigit())


def named(comm: str) -> list[int]:
    """Processes with this name, oldest numbers first."""
    return sorted(pid for pid in pids() if (s := read_stat(pid)) and s.comm == comm and s.alive)


def descendants(roots: Iterable[int]) -> set[int]:
    """The roots, and everything that descends from them now."""
    found = set(roots)
    stats = [stat for pid in pids() if (stat := read_stat(pid))]
    while more := {s.pid for s in stats if s.parent in found} - found:
        found |= more
    return found
