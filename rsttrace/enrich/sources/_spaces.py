"""Names of network namespaces, and looking into others without leaving one's own.

setns(2) moves one thread only, so a thread of its own looks around; the caller stays where it is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from rsttrace.enrich.answers.namespaces import PLACES, enter, host

T = TypeVar("T")
PATIENCE_SECONDS = 0.04  # less than a source may take: what was found so far is better than nothing


def here() -> int:
    """Inode number of this thread's namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def name_of(inode: int, path: str) -> str:
    """``host`` for the first one, the name that iproute2 or Docker gave it, or ``netns N``."""
    if inode == host()[0]:
        return "host"
    folder, _, name = path.rpartition("/")
    return name if folder in PLACES else f"netns {inode}"


def visit(
    spaces: Iterable[tuple[int, str]],
    look: Callable[[], T],
    seconds: float = PATIENCE_SECONDS,
) -> tuple[list[tuple[int, str, T]], int]:
    """Call ``look`` inside each namespace (inode, path): what it said, and how many did not say.

    One that cannot be entered, or for which no time was left, is counted; one that is gone is not.
    """
    wanted = list(spaces)
    found: list[tuple[int, str, T]] = []
    gone: list[int] = []
    end = time.monotonic() + seconds

    def walk() -> None:
        for inode, path in wanted:
            if time.monotonic() >= end:
                break
            try:
                enter(path, inode)
                found.append((inode, path, look()))
            except FileNotFoundError:
                gone.append(inode)
            except OSError:
                continue

    thread = threading.Thread(target=walk, daemon=True)
    thread.start()
    thread.join(seconds)
    said = list(found)
    return said, len(wanted) - len(said) - len(gone)


def in_host(look: Callable[[], T]) -> T | None:
    """What ``look`` says in the host's namespace; None if that cannot be entered."""
    said, _ = visit([host()], look)
    return said[0][2] if said else None
