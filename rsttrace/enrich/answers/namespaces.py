"""The network namespaces of this host, and how to enter one."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

PLACES = ("/run/netns", "/run/docker/netns")
# process 1 can be out of reach even for root; the kernel's threads are in the first namespace too
HOST = {"/proc/1": "", "/proc/2": "kthreadd"}
CLONE_NEWNET = 0x40000000


def namespaces() -> Iterator[tuple[int, str]]:
    """Inode number and a path of every network namespace that has a name or a process."""
    kind = os.stat("/proc/self/ns/net").st_dev
    seen: set[int] = set()
    for path in _paths():
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if status.st_dev == kind and status.st_ino not in seen:
                seen.add(status.st_ino)
                yield status.st_ino, path


def host() -> tuple[int, str]:
    """Inode number and path of the first namespace, 0 if it cannot be found."""
    for process, comm in HOST.items():
        with contextlib.suppress(OSError):
            path = f"{process}/ns/net"
            if not comm or Path(process, "comm").read_text().strip() == comm:
                return os.stat(path).st_ino, path
    return 0, ""


def _paths() -> Iterator[str]:
    for place in PLACES:
        with contextlib.suppress(OSError):
            yield from (f"{place}/{name}" for name in os.listdir(place))
    yield from (f"/proc/{name}/ns/net" for name in os.listdir("/proc") if name.isdigit())


def enter(path: str, inode: int) -> None:
    """Move this process into the namespace; OSError if it is another one by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_ino != inode:
            raise FileNotFoundError(path)
        _set(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def coming_back() -> Iterator[None]:
    """Leave whatever namespace is entered in the body: with us in it, it could not end."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
        if os.stat("/proc/thread-self/ns/net").st_ino != os.fstat(home).st_ino:
            _set(home)
    finally:
        os.close(home)


def _set(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def problem_of_entering(inode: int) -> str:
    """Move into the namespace with this inode number; why that did not work, empty if it did."""
    path = next((path for other, path in namespaces() if other == inode), None)
    if path is None:
        return "the network namespace is gone"
    try:
        enter(path, inode)
    except OSError as err:
        return f"the network namespace cannot be entered: {err.strerror}"
    return ""
