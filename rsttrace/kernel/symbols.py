"""Kernel addresses to function names, from /proc/kallsyms.

Own reader in place of bcc's: it keeps the open file (so that names stay readable after
privileges are dropped under kptr_restrict=1), parses only when the first stack arrives, and
reads again when a module was loaded later (nf_reject_ipv4 comes with the first rule).
"""

from __future__ import annotations

import bisect
import contextlib
import io
from array import array
from pathlib import Path

KALLSYMS = Path("/proc/kallsyms")
MODULES = Path("/proc/modules")
MAX_FUNCTION = 1 << 20


class Symbols:
    """Names for kernel text addresses. ``available`` is False when the kernel hides them."""

    def __init__(self, path: Path = KALLSYMS, modules: Path = MODULES) -> None:
        self._modules = modules
        self._seen_modules = ""
        self._addresses = array("Q")
        self._places = array("Q")
        self._text = b""
        self._cache: dict[int, str | None] = {}
        self._file: io.FileIO | None = None
        with contextlib.suppress(OSError):
            self._file = io.FileIO(path)

    @property
    def available(self) -> bool:
        """Can addresses be named at all?"""
        if not self._addresses:
            self.load()
        return any(self._addresses)  # hidden ones read as zero

    def name(self, address: int) -> str | None:
        """Function at a return address, None if it is not known."""
        if address not in self._cache:
            if not self._addresses or self._modules_changed():
                self.load()
            self._cache[address] = self._look_up(address)
        return self._cache[address]

    def variable(self, name: str) -> int:
        """Address of a variable of the kernel itself, 0 if not listed (CONFIG_KALLSYMS_ALL)."""
        if not self._addresses:
            self.load()
        end = self._text.find(f" {name}\n".encode())
        return int(self._text[end - 18 : end - 2], 16) if end >= 18 else 0

    def _modules_changed(self) -> bool:
        try:
            now = self._modules.read_text()
        except OSError:
            return False
        changed, self._seen_modules = now != self._seen_modules, now
        return changed

    def load(self) -> None:
        """Read the table now (about 0.1 s); otherwise the first look-up does."""
        if self._file is None:
            return
        self._modules_changed()  # what is read now is what these modules have
        self._file.seek(0)
        text = self._file.read()
        while more := self._file.read():
            text += more
        found = []
        place = 0
        for line in text.split(b"\n"):
            if line[17:18] in b"tTwW" and line:
                found.append((int(line[:16], 16), place + 19))
            place += len(line) + 1
        found.sort()
        self._text = text
        self._addresses = array("Q", (a for a, _ in found))
        self._places = array("Q", (p for _, p in found))

    def _look_up(self, address: int) -> str | None:
        # a return address points behind the call, perhaps behind the function's last byte
        i = bisect.bisect_right(self._addresses, address - 1) - 1
        if i < 0 or address - self._addresses[i] > MAX_FUNCTION or not self._addresses[i]:
            return None
        place = self._places[i]
        line = self._text[place : self._text.index(b"\n", place)]
        return line.split(b"\t")[0].decode()
