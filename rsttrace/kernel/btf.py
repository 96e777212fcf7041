"""The running kernel's own description of its types (BTF), read in pure Python.

One pass over ``/sys/kernel/btf/vmlinux`` (about 120,000 types, 30-90 ms) notes where each
type is; only the types asked for are decoded. Format: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from rsttrace.errors import CannotTrace

VMLINUX = Path("/sys/kernel/btf/vmlinux")
MAGIC = 0xEB9F

KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_TYPEDEF, KIND_ENUM64 = 4, 5, 6, 8, 19
KIND_PTR, KIND_FUNC_PROTO = 2, 13
# kinds that only lead on to another type: typedef, volatile, const, restrict, type tag
TRANSPARENT = {8, 9, 10, 11, 18}
# bytes that follow the 12-byte struct btf_type: fixed, and for each of its vlen members
FIXED = (0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0)
PER_MEMBER = (0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12)

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")


class Btf:
    """Types of one BTF blob. ``names`` are the type names that will be asked for."""

    def __init__(self, raw: bytes, names: Iterable[str]) -> None:
        magic, header, type_off, type_len, str_off, str_len = 0, 0, 0, 0, 0, 0
        if len(raw) >= _HEADER.size:
            magic, _, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(raw)
        if magic != MAGIC:
            raise CannotTrace("the kernel's BTF is not in a form this program can read")
        self._raw = raw
        self._strings = raw[header + str_off : header + str_off + str_len]
        self._offsets = [0]
        self._by_name: dict[tuple[str, int], int] = {}
        self._index(header + type_off, header + type_off + type_len, set(names))

    @classmethod
    def load(cls, names: Iterable[str], path: Path = VMLINUX) -> Btf:
        """Read a BTF file; CannotTrace if this kernel has none."""
        try:
            raw = path.read_bytes()
        except OSError as err:
            raise CannotTrace(
                f"this kernel describes no types: {path}: {err.strerror}.",
                "rsttrace needs a kernel built with CONFIG_DEBUG_INFO_BTF=y "
                "(Debian 11, Ubuntu 20.10, RHEL 8.2 and newer have it).",
            ) from err
        try:
            return cls(raw, names)
        except (struct.error, IndexError) as err:
            raise CannotTrace("the kernel's BTF is damaged: it ends too early.") from err

    def _index(self, pos: int, end: int, names: set[str]) -> None:
        wanted = {self._strings.find(b"\0" + n.encode() + b"\0") + 1: n for n in names}
        wanted.pop(0, None)
        raw, unpack, add = self._raw, _TYPE.unpack_from, self._offsets.append
        fixed, per_member = FIXED, PER_MEMBER
        while pos < end:
            name, info, _ = unpack(raw, pos)
            add(pos)
            kind = (info >> 24) & 31
            if name in wanted:
                self._by_name.setdefault((wanted[name], kind), len(self._offsets) - 1)
            pos += 12 + fixed[kind] + per_member[kind] * (info & 0xFFFF)

    def _name(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _resolve(self, type_id: int) -> tuple[int, int, int, int]:
        """Through typedefs and qualifiers: (position, kind, info, size or type)."""
        while True:
            pos = self._offsets[type_id]
            _, info, last = _TYPE.unpack_from(self._raw, pos)
            kind = (info >> 24) & 31
            if kind not in TRANSPARENT:
                return pos, kind, info, last
            type_id = last

    def _find(self, name: str, *kinds: int) -> int | None:
        return next((i for k in kinds if (i := self._by_name.get((name, k))) is not None), None)

    def members(self, name: str) -> dict[str, int]:
        """Byte offsets of the members of a struct, also of those in anonymous unions.

        ``member__inner`` for what is in a member's own unnamed struct.
        """
        type_id = self._find(name, KIND_STRUCT, KIND_UNION, KIND_TYPEDEF)
        return {} if type_id is None else self._members(type_id, 0)

    def _members(self, type_id: int, base: int) -> dict[str, int]:
        pos, kind, info, _ = self._resolve(type_id)
        found: dict[str, int] = {}
        if kind not in (KIND_STRUCT, KIND_UNION):
            return found
        for i in range(info & 0xFFFF):
            name, member, bits = _TYPE.unpack_from(self._raw, pos + 12 + 12 * i)
            if info >> 31:  # kind_flag: the top byte is a bit-field's width
                bits &= 0xFFFFFF
            if name:
                known = self._name(name)
                found.setdefault(known, base + bits // 8)
                for key, value in self._unnamed(member).items():
                    found.setdefault(f"{known}__{key}", base + bits // 8 + value)
            else:
                for key, value in self._members(member, base + bits // 8).items():
                    found.setdefault(key, value)
        return found

    def _unnamed(self, type_id: int) -> dict[str, int]:
        """Members of a member whose struct has no name of its own (``icsk_ack.lrcvtime``)."""
        if not type_id:  # void
            return {}
        pos, kind, _, _ = self._resolve(type_id)
        named = _TYPE.unpack_from(self._raw, pos)[0]
        return self._members(type_id, 0) if kind == KIND_STRUCT and not named else {}

    def size(self, name: str) -> int | None:
        """Size of a struct in bytes."""
        type_id = self._find(name, KIND_STRUCT, KIND_UNION)
        return None if type_id is None else self._resolve(type_id)[3]

    def enum(self, name: str) -> dict[int, str]:
        """Values of an enum by number; empty if this kernel does not have it."""
        type_id = self._find(name, KIND_ENUM, KIND_ENUM64)
        if type_id is None:
            return {}
        pos, kind, info, _ = self._resolve(type_id)
        found: dict[int, str] = {}
        for i in range(info & 0xFFFF):
            if kind == KIND_ENUM:
                label, value = struct.unpack_from("<II", self._raw, pos + 12 + 8 * i)
            else:
                label, low, high = _TYPE.unpack_from(self._raw, pos + 12 + 12 * i)
                value = high << 32 | low
            found.setdefault(value, self._name(label))
        return found

    def tracepoint_args(self, event: str) -> int | None:
        """Number of arguments of a tracepoint, None if this kernel does not have it.

        ``btf_trace_EVENT`` is a typedef of a pointer to the probe's prototype, which has the
        tracepoint's own private pointer before the arguments.
        """
        type_id = self._find(f"btf_trace_{event}", KIND_TYPEDEF)
        if type_id is None:
            return None
        _, kind, _, target = self._resolve(type_id)
        if kind != KIND_PTR:
            return None
        _, kind, info, _ = self._resolve(target)
        return (info & 0xFFFF) - 1 if kind == KIND_FUNC_PROTO else None
