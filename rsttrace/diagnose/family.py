"""Processes, and everything they start: told by the kernel if it can, else found in /proc."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from rsttrace.diagnose.proctree import descendants, read_stat

HOOK = "sched_process_fork"
LOOK_SECONDS = 0.25
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO (include/linux/proc_ns.h)
BY_LOOKING = (
    "This kernel does not tell which processes start which (no tracepoint sched_process_fork): "
    "children that lived for less than a quarter of a second may be missing."
)
OTHER_NUMBERS = (
    "rsttrace runs in a PID namespace of its own (a container), where processes have other numbers "
    "than the kernel reports: resets of the watched processes may be missing."
)


class Follower(Protocol):
    """The part of kernel.loader.Kernel that is needed here."""

    @property
    def follows(self) -> bool: ...
    def follow(self, pid: int) -> None: ...
    def is_followed(self, pid: int) -> bool: ...
    def followed(self) -> set[int]: ...
    def not_followed(self) -> int: ...


class Family:
    """``attach`` it to the loaded programs; then ``has`` knows members, also those that ended."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._known = set(roots)
        self._kernel: Follower | None = None
        self._looked = 0.0
        self._ended: set[int] = set()

    def attach(self, kernel: Follower) -> None:
        """Follow the roots and the children that they have already."""
        if kernel.follows:
            self._kernel = kernel
            self._follow(self._known)
        # a child that came while we looked is followed by then, if its parent is
        while more := descendants(self.members()) - self.members():
            self._follow(more)

    def _follow(self, pids: Iterable[int]) -> None:
        self._known |= set(pids)
        if self._kernel:
            for pid in self._known:
                self._kernel.follow(pid)

    def members(self) -> set[int]:
        """All that were seen, also those that have ended."""
        return self._known | (self._kernel.followed() if self._kernel else set())

    def has(self, pid: int) -> bool:
        """Is, or was, this process one of them?"""
        if self._kernel:
            return self._kernel.is_followed(pid)
        self.look()
        return pid in self._known

    def look(self) -> None:
        """Without the kernel's help: look for new children now and then."""
        now = time.monotonic()
        if not self._kernel and now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._known = descendants(self._known)

    def running(self, session: int) -> set[int]:
        """Members of this session (setsid(2)) that have not ended."""
        alive = set()
        for pid in self.members() - self._ended:
            stat = read_stat(pid)
            if not stat or not stat.alive:
                self._ended.add(pid)
            elif stat.session == session:
                alive.add(pid)
        return alive

    def problems(self) -> tuple[str, ...]:
        """What could not be followed, in sentences."""
        found = []
        if not self._kernel:
            found.append(BY_LOOKING)
        elif missed := self._kernel.not_followed():
            found.append(f"{missed} processes were too many to be followed: their resets may miss.")
        if Path("/proc/self/ns/pid").stat().st_ino != INITIAL_PID_NAMESPACE:
            found.append(OTHER_NUMBERS)
        return tuple(found)
