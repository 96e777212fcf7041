"""What several checks ask of this host, looked up once. Nothing here changes the system."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from pathlib import Path

from rsttrace.enrich.asking import Broker
from rsttrace.kernel import loader
from rsttrace.kernel.features import Features, examine

HELPER_SECONDS = 5.0


class Host:
    """``root``: where /proc, /sys, /run and /var are found."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        """A file's text without the last line end, None if it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace").rstrip("\n")
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """A file that holds one number."""
        text = (self.text(path) or "").strip()
        return int(text) if text.lstrip("-").isdigit() else None

    def link(self, path: str) -> str:
        """What a symbolic link says, empty if it cannot be read."""
        try:
            return os.readlink(self.root / path)
        except OSError:
            return ""

    def has(self, path: str) -> bool:
        """Does a file exist, as far as this user can see?"""
        with contextlib.suppress(OSError):
            return (self.root / path).exists()
        return False

    @cached_property
    def capabilities(self) -> int:
        """Effective capabilities of this process as a mask."""
        for line in (self.text("proc/self/status") or "").splitlines():
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
        return 0

    def may(self, capability: int) -> bool:
        """Has this process the capability?"""
        return bool(self.capabilities >> capability & 1)

    @cached_property
    def features(self) -> Features:
        """What the kernel has; CannotTrace with neither BTF nor formats of events."""
        return examine(loader.read_sources())

    @cached_property
    def symbols(self) -> bool:
        """Does the kernel show its addresses? Hidden ones read as zero."""
        with contextlib.suppress(OSError), (self.root / "proc/kallsyms").open("rb") as file:
            return any(line[17:18] in b"tT" and line[:16].strip(b"0") for line in file)
        return False

    @cached_property
    def namespaces_read(self) -> frozenset[int] | None:
        """Network namespaces that the helper process could enter; None: it did not answer."""
        broker = Broker()
        try:
            answer = broker.ask("counters", None, HELPER_SECONDS, anew=True)
        finally:
            broker.close()
        return None if answer is None else frozenset(int(inode) for inode in answer["rows"])
