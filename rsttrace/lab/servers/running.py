"""Start a real server for a lab, in its ``server`` namespace, without a trace on the host.

The server gets a mount and a PID namespace of its own: its files are on a tmpfs that covers /run
there, so they are gone with it; and when its first process is killed, the kernel kills the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rsttrace.lab.base import Expect, received
from rsttrace.lab.errors import LabError, LabSkip
from rsttrace.lab.namespace import PR_SET_PDEATHSIG
from rsttrace.lab.net import Lab
from rsttrace.lab.servers.program import Program
from rsttrace.lab.tcp import STATES, wait_for

CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
HERE = Path("/run")  # as the server sees it
LOG = "log"

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Running:
    """A server that runs. ``keeper``: our process that waits for it; ``pid``: its first process."""

    lab: Lab
    keeper: int
    pid: int

    def log(self) -> str:
        """What it has written to its standard output and error by now."""
        path = Path(f"/proc/{self.keeper}/root{HERE}", LOG)
        return path.read_text(errors="replace") if path.exists() else ""

    def children(self) -> list[int]:
        """Processes whose parent is the server's first process."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = path.read_text().rpartition(")")[2].split()[1]
                if int(parent) == self.pid:
                    found.append(int(path.parent.name))
        return found

    def wait_listening(self, port: int) -> Running:
        """Wait until it accepts connections on that port."""

        def ready() -> bool:
            if not Path(f"/proc/{self.pid}").exists():
                raise LabError(f"the server ended: {self.log().strip()[-300:]}")
            return port in listening(self.lab)

        wait_for(ready, f"a server on port {port}")
        return self


def start(
    lab: Lab,
    program: Program,
    *arguments: str,
    files: Mapping[str, str] | None = None,
    covers: Mapping[str, str] | None = None,
) -> Running:
    """Run a program in the foreground in the lab's server namespace; killed when the lab ends.

    ``files``: what to write to ``HERE`` before; their names may have directories. ``covers``: which
    of these stand in the place of which of the system's, for the server only.
    """
    reader, writer = os.pipe()

    def keep() -> None:
        os.close(reader)
        _prepare(files or {}, covers or {})
        pid = os.fork()  # the first process of the new PID namespace
        if pid == 0:
            _become(program, arguments)
        os.write(writer, b"%d" % pid)
        os.close(writer)
        os.waitpid(pid, 0)
        signal.pause()  # keeps the files readable until the lab ends

    try:
        keeper = lab.spawn("server", keep)
        os.close(writer)
        answer = os.read(reader, 32)
    finally:
        os.close(reader)
    if not answer:
        raise LabSkip("cannot make a mount and a PID namespace for the server.")
    pid = int(answer)
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        lab.at_end(partial(_end, os.pidfd_open(pid)))
    return Running(lab, keeper, pid)


def _end(process: int) -> None:
    """A server may have lost its PR_SET_PDEATHSIG: the kernel clears it when rights change."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)


def listening(lab: Lab) -> dict[int, int]:
    """Ports that accept connections in the server's namespace, and how many wait for accept()."""
    found = {}
    with lab.inside("server"):
        for table in ("tcp", "tcp6"):
            for row in Path("/proc/thread-self/net", table).read_text().splitlines()[1:]:
                _, local, _, state, queues, *_ = row.split()
                if STATES[int(state, 16)] == "LISTEN":
                    found[int(local.rpartition(":")[2], 16)] = int(queues.rpartition(":")[2], 16)
    return found


def wait_waiting(lab: Lab, port: int, count: int) -> None:
    """Wait until so many connections wait for accept() there."""
    wait_for(lambda: listening(lab)[port] == count, f"{count} waiting for accept()")


def connect(lab: Lab, port: int) -> socket.socket:
    """A client of the server."""
    client = lab.socket("client")
    client.connect((lab.address["server"], port))
    return client


def sent(cause: str, comm: str, *says: str) -> Expect:
    """The RST of the server, its owner's name, and words that must be said of it."""
    facts = {"process.comm": comm, "process.role": "owner"}
    return Expect("sent", cause, end="server", facts=facts, says=says)


def refused(comm: str, *says: str) -> tuple[Expect, Expect]:
    """The server connects to a closed port in its own namespace."""
    facts = {"process.comm": comm, "process.role": "owner", "errno": "ECONNREFUSED"}
    return (
        Expect("received", "connection-refused", end="server", facts=facts, says=says),
        Expect("sent", "closed-port", end="server"),
    )


# What the other end gets of it.
RESET = received("peer-reset", "ESTABLISHED", "ECONNRESET")
CLOSED_FIRST = received("peer-closed-first", "CLOSE_WAIT", "EPIPE")


def at(address: str, port: int) -> str:
    """``10.87.0.2:80`` or ``[fd00:87::2]:80``, as configuration files want it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _prepare(files: Mapping[str, str], covers: Mapping[str, str]) -> None:
    """In the keeper: the namespaces, and the files."""
    _call(_libc.unshare, CLONE_NEWNS | CLONE_NEWPID)
    _call(_libc.mount, None, b"/", None, MS_REC | MS_PRIVATE, None)
    _call(_libc.mount, b"tmpfs", bytes(HERE), b"tmpfs", 0, b"mode=755")
    os.umask(0o022)
    for name, text in files.items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600 if name.endswith("_key") else 0o644)
    for name, target in covers.items():
        _call(_libc.mount, bytes(HERE / name), target.encode(), None, MS_BIND, None)


def _call(function: object, *arguments: object) -> None:
    assert callable(function)
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _become(program: Program, arguments: tuple[str, ...]) -> None:
    """In the first process: it dies with the keeper, and talks to the log only."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()  # no terminal, and Ctrl-C is not meant for it
    log = os.open(HERE / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(HERE)
    os.execve(program.path, [program.path, *arguments], dict(program.environment))
