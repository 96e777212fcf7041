"""A /proc made by the test."""

from __future__ import annotations

import os
from pathlib import Path


class FakeProc:
    """A directory that looks like /proc."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def process(self, pid: int, comm: bytes = b"nginx", sockets: tuple[int, ...] = ()) -> Path:
        base = self.place / str(pid)
        for part in ("fd", "ns", "net"):
            (base / part).mkdir(parents=True, exist_ok=True)
        (base / "comm").write_bytes(comm + b"\n")
        (base / "cmdline").write_bytes(comm + b"\0-g\0daemon off;\0")
        (base / "cgroup").write_text("1:name=systemd:/x\n0::/system.slice/nginx.service\n")
        self.link(base / "exe", b"/usr/sbin/nginx")
        for number, inode in enumerate(sockets):
            self.link(base / "fd" / str(number), f"socket:[{inode}]".encode())
        self.link(base / "fd" / "99", b"/dev/null")
        return base

    def link(self, path: Path, target: bytes) -> None:
        path.unlink(missing_ok=True)
        os.symlink(target, os.fsencode(path))
