"""Answers from the running system: /proc, /run/netns and the helper process. Cached, bounded."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from rsttrace.enrich import Process
from rsttrace.enrich.answering import Answers, Helper, NoHelper, Noted
from rsttrace.enrich.answers.namespaces import host
from rsttrace.enrich.asking import PATIENT_SECONDS, Credit
from rsttrace.enrich.cgroup import paths_in, telling
from rsttrace.enrich.firewall import Firewall
from rsttrace.enrich.owners import PROC, Held, Owners
from rsttrace.enrich.place import Place, Question
from rsttrace.output import printable

RUN_NETNS = Path("/run/netns")
THREADS = 512
CACHE_SECONDS = 2.0
NEW_NAMESPACE_SECONDS = 0.1
CACHE_SIZE = 4096


def not_noted(_kind: str, _key: str, _value: object) -> None:
    """Nobody records the answers."""


class LiveContext:
    """Context of this host. ``noted(kind, key, answer)`` is told every new answer.

    ``helper``: the process that may look into namespaces (asking.Broker). ``meanwhile`` is called
    at least every few milliseconds while something is looked up.
    """

    def __init__(
        self,
        noted: Noted = not_noted,
        helper: Helper | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self._noted = noted
        self._meanwhile = meanwhile or (lambda: None)
        self._owners = Owners(self._meanwhile)
        self._credit = Credit()
        self._answers = Answers(helper or NoHelper(), noted, self._credit)
        self._processes: dict[int, tuple[float, Process | None]] = {}
        self._told_owners: dict[int, int] = {}
        self._netns: dict[int, str] = {}
        self._named = -CACHE_SECONDS
        self._told: dict[int, str | None] = {}

    def be_patient(self, seconds: float = PATIENT_SECONDS) -> None:
        """Look up more, and wait longer: for a report at the end, not for live output."""
        self._credit.be_patient(seconds)
        self._owners.be_patient()

    def know_owners(self, places: dict[int, Held]) -> None:
        """Who holds which socket now (owners.everyone())."""
        self._owners.learn(places)

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
            texts = (fresh.comm, fresh.exe, fresh.cmdline, fresh.cgroup)
            self._noted("process", str(pid), [*texts, *fresh.threads])
        return fresh

    def socket_owner(self, inode: int, likely: Iterable[int] = ()) -> int | None:
        """By the links in /proc/PID/fd (enrich/owners.py)."""
        pid = self._owners.find(inode, likely)
        if pid is not None and self._told_owners.get(inode) != pid:
            if len(self._told_owners) >= CACHE_SIZE:
                self._told_owners.clear()
            self._told_owners[inode] = pid
            self._noted("owner", str(inode), pid)
        return pid

    def netns_name(self, inode: int) -> str | None:
        """``host`` for process 1's, else the name under /run/netns, else None."""
        now = time.monotonic()
        patience = CACHE_SECONDS if inode in self._netns else NEW_NAMESPACE_SECONDS
        if now - self._named > patience:
            self._netns, self._named = _netns_names(), now
        name = self._netns.get(inode)
        self._meanwhile()  # once for each reset
        if self._told.get(inode, "") != name:
            self._told[inode] = name
            self._noted("netns", str(inode), name)
        return name

    def firewall(self, netns: int, time_ns: int) -> Firewall:
        """From the helper process, soon after ``time_ns``; remembered."""
        return self._answers.firewall(netns, time_ns)

    def place(self, question: Question, time_ns: int) -> Place:
        """From the helper process, soon after ``time_ns``; remembered."""
        return self._answers.place(question, time_ns)

    def user_frames(
        self, pid: int, addresses: tuple[int, ...], words: tuple[int, ...]
    ) -> tuple[str, ...]:
        """From the helper process; remembered, since a server closes at few places."""
        return self._answers.user_frames(pid, addresses, words)


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
    return Process(pid, comm, exe, cmdline, _cgroup(base), _threads(base, comm))


def _threads(base: Path, comm: str) -> tuple[str, ...]:
    """Names of its threads other than its own, in a process with many only of some."""
    found = set()
    with contextlib.suppress(OSError), os.scandir(base / "task") as tasks:
        for task in islice(tasks, THREADS):
            with contextlib.suppress(OSError), open(f"{task.path}/comm", "rb") as file:
                found.add(printable(file.read().removesuffix(b"\n")))
    return tuple(sorted(found - {comm}))


def _cgroup(base: Path) -> str:
    """The telling one of its control groups, empty if none is known."""
    try:
        raw = (base / "cgroup").read_bytes()
    except OSError:
        return ""
    return telling(paths_in(raw))


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
    if first := host()[0]:
        names[first] = "host"
    return names
