"""Where the servers' programs are: ``$RSTTRACE_SERVERS``, filled by tools/server-packages.sh, or
the machine's own in PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rsttrace.lab.errors import LabSkip

WHERE = "RSTTRACE_SERVERS"
DIRECTORIES = ("usr/sbin", "usr/bin", "usr/lib/openssh")
SYSTEM = "/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True)
class Program:
    """One executable file, and the environment that it needs to run."""

    path: str
    environment: Mapping[str, str] = field(default_factory=dict)


def find_program(name: str) -> Program:
    """The program of that name; LabSkip if this machine has none."""
    unpacked = os.environ.get(WHERE)
    plain = {"PATH": SYSTEM, "LC_ALL": "C.UTF-8"}
    if unpacked:
        root = Path(unpacked).absolute()
        for directory in DIRECTORIES:
            path = root / directory / name
            if os.access(path, os.X_OK):
                libraries = ":".join(str(p) for p in _libraries(root))
                return Program(str(path), {**plain, "LD_LIBRARY_PATH": libraries})
    search = f"{os.environ.get('PATH', '')}:{SYSTEM}"
    if found := shutil.which(name, path=search):
        return Program(str(Path(found).absolute()), plain)
    raise LabSkip(f"this lab needs {name}, which is not installed.")


def _libraries(root: Path) -> list[Path]:
    """Where a Debian package has shared libraries: /usr/lib/x86_64-linux-gnu and such."""
    return [p for top in ("lib", "usr/lib") for p in sorted(root.glob(f"{top}/*-linux-*"))]
