"""One throw-away network namespace: make it, work inside it, remove it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from rsttrace.lab.errors import LabError, LabSkip

RUN_NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
COMMAND_TIMEOUT = 20

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """The namespace ``rsttrace-<pid>-<end>``, as a context manager."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.name = f"rsttrace-{os.getpid()}-{end}"
        self.fd = -1
        self.inode = 0

    def __enter__(self) -> Namespace:
        from pyroute2 import netns

        try:
            netns.create(self.name, libc=_libc)
            self.fd = os.open(RUN_NETNS / self.name, os.O_RDONLY)
        except OSError as error:
            self.__exit__()
            raise LabError(f"cannot make a network namespace: {error}") from error
        except BaseException:
            self.__exit__()
            raise
        self.inode = os.fstat(self.fd).st_ino
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        _remove(self.name)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Run the body in this namespace (this thread only)."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._enter(self.fd)
            try:
                yield
            finally:
                self._enter(home)
        finally:
            os.close(home)

    def _enter(self, fd: int) -> None:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise LabError(f"cannot change the namespace to or from {self.end}: {reason}")

    def read(self, table: str) -> list[str]:
        """The lines of /proc/net/<table> as this namespace has them."""
        with self.inside():
            return Path("/proc/thread-self/net", table).read_text().splitlines()

    def sysctl(self, name: str, value: str) -> None:
        with self.inside():
            try:
                Path("/proc/sys", *name.split(".")).write_text(value)
            except OSError as error:
                raise LabSkip(f"sysctl {name}: {error.strerror}") from error

    def run(self, *argv: str, input: str | None = None) -> str:
        """Run a command here and give its standard output."""
        command = " ".join(argv)
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
        try:
            with self.inside():
                done = subprocess.run(
                    ("env", f"PATH={path}", *argv),
                    input=input,
                    capture_output=True,
                    text=True,
                    timeout=COMMAND_TIMEOUT,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{command}: did not end") from error
        if done.returncode == 127:
            raise LabSkip(f"this lab needs the command {argv[0]}.")
        if done.returncode != 0:
            reason = done.stderr.strip() or f"exit status {done.returncode}"
            raise LabError(f"{command}: {reason.splitlines()[0]}")
        return done.stdout

    def spawn(self, function: Callable[[], object]) -> int:
        """Fork a child that runs ``function`` here and ends; its pid."""
        parent = os.getpid()
        with self.inside():
            pid = os.fork()
            if pid == 0:
                _child(function, parent)
        return pid


def _child(function: Callable[[], object], parent: int) -> NoReturn:
    """The child's whole life; it must never return into the parent's code."""
    status = 1
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
        if os.getppid() == parent:
            function()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def end_child(pid: int) -> None:
    """Kill a child that still runs, and reap it."""
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def sweep() -> None:
    """Remove the namespaces of labs whose process is dead (or was an earlier owner of our pid)."""
    if not RUN_NETNS.is_dir():
        return
    for path in RUN_NETNS.iterdir():
        owner = re.fullmatch(r"rsttrace-(\d+)-[a-z]+", path.name)
        if owner and (int(owner[1]) == os.getpid() or not Path("/proc", owner[1]).exists()):
            _remove(path.name)


def _remove(name: str) -> None:
    from pyroute2 import netns

    with contextlib.suppress(FileNotFoundError):
        netns.remove(name, libc=_libc)
