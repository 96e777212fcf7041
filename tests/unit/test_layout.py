"""The layout of a record: bpf/record.h is the one place where it exists."""

from __future__ import annotations

import ctypes
import json
import struct

import pytest

from rsttrace.layout import Layout

from .build import LAYOUT, raw_record, record_header
from .labfiles import DATA

C_TYPES = {"B": ctypes.c_uint8, "H": ctypes.c_uint16, "I": ctypes.c_uint32, "Q": ctypes.c_uint64}


def c_struct(layout: Layout) -> type[ctypes.Structure]:
    """The record as a C compiler lays it out."""
    members = []
    for name, code in layout.fields:
        count, kind = int(code[:-1]), C_TYPES["B" if code.endswith("s") else code[-1]]
        members.append((name, kind * count if count > 1 else kind))
    return type("record", (ctypes.Structure,), {"_fields_": members})


def offsets(layout: Layout) -> dict[str, int]:
    found, place = {}, 0
    for name, code in layout.fields:
        found[name] = place
        place += struct.calcsize("=" + code)
    return found


def test_no_padding_between_the_fields() -> None:
    """The struct module's "=" knows no alignment, so a gap in C would shift all that follows."""
    compiled = c_struct(LAYOUT)
    assert {name: getattr(compiled, name).offset for name, _ in LAYOUT.fields} == offsets(LAYOUT)


def test_no_padding_at_the_end() -> None:
    """sizeof(struct record) is what bpf_perf_event_output() sends and a recording is cut by."""
    assert ctypes.sizeof(c_struct(LAYOUT)) == LAYOUT.size


def test_names_and_places_are_those_committed() -> None:
    """On purpose? Then: /usr/bin/python3 tools/record-fixtures.py --layout"""
    golden = json.loads((DATA / "record-layout.json").read_text())
    codes = dict(LAYOUT.fields)
    now = [[name, at, codes[name]] for name, at in offsets(LAYOUT).items()]
    assert now == golden["fields"]
    assert golden["size"] == LAYOUT.size


def test_every_field_line_of_the_header_was_read() -> None:
    body = record_header().partition("struct record {")[2].partition("};")[0]
    declared = [line for line in body.splitlines() if ";" in line.partition("/*")[0]]
    assert len(declared) == len(LAYOUT.fields)
    assert len({name for name, _ in LAYOUT.fields}) == len(LAYOUT.fields)


def test_numbers() -> None:
    n = LAYOUT.numbers
    kinds = [name for name in n if name.startswith("KIND_") and name != "KIND_COUNT"]
    assert sorted(n[k] for k in kinds) == list(range(1, n["KIND_COUNT"]))
    have = [value for name, value in n.items() if name.startswith("HAVE_")]
    assert all(bit & (bit - 1) == 0 for bit in have)
    assert len(set(have)) == len(have)
    assert n["STACK_DEPTH"] == 32


def test_parse() -> None:
    text = """
#define DEPTH	2	/* frames */
struct record {
	u64 time_ns;	/* ns; not s */
	u32 stack[DEPTH];
	u16 port;
	u8 name[3];
	u8 state;
};
"""
    layout = Layout.parse(text)
    assert layout.fields == (
        ("time_ns", "1Q"),
        ("stack", "2I"),
        ("port", "1H"),
        ("name", "3s"),
        ("state", "1B"),
    )
    assert layout.numbers == {"DEPTH": 2}
    assert layout.size == 8 + 8 + 2 + 3 + 1
    raw = struct.pack("=Q2IH3sB", 5, 1, 2, 80, b"ab\0", 9)
    assert layout.unpack(raw) == {
        "time_ns": 5,
        "stack": (1, 2),
        "port": 80,
        "name": b"ab\0",
        "state": 9,
    }


def test_unpack_ignores_what_the_perf_buffer_adds() -> None:
    raw = raw_record(time_ns=7, h_old_state=3) + b"\xff" * 8
    values = LAYOUT.unpack(raw)
    assert (values["time_ns"], values["h_old_state"]) == (7, 3)


def test_every_code_is_one_the_struct_module_knows() -> None:
    assert all(struct.calcsize("=" + code) > 0 for _, code in LAYOUT.fields)
    with pytest.raises(struct.error):
        LAYOUT.unpack(b"\0" * (LAYOUT.size - 1))
