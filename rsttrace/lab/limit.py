"""Change a limit of the whole host for the time of a lab."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from rsttrace.lab.errors import LabSkip


@contextlib.contextmanager
def host_limit(path: Path, value: str) -> Iterator[None]:
    """Write ``value`` to a file of /proc/sys for the time of the ``with``.

    A child puts the old value back when the pipe to it is closed: the kernel does that too
    when this process is killed or leaves by os._exit().
    """
    try:
        old = path.read_text()
    except OSError as error:
        raise LabSkip(f"{path}: {error.strerror}") from error
    waiting, alive = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive)
        _restore_at_end(waiting, path, old)
    os.close(waiting)
    try:
        path.write_text(value)
        yield
    finally:
        os.close(alive)
        os.waitpid(pid, 0)


def _restore_at_end(waiting: int, path: Path, old: str) -> None:
    """The child's whole life. Ctrl-C and a closed terminal are none of its business."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while os.read(waiting, 1):
            pass
    finally:
        try:
            path.write_text(old)
        finally:
            os._exit(0)
