"""Names for the addresses of a process's own stack, out of its maps and their ELF files.

The question is ``[pid, addresses, words]``: return addresses by frame pointers, innermost first,
and the stack from its top on. The answer has one ``[address, name, frame size]`` for each address
that bears on it, see enrich.userstack.Frame; none if the process is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from dataclasses import dataclass
from typing import Any

from rsttrace.enrich import elf, unwind
from rsttrace.enrich.userstack import Frame, walk
from rsttrace.output import printable

NOWHERE = Frame()
BEFORE = 8  # bytes of code to look at: no call is longer
LONGEST_NAME = 100
# what a file that is damaged, or made to do harm, leads to
DAMAGED = (ValueError, LookupError, struct.error, OSError, OverflowError)
AARCH64 = 183
# aarch64: BL, BLR, SVC as mask and value of the instruction
CALLS_AARCH64 = ((0xFC000000, 0x94000000), (0xFFFFFC1F, 0xD63F0000), (0xFFE0001F, 0xD4000001))


def answer(about: Any) -> list[Any]:
    """Look up what is needed to walk this stack."""
    pid, addresses, words = about
    with contextlib.ExitStack() as files:
        try:
            image = Image(int(pid), files)
        except OSError:
            return []
        walk(addresses, words, image.frame)
        return [[address, frame.name, frame.size] for address, frame in image.frames.items()]


@dataclass(frozen=True)
class Mapping:
    """An executable part of a process's memory: a line of /proc/PID/maps."""

    start: int
    end: int
    offset: int
    path: str

    @property
    def module(self) -> str:
        """Its file's name, without the path."""
        return printable(os.path.basename(self.path.removesuffix(" (deleted)")))


def executable(maps: str) -> list[Mapping]:
    """The executable lines of /proc/PID/maps."""
    found = []
    for line in maps.splitlines():
        place, rights, offset, _device, _inode, *path = line.split(maxsplit=5)
        if "x" in rights:
            start, end = (int(part, 16) for part in place.split("-"))
            found.append(Mapping(start, end, int(offset, 16), path[0] if path else ""))
    return found


class Image:
    """A process's code. ``frames``: what was looked up so far. ``closing`` closes its files."""

    def __init__(self, pid: int, closing: contextlib.ExitStack) -> None:
        """OSError if the process is gone."""
        self._pid = pid
        self._closing = closing
        self._files: dict[str, elf.Elf | None] = {}
        self.frames: dict[int, Frame] = {}
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            self._maps = executable(file.read())

    def frame(self, address: int) -> Frame:
        """What is at a return address."""
        if address not in self.frames:
            self.frames[address] = self._look(address)
        return self.frames[address]

    def _look(self, address: int) -> Frame:
        # the call is just before; that of a function that never returns may be its last byte
        mapping = next((m for m in self._maps if m.start < address <= m.end), None)
        if mapping is None or not mapping.module:
            return NOWHERE  # no code, or code that was made at run time
        if mapping.path == "[vdso]":
            return Frame(f"vdso+{address - mapping.start:#x}")
        if mapping.path not in self._files:
            self._files[mapping.path] = self._open(mapping)
        file = self._files[mapping.path]
        if file is None:
            return Frame(mapping.module)
        try:
            return _frame(file, address - mapping.start + mapping.offset, mapping.module)
        except DAMAGED:
            return NOWHERE

    def _open(self, mapping: Mapping) -> elf.Elf | None:
        """The very file that is mapped, though it may be deleted or in a container."""
        base = f"/proc/{self._pid}"
        for path in (
            f"{base}/map_files/{mapping.start:x}-{mapping.end:x}",
            f"{base}/root{mapping.path}",
        ):
            with contextlib.suppress(*DAMAGED):
                file = opened(path)
                self._closing.callback(os.close, file)
                return elf.Elf(_reader(file))
        return None


def _reader(file: int) -> elf.Read:
    return lambda at, size: os.pread(file, size, at)


def opened(path: str) -> int:
    """A descriptor of a regular file; OSError for anything else, which is not even opened.

    The path may lead elsewhere a moment later: what is looked at is what is opened.
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "no regular file", path)
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)


def _frame(file: elf.Elf, offset: int, module: str) -> Frame:
    """A return address by its place in the file."""
    if not behind_call(file.machine, file.read(max(0, offset - BEFORE), min(BEFORE, offset))):
        return NOWHERE
    address = file.address(offset - 1)
    if address is None:
        return NOWHERE
    function = file.function(address)
    name = f"{function} ({module})" if function else f"{module}+{address + 1:#x}"
    return Frame(_short(name), _size(file, address))


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."


def _size(file: elf.Elf, address: int) -> int:
    try:
        return unwind.frame_size(file, address) if file.machine == elf.X86_64 else 0
    except (ValueError, LookupError, struct.error):
        return 0


def behind_call(machine: int, code: bytes) -> bool:
    """Do these bytes of code end with a call, or with a system call?"""
    if machine == AARCH64:
        number = int.from_bytes(code[-4:], "little")
        return len(code) >= 4 and any(number & mask == value for mask, value in CALLS_AARCH64)
    if machine != elf.X86_64:
        return False
    if code.endswith((b"\x0f\x05", b"\x0f\x34", b"\xcd\x80")) or code[-5:-4] == b"\xe8":
        return True
    return any(_indirect_call(code[-size:]) for size in (2, 3, 4, 6, 7) if len(code) >= size)


def _indirect_call(code: bytes) -> bool:
    """Is all of this one ``call r/m64``? (FF /2, Intel SDM volume 2, 2.1.5)"""
    mode, register, memory = code[1] >> 6, code[1] >> 3 & 7, code[1] & 7
    if code[0] != 0xFF or register != 2:
        return False
    scaled = mode != 3 and memory == 4
    base = code[2] & 7 if scaled and len(code) > 2 else memory
    distance = {0: 4 if base == 5 else 0, 1: 1, 2: 4, 3: 0}[mode]
    return len(code) == 2 + scaled + distance
