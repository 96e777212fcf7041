"""Change a limit of the whole host for the time of a lab."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rsttrace.lab.errors import LabSkip

# waits for the end of its standard input, which comes also when this process is killed
_GUARD = ("sh", "-c", 'read -r _; printf %s "$1" > "$2"', "sh")


@contextlib.contextmanager
def host_limit(path: Path, value: str) -> Iterator[None]:
    """Write ``value`` to a file of /proc/sys for the time of the ``with``.

    A child, out of reach of Ctrl-C, puts the old value back, however this process ends.
    """
    try:
        old = path.read_text()
    except OSError as error:
        raise LabSkip(f"{path}: {error.strerror}") from error
    command = (*_GUARD, old, str(path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        path.write_text(value)
        yield
