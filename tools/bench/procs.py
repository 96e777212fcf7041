"""Processes of a benchmark: started with a death signal, found by pid, always ended.

Nothing outlives the benchmark: every child gets SIGKILL when it dies (PR_SET_PDEATHSIG), and
network and mount namespaces are anonymous, so they go with the last process inside them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
TICKS = os.sysconf("SC_CLK_TCK")
READY_TIMEOUT = 30.0
DRAIN_SECONDS = 120.0
CPU_QUIET = 0.02
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def running(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of the body; killed if the body leaves it behind."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONNOUSERSITE": "1"}
    process = subprocess.Popen(
        [str(a) for a in argv],
        env=environment,
        cwd="/",
        start_new_session=True,  # Ctrl-C is the benchmark's business
        preexec_fn=_die_with_parent,
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def private_bytes(pid: int) -> int:
    """Private memory of a process: the Private_ lines of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(x.split()[1]) for x in lines if x.startswith("Private_")) * 1024


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def until_idle(pid: int) -> None:
    """Until a tracer has worked off what it had read."""
    end = time.monotonic() + DRAIN_SECONDS
    used = cpu_seconds(pid)
    while time.monotonic() < end:
        time.sleep(0.5)
        now = cpu_seconds(pid)
        if now - used <= CPU_QUIET:
            return
        used = now


def _wait_for(path: Path, process: subprocess.Popen[bytes], start: float, said: IO[bytes]) -> float:
    """Seconds from ``start`` until ``path`` exists."""
    while not path.exists():
        if process.poll() is not None or time.monotonic() - start > READY_TIMEOUT:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise BenchError(f"{process.args[0]} did not get ready: {text[-500:]}")
        time.sleep(0.001)
    return time.monotonic() - start


@contextlib.contextmanager
def started(
    argv: Sequence[str | Path], ready: Path, **options: Any
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A process and the seconds until it made the file ``ready``."""
    ready.unlink(missing_ok=True)
    options.setdefault("stdout", subprocess.DEVNULL)
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        with running(argv, stderr=said, **options) as process:
            yield process, _wait_for(ready, process, start, said)


@contextlib.contextmanager
def rsttrace(
    place: Path, *arguments: str, **options: Any
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A live trace out of the checkout, and the seconds until it was ready."""
    ready = place / "rsttrace.ready"
    argv = [SYSTEM_PYTHON, "-m", "rsttrace", *arguments, "--ready-file", ready]
    with started(argv, ready, **options) as found:
        yield found


PEER = """\
tracepoint:tcp:tcp_send_reset { printf("%s %s\\n", probe, kstack); }
tracepoint:tcp:tcp_receive_reset { printf("%s %s\\n", probe, kstack); }
tracepoint:skb:kfree_skb { @[kstack] = count(); }
"""
# tracefs only in a mount namespace of its own, and only where the host has none
IN_TRACEFS = """\
[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
exec bpftrace -c "/bin/sh $1" "$2"
"""


@contextlib.contextmanager
def bpftrace(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """bpftrace on the same events. It runs ``-c``'s command only once all are attached."""
    ready, script, program = place / "peer.ready", place / "peer.sh", place / "peer.bt"
    script.write_text(f": > {ready}\nexec sleep 60\n")
    program.write_text(PEER)
    argv = ["unshare", "--mount", "sh", "-c", IN_TRACEFS, "sh", script, program]
    with started(argv, ready) as found:
        yield found


def bpftrace_installed() -> bool:
    """Is the peer there?"""
    return shutil.which("bpftrace") is not None and shutil.which("unshare") is not None
