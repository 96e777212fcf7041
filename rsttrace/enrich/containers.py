"""A container by its id or name: for ``diagnose --container``. Needs root, asks no daemon.

Containers are known by the control groups of the processes that run now. Names come from the same
paths (lxc, systemd-nspawn) and from what docker and podman write down for themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsttrace.enrich import Process
from rsttrace.enrich.cgroup import Box, boxes_of, paths_in, telling
from rsttrace.errors import EXIT_USAGE, RsttraceError
from rsttrace.output import printable

LEAST_DIGITS = 4  # of an id
LISTED = 8  # candidates in a message
HEX = frozenset("0123456789abcdef")
DOCKER = "var/lib/docker/containers"
PODMAN = "var/lib/containers/storage/overlay-containers"
PODMAN_FILES = ("containers.json", "volatile-containers.json")  # the second: podman run --rm


@dataclass(frozen=True)
class Container:
    """``id``: all of it; ``runtime``: None if the path does not show it; ``name``: may be empty.

    ``pids``: its processes, ids of this host. ``netns``: inode number of its network namespace,
    None if it shares the host's (that of process 1) or it cannot be read.
    """

    id: str
    runtime: str | None
    name: str
    pids: frozenset[int]
    netns: int | None

    @property
    def words(self) -> str:
        """``docker container web (3f2a9c01d4e5)``."""
        short = Box(self.id).short
        known = f"{self.name} ({short})" if self.name not in ("", self.id) else short
        return f"{self.runtime} container {known}" if self.runtime else f"container {known}"

    def holds(self, process: Process) -> bool:
        """Does this process live in it? Also one that was started later."""
        return process.pid in self.pids or holds(process.cgroup, self.id)


def holds(path: str, container_id: str) -> bool:
    """Is this control group in the container, itself or in one that runs inside?"""
    return any(box.id == container_id and not box.monitor for box in boxes_of(path))


def find(text: str, root: Path = Path("/")) -> Container:
    """The running container with this id, beginning of an id, or name.

    RsttraceError (exit code 2) if there is none or more than one. ``root`` has proc/ and var/.
    """
    running = _running(root / "proc")
    names = dict(_names(root))
    found = _matching(text, running, names)
    if len(found) != 1:
        raise _error(text, running, names, found)
    one = running[found[0]]
    name = names.get(one.id, one.name)
    return replace(one, name=name, netns=_netns(root / "proc", one.pids))


def _running(proc: Path) -> Mapping[str, Container]:
    """All containers that have a process, by id."""
    found: dict[str, Container] = {}
    for entry in _entries(proc):
        if not entry.name.isdigit():
            continue
        try:
            path = telling(paths_in((entry / "cgroup").read_bytes()))
        except OSError:
            continue
        for box in boxes_of(path):
            if not box.monitor:
                known = found.get(box.id) or _unseen(box)
                found[box.id] = replace(known, pids=known.pids | {int(entry.name)})
    return found


def _unseen(box: Box) -> Container:
    name = box.id if box.short == box.id else ""
    return Container(box.id, box.runtime, name, frozenset(), None)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _names(root: Path) -> Iterator[tuple[str, str]]:
    """Ids and names that docker and podman have written down, of running and other containers."""
    for directory in _entries(root / DOCKER):
        config = _json(directory / "config.v2.json")
        if isinstance(config, dict) and isinstance(name := config.get("Name"), str):
            yield directory.name, printable(name.removeprefix("/"))
    for file in PODMAN_FILES:
        rows = _json(root / PODMAN / file)
        for row in rows if isinstance(rows, list) else ():
            with contextlib.suppress(KeyError, IndexError, TypeError):
                yield str(row["id"]), printable(str(row["names"][0]))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _matching(text: str, running: Mapping[str, Container], names: Mapping[str, str]) -> list[str]:
    """Ids: of the name or whole id first, only then by the beginning of an id."""
    exact = [i for i in running if text in (i, names.get(i))]
    if exact or len(text) < LEAST_DIGITS or not HEX.issuperset(text.lower()):
        return exact
    return [i for i in running if len(i) == 64 and i.startswith(text.lower())]


def _error(
    text: str, running: Mapping[str, Container], names: Mapping[str, str], found: list[str]
) -> RsttraceError:
    shown = printable(text)
    stopped = [i for i, name in names.items() if text in (i, name) and i not in running]
    if found:
        message = f"--container {shown} fits {len(found)} containers: {_list(found, names)}."
        return RsttraceError(message, "Give more of the id.", EXIT_USAGE)
    if stopped:
        message = f"the container {shown} does not run: it has no process."
        return RsttraceError(message, exit_code=EXIT_USAGE)
    known = f"Running: {_list(list(running), names)}." if running else "None runs on this host."
    return RsttraceError(f"no container has the name or id {shown}.", known, EXIT_USAGE)


def _list(ids: list[str], names: Mapping[str, str]) -> str:
    """``web (3f2a9c01d4e5), db (...), and 3 more``."""
    shorts = [f"{names[i]} ({Box(i).short})" if i in names else Box(i).short for i in ids]
    more = [f"and {len(ids) - LISTED} more"] if len(ids) > LISTED else []
    return ", ".join(sorted(shorts)[:LISTED] + more)


def _netns(proc: Path, pids: frozenset[int]) -> int | None:
    """The one most of them are in: a container may hold others."""
    seen = Counter(inode for pid in sorted(pids) if (inode := _inode(proc, pid)))
    inode = seen.most_common(1)[0][0] if seen else None
    return None if inode == _inode(proc, 1) else inode


def _inode(proc: Path, pid: int) -> int | None:
    """Out of the link ``net:[4026531840]``."""
    with contextlib.suppress(OSError, ValueError):
        return int(os.readlink(proc / str(pid) / "ns" / "net").removeprefix("net:[").rstrip("]"))
    return None
