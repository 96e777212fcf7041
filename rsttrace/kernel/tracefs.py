"""tracefs: where it is mounted, what its format files say, and how to read it where it is not.

Tracing needs it only without BTF: raw tracepoints do not. Its format files name the same fields and
enum values that BTF gives; the tests hold the two against each other.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rsttrace.errors import CannotTrace

MOUNTS = Path("/proc/mounts")
TRACEFS, IN_DEBUGFS = Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
_FIELD = re.compile(r"field:(?P<type>[^;]*?)(?P<name>\w+)(?:\[\d+\])?;\s*offset:(?P<offset>\d+);")
_SYMBOL = re.compile(r'\{\s*(\d+),\s*"(\w+)"\s*\}')

T = TypeVar("T")


def reading(look: Callable[[Path], T]) -> T:
    """Call ``look`` with the place of tracefs; it and bcc find it there, mounted or not.

    Where it is not, that takes a thread in a mount namespace of its own, which ends with it: nobody
    else sees what is mounted, and nothing stays. CannotTrace if this process can have no tracefs.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_look, look).result()


def _look(look: Callable[[Path], T]) -> T:
    # bcc 0.18 looks for events in debugfs only, which brings tracefs along
    lacking = [place for place in (IN_DEBUGFS, TRACEFS) if not _present(place)]
    problem = _mount_here(lacking) if lacking else ""
    place = next((place for place in (TRACEFS, IN_DEBUGFS) if _present(place)), None)
    if place is None:
        raise CannotTrace(
            f"the kernel's events cannot be read: {problem or f'nothing is at {TRACEFS}'}.",
            f"Mount them: mount -t tracefs tracefs {TRACEFS}",
        )
    return look(place)


def _present(place: Path) -> bool:
    return os.access(place / "events", os.F_OK)


def _mount_here(places: Iterable[Path]) -> str:
    """Mount them for this thread alone; why the last one did not work, empty if it did."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        return f"tracefs is not mounted ({os.strerror(ctypes.get_errno())})"
    problem = ""
    for place in places:
        kind, target = (b"tracefs", place) if place == TRACEFS else (b"debugfs", place.parent)
        if libc.mount(kind, os.fsencode(target), kind, 0, None):
            problem = f"tracefs cannot be mounted ({os.strerror(ctypes.get_errno())})"
    return problem


def mounted(mounts: Path = MOUNTS) -> Path | None:
    """Where tracefs is mounted, None if it is not."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) > 2 and fields[2] == "tracefs":
            return Path(fields[1])
    return None


def fields(text: str) -> dict[str, int]:
    """Offsets of the fields in the text of a ``format`` file."""
    return {m["name"]: int(m["offset"]) for m in _FIELD.finditer(text)}


def symbols(text: str) -> dict[int, str]:
    """Numbers and names in the last ``__print_symbolic`` list of a ``format`` file."""
    _, _, last = text.rpartition("__print_symbolic")
    return {int(number): name for number, name in _SYMBOL.findall(last)}
