"""The layout of a record, read from bpf/record.h, the one place where it exists.

A recording carries the layout it was made with, so that a later rsttrace can still read it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_FORMATS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}
_FIELD = re.compile(r"^\s*(u8|u16|u32|u64)\s+(\w+)(?:\[(\w+)\])?;", re.MULTILINE)
_NUMBER = re.compile(r"^#define\s+(\w+)\s+(\d+)\s", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """Field names with their struct codes, and the header's #define numbers."""

    fields: tuple[tuple[str, str], ...]
    numbers: Mapping[str, int]

    @classmethod
    def parse(cls, header: str) -> Layout:
        """Read ``struct record`` out of the text of record.h."""
        numbers = {name: int(value) for name, value in _NUMBER.findall(header)}
        fields = []
        for kind, name, length in _FIELD.findall(header):
            count = int(length) if length.isdigit() else numbers.get(length, 0)
            code = _FORMATS[kind]
            fields.append((name, f"{count}s" if length and code == "B" else f"{count or 1}{code}"))
        return cls(tuple(fields), numbers)

    @cached_property
    def format(self) -> str:
        """The whole record as a struct format, little or big endian as this machine is."""
        return "=" + "".join(code for _, code in self.fields)

    @cached_property
    def size(self) -> int:
        """Bytes of one record."""
        return struct.calcsize(self.format)

    def unpack(self, raw: bytes) -> dict[str, Any]:
        """Field values by name; arrays of numbers become tuples, bytes stay bytes."""
        values = struct.unpack_from(self.format, raw)
        return {
            name: values[place] if count == 1 else values[place : place + count]
            for name, place, count in self._places
        }

    @cached_property
    def _places(self) -> list[tuple[str, int, int]]:
        """Name, index in the unpacked tuple, number of values."""
        places, place = [], 0
        for name, code in self.fields:
            count = 1 if code.endswith("s") else int(code[:-1])
            places.append((name, place, count))
            place += count
        return places
