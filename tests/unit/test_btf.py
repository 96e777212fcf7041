"""BTF, on a small blob made here and on the running kernel's own."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from rsttrace.errors import CannotTrace
from rsttrace.kernel.btf import VMLINUX, Btf
from rsttrace.kernel.features import HOOKS, probe
from rsttrace.kernel.loader import NEEDED, read_sources

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = 1, 2, 3, 4, 5, 6, 7, 8
VOLATILE, CONST, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG = (
    9, 10, 12, 13, 14, 15, 16, 17, 18
)  # fmt: skip
RESTRICT, ENUM64 = 11, 19


class Blob:
    """Writes BTF (Documentation/bpf/btf.rst). Types are numbered from 1."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = b"\0"
        self.count = 0

    def string(self, text: str) -> int:
        """Each text is there once, as in the kernel's own."""
        if not text:
            return 0
        place = self.strings.find(b"\0" + text.encode() + b"\0")
        if place < 0:
            place = len(self.strings) - 1
            self.strings += text.encode() + b"\0"
        return place + 1

    def add(
        self,
        kind: int,
        name: str = "",
        last: int = 0,
        vlen: int = 0,
        tail: bytes = b"",
        flag: int = 0,
    ) -> int:
        info = flag << 31 | kind << 24 | vlen
        self.types += struct.pack("<III", self.string(name), info, last) + tail
        self.count += 1
        return self.count

    def struct(
        self,
        name: str,
        size: int,
        *members: tuple[str, int, int],
        kind: int = STRUCT,
        flag: int = 0,
    ) -> int:
        """Members: name, type, offset in bits."""
        tail = b"".join(struct.pack("<III", self.string(n), t, bits) for n, t, bits in members)
        return self.add(kind, name, size, len(members), tail, flag)

    def enum(self, name: str, *values: tuple[str, int]) -> int:
        tail = b"".join(struct.pack("<Ii", self.string(n), v) for n, v in values)
        return self.add(ENUM, name, 4, len(values), tail)

    def enum64(self, name: str, *values: tuple[str, int]) -> int:
        parts = ((self.string(n), v & 0xFFFFFFFF, v >> 32) for n, v in values)
        tail = b"".join(struct.pack("<III", *p) for p in parts)
        return self.add(ENUM64, name, 8, len(values), tail)

    def proto(self, params: int) -> int:
        return self.add(FUNC_PROTO, vlen=params, tail=b"\0" * 8 * params)

    def raw(self, magic: int = 0xEB9F, header: int = 24) -> bytes:
        head = struct.pack(
            "<HBBIIIII", magic, 1, 0, header, 0, len(self.types), len(self.types), len(self.strings)
        )
        return head.ljust(header, b"\0") + self.types + self.strings


def every_kind(blob: Blob) -> int:
    """One type of each kind, so that a wrong size of any shifts all that follow."""
    number = blob.add(INT, "int", 4, tail=b"\0" * 4)
    blob.add(PTR, last=number)
    blob.add(ARRAY, tail=b"\0" * 12)
    blob.add(FWD, "later")
    blob.add(FUNC, "a_function")
    blob.add(VAR, "a_variable", tail=b"\0" * 4)
    blob.add(DATASEC, ".data", vlen=2, tail=b"\0" * 24)
    blob.add(FLOAT, "double", 8)
    blob.add(DECL_TAG, "tag", tail=b"\0" * 4)
    blob.proto(3)
    blob.enum64("wide", ("BIG", 1 << 40))
    return number


def test_members_with_anonymous_unions_typedefs_and_bit_fields() -> None:
    blob = Blob()
    number = every_kind(blob)
    inner = blob.struct("", 8, ("first", number, 0), ("second", number, 32))
    union = blob.struct("", 8, ("", inner, 0), ("whole", number, 0), kind=UNION)
    volatile = blob.add(VOLATILE, last=blob.add(RESTRICT, last=union))
    alias = blob.add(TYPEDEF, "alias_t", blob.add(CONST, last=volatile))
    blob.struct("outer", 32, ("head", number, 0), ("", union, 64), ("named", alias, 128))
    blob.struct("bits", 8, ("flag", number, 3 << 24 | 8), ("wide", number, 32), flag=1)
    btf = Btf(blob.raw(), ("outer", "bits", "missing"))
    assert btf.members("outer") == {"head": 0, "first": 8, "second": 12, "whole": 8, "named": 16}
    assert btf.members("bits") == {"flag": 1, "wide": 4}
    assert btf.members("missing") == {}
    assert btf.size("outer") == 32
    assert btf.size("missing") is None


def test_struct_behind_a_typedef() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, tail=b"\0" * 4)
    anonymous = blob.struct("", 16, ("owned", number, 64))
    blob.add(TYPEDEF, "socket_lock_t", blob.add(TYPE_TAG, "tag", anonymous))
    assert Btf(blob.raw(), ("socket_lock_t",)).members("socket_lock_t") == {"owned": 8}


