"""A small reader of ELF files: which function holds an address, and how large its frame is there.

Formats: System V ABI, chapters 4 and 5; Linux Standard Base, .eh_frame and .eh_frame_hdr; DWARF 5,
6.4. Files come from anybody: everything here may raise ValueError, IndexError or struct.error, and
whatever ``read`` raises for an offset that no file has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cached_property

MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian
X86_64 = 62
PT_LOAD, PT_GNU_EH_FRAME = 1, 0x6474E550
SHT_SYMTAB, SHT_DYNSYM = 2, 11
STT_FUNC, STT_GNU_IFUNC = 2, 10
MOST_SYMBOLS = 300_000  # of one file: 0.1 s, 50 MB

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")

Read = Callable[[int, int], bytes]


class Elf:
    """``read(offset, size)`` gives bytes of the file, fewer at its end."""

    def __init__(self, read: Read) -> None:
        self.read = read
        header = _HEADER.unpack(read(0, _HEADER.size))
        if not header[0].startswith(MAGIC):
            raise ValueError("no 64-bit little-endian ELF file")
        self.machine = header[2]
        self._segments = list(self._table(_SEGMENT, header[5], header[10]))
        self._sections = list(self._table(_SECTION, header[6], header[12]))

    def _table(self, row: struct.Struct, offset: int, count: int) -> Iterator[tuple[int, ...]]:
        return row.iter_unpack(self.read(offset, row.size * count))

    def address(self, offset: int) -> int | None:
        """The address that the file itself gives to a byte of it."""
        for kind, _, start, address, _, size, _, _ in self._segments:
            if kind == PT_LOAD and start <= offset < start + size:
                return offset - start + address
        return None

    def offset(self, address: int) -> int | None:
        """Where in the file the byte with this address is."""
        for kind, _, start, first, _, size, _, _ in self._segments:
            if kind == PT_LOAD and first <= address < first + size:
                return address - first + start
        return None

    def function(self, address: int) -> str | None:
        """Name of the function that this address lies in, never of the one before."""
        names = [
            self._text(strings, name)
            for strings, symbols in self._symbols
            for name, info, _, section, start, size in symbols
            if start <= address < start + size
            and section
            and info & 15 in (STT_FUNC, STT_GNU_IFUNC)
        ]
        # of several names the public one: close, __close
        return min(names, key=lambda n: (len(n) - len(n.lstrip("_")), len(n), n), default=None)

    @cached_property
    def _symbols(self) -> list[tuple[int, list[tuple[int, ...]]]]:
        """Offset of the names, and the rows, of each table, unless they are too many in all."""
        tables = []
        room = MOST_SYMBOLS
        for section in self._sections:
            kind, offset, size, link = section[1], section[4], section[5], section[6]
            count = size // _SYMBOL.size
            if kind in (SHT_SYMTAB, SHT_DYNSYM) and count <= room:
                room -= count
                rows = list(self._table(_SYMBOL, offset, count))
                tables.append((self._sections[link][4], rows))
        return tables

    def _text(self, strings: int, at: int) -> str:
        return self.read(strings + at, 256).split(b"\0", 1)[0].decode(errors="backslashreplace")

    def unwind_table(self) -> int | None:
        """Address of .eh_frame_hdr."""
        return next((s[3] for s in self._segments if s[0] == PT_GNU_EH_FRAME), None)

    def at(self, address: int, size: int) -> bytes:
        """Bytes at an address; ValueError if the file has none there."""
        offset = self.offset(address)
        raw = b"" if offset is None else self.read(offset, size)
        if len(raw) != size:
            raise ValueError(f"no {size} bytes at {address:#x}")
        return raw