def test_members_of_a_member_without_a_type_name() -> None:
    """icsk_ack of inet_connection_sock is a struct without a name of its own."""
    blob = Blob()
    number = blob.add(INT, "int", 4, tail=b"\0" * 4)
    bits = ("pending", number, 8 << 24), ("quick", number, 8 << 24 | 8)
    ack = blob.struct("", 16, *bits, ("lrcvtime", number, 64), flag=1)
    deep = blob.struct("", 24, ("", ack, 0), ("more", blob.struct("", 4, ("it", number, 0)), 160))
    const = blob.add(CONST, last=blob.add(VOLATILE, last=ack))
    either = blob.struct("", 8, ("one", number, 0), ("other", number, 0), kind=UNION)
    known = blob.struct("timer", 8, ("expires", number, 32))
    blob.struct(
        "icsk",
        128,
        ("icsk_ack", ack, 64),
        ("icsk_const", const, 192),
        ("icsk_deep", deep, 320),
        ("icsk_timer", known, 512),
        ("icsk_either", either, 576),
        ("icsk_pointer", blob.add(PTR, last=ack), 640),
        ("icsk_nothing", 0, 704),
        ("icsk_ack__pending", number, 768),
        ("", blob.struct("", 16, ("inner", blob.struct("", 4, ("it", number, 0)), 64)), 800),
    )
    btf = Btf(blob.raw(), ("icsk", "timer"))
    assert btf.members("icsk") == {
        "icsk_ack": 8,
        "icsk_ack__pending": 8,
        "icsk_ack__quick": 9,
        "icsk_ack__lrcvtime": 16,
        "icsk_const": 24,
        "icsk_const__pending": 24,
        "icsk_const__quick": 25,
        "icsk_const__lrcvtime": 32,
        "icsk_deep": 40,
        "icsk_deep__pending": 40,
        "icsk_deep__quick": 41,
        "icsk_deep__lrcvtime": 48,
        "icsk_deep__more": 60,
        "icsk_deep__more__it": 60,
        "inner": 108,
        "inner__it": 108,
        # a type with a name, a union, a pointer: their members are not part of this one
        "icsk_timer": 64,
        "icsk_either": 72,
        "icsk_pointer": 80,
        "icsk_nothing": 88,
    }


def test_typedef_of_no_struct_has_no_members() -> None:
    blob = Blob()
    blob.add(TYPEDEF, "u32", blob.add(INT, "int", 4, tail=b"\0" * 4))
    assert Btf(blob.raw(), ("u32",)).members("u32") == {}


def test_enums() -> None:
    blob = Blob()
    every_kind(blob)
    blob.enum("reason", ("R_NOT", 2), ("R_NO_SOCKET", 3), ("R_ALIAS", 3))
    btf = Btf(blob.raw(), ("reason", "wide", "other"))
    assert btf.enum("reason") == {2: "R_NOT", 3: "R_NO_SOCKET"}  # the first name counts
    assert btf.enum("wide") == {1 << 40: "BIG"}
    assert btf.enum("other") == {}


def test_tracepoint_args() -> None:
    blob = Blob()
    every_kind(blob)
    blob.add(TYPEDEF, "btf_trace_tcp_send_reset", blob.add(PTR, last=blob.proto(4)))
    blob.add(TYPEDEF, "btf_trace_odd", blob.add(INT, "odd", 4, tail=b"\0" * 4))
    btf = Btf(blob.raw(), ("btf_trace_tcp_send_reset", "btf_trace_odd", "btf_trace_none"))
    assert btf.tracepoint_args("tcp_send_reset") == 3  # without the private pointer
    assert btf.tracepoint_args("odd") is None
    assert btf.tracepoint_args("none") is None


def test_name_that_ends_another_is_not_it() -> None:
    """tcp_sock ends in sock; and a function and a struct may share a name."""
    blob = Blob()
    number = blob.add(INT, "int", 4, tail=b"\0" * 4)
    blob.struct("tcp_sock", 8, ("wrong", number, 0))
    blob.add(FUNC, "sock")
    blob.struct("sock", 8, ("right", number, 32))
    assert Btf(blob.raw(), ("sock",)).members("sock") == {"right": 4}


def test_header_of_another_length() -> None:
    blob = Blob()
    blob.enum("reason", ("R", 1))
    assert Btf(blob.raw(header=32), ("reason",)).enum("reason") == {1: "R"}


def test_not_btf() -> None:
    with pytest.raises(CannotTrace, match="not in a form"):
        Btf(Blob().raw(magic=0x9FEB), ())


@pytest.mark.parametrize("content", [None, b"", b"\x9f\xeb\x01"])
def test_no_btf(tmp_path: Path, content: bytes | None) -> None:
    """A kernel without it, and a file cut short."""
    path = tmp_path / "vmlinux"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CannotTrace) as caught:
        Btf.load((), path)
    assert "\n" not in caught.value.message
    if content is None:
        assert "CONFIG_DEBUG_INFO_BTF" in caught.value.hint


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_running_kernel() -> None:
    features = probe(read_sources())
    assert set(NEEDED) <= set(features.args) <= set(HOOKS)
    assert features.args["tcp_send_reset"] in (2, 3)
    assert features.offsets["sk_buff", "head"]
    assert features.page_struct_size in (56, 64, 72, 80)
    drop: Any = features.enums["skb_drop_reason"]
    if drop:
        assert "NO_SOCKET" in drop.values()
        assert not any(name.startswith("SKB_") for name in drop.values())


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_unnamed_struct_of_the_running_kernel() -> None:
    """How long a connection was idle is in icsk_ack.lrcvtime."""
    btf = Btf.load(("inet_connection_sock",))
    members = btf.members("inet_connection_sock")
    assert (
        members["icsk_ack"]
        < members["icsk_ack__lrcvtime"]
        < (btf.size("inet_connection_sock") or 0)
    )
    found = probe(read_sources()).offsets["inet_connection_sock", "icsk_ack__lrcvtime"]
    assert found == members["icsk_ack__lrcvtime"]
