"""Names and frame sizes out of ELF files, and the walk from one return address to the next."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rsttrace.decode import Decoder
from rsttrace.enrich import unwind
from rsttrace.enrich.answers import symbols
from rsttrace.enrich.elf import MAGIC, PT_GNU_EH_FRAME, PT_LOAD, X86_64, Elf
from rsttrace.enrich.userstack import GAP, Frame, UserStacks, walk

from .build import LAYOUT, FakeNames, raw_record

# the made-up file: addresses are BASE + offset; code at CODE, frames at FRAMES
BASE, CODE, FRAMES, NAMES, TABLE, ROWS = 0x400000, 0x200, 0x600, 0x800, 0x900, 0xA00
SIZE = 0xC00
CALL = b"\xe8\0\0\0\0"


def entry(body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    return struct.pack("<I", len(body)) + body


def frames(program: bytes, letters: bytes = b"zR", length: int = 0x80) -> tuple[bytes, bytes]:
    """.eh_frame_hdr and .eh_frame for one function at CODE, as a linker puts them at FRAMES."""
    start = FRAMES + 20
    rules = b"\x0c\x07\x08\x90\x01"  # frame's end is sp + 8; the return address is just below
    cie = entry(struct.pack("<IB", 0, 1) + letters + b"\0" + b"\x01\x78\x10" + b"\x01\x1b" + rules)
    at = start + len(cie)
    body = struct.pack("<Iii", at + 4 - start, CODE - (at + 8), length)
    fde = entry(body + b"\0" + program)
    head = b"\x01\x1b\x03\x3b" + struct.pack("<iIii", 16, 1, CODE - FRAMES, at - FRAMES)
    return head, cie + fde


def image(
    program: bytes = b"",
    rows: Sequence[tuple[str, int, int, int]] = (),
    code: Mapping[int, bytes] | None = None,
    **options: Any,
) -> bytes:
    """An ELF file. ``rows``: name, offset from CODE, size and info of each symbol."""
    file = bytearray(SIZE)
    strings = b"\0" + b"\0".join(name.encode() for name, *_ in rows) + b"\0"
    table = b"".join(
        struct.pack("<IBBHQQ", strings.index(b"\0" + name.encode() + b"\0") + 1, info, 0, 1,
                    BASE + CODE + at, size)
        for name, at, size, info in rows
    )  # fmt: skip
    head, entries = frames(program, **options)
    counts = (0, 64, 56, 2, 64, 3, 0)
    parts = {
        0: struct.pack("<16sHHIQQQIHHHHHH", MAGIC, 2, X86_64, 1, 0, 64, ROWS, *counts),
        64: struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, BASE, BASE, SIZE, SIZE, 4096)
        + struct.pack("<IIQQQQQQ", PT_GNU_EH_FRAME, 4, FRAMES, BASE + FRAMES, 0, 20, 20, 4),
        NAMES: strings,
        TABLE: table,
        ROWS: bytes(64)
        + struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, TABLE, len(table), 2, 0, 8, 24)
        + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, NAMES, len(strings), 0, 0, 1, 0),
        FRAMES: head + entries,
        **{CODE + at: raw for at, raw in (code or {}).items()},
    }  # fmt: skip
    for at, raw in parts.items():
        file[at : at + len(raw)] = raw
    return bytes(file)


def elf(raw: bytes) -> Elf:
    return Elf(lambda at, size: raw[at : at + size])


# -- names -----------------------------------------------------------------------------------------

FUNCTIONS = (("first", 0, 16, 0x12), ("second", 32, 16, 0x12), ("data", 48, 16, 0x11))


@pytest.mark.parametrize(
    ("at", "name"),
    [(0, "first"), (15, "first"), (16, None), (31, None), (32, "second"), (48, None), (200, None)],
)
def test_never_the_name_of_the_function_before(at: int, name: str | None) -> None:
    assert elf(image(rows=FUNCTIONS)).function(BASE + CODE + at) == name


def test_of_several_names_the_public_one() -> None:
    rows = [(name, 0, 16, 0x12) for name in ("__libc_close", "__close", "close", "close64")]
    assert elf(image(rows=rows)).function(BASE + CODE + 4) == "close"


def test_tables_that_are_too_long_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may have thousands of tables, all of the same bytes: they must not fill the host."""
    many = 50
    raw = bytearray(image(rows=FUNCTIONS))
    section = raw[ROWS + 64 : ROWS + 128]
    raw[60:62] = struct.pack("<H", 3 + many)
    raw[ROWS + 192 : ROWS + 192 + 64 * many] = section * many
    monkeypatch.setattr("rsttrace.enrich.elf.MOST_SYMBOLS", 2 * len(FUNCTIONS) + 1)
    file = elf(bytes(raw))
    assert [len(rows) for _, rows in file._symbols] == [len(FUNCTIONS)] * 2
    assert file.function(BASE + CODE) == "first"
    monkeypatch.setattr("rsttrace.enrich.elf.MOST_SYMBOLS", len(FUNCTIONS) - 1)
    assert elf(bytes(raw)).function(BASE + CODE) is None


def test_addresses_of_a_file() -> None:
    file = elf(image())
    assert file.address(CODE) == BASE + CODE
    assert file.offset(BASE + CODE) == CODE
    assert file.address(SIZE) is None
    assert file.offset(BASE - 1) is None
    with pytest.raises(ValueError, match="no 4 bytes"):
        file.at(BASE + SIZE, 4)


@pytest.mark.parametrize("raw", [b"", b"#!/bin/sh\n" * 20, image()[:70], b"\x7fELF\x01\x01" * 20])
def test_no_elf_file(raw: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        elf(raw)


def looked_up(raw: bytes, at: int) -> Frame:
    return symbols._frame(elf(raw), CODE + at, "nginx")


def test_text_of_a_return_address() -> None:
    code = {4: CALL, 64: CALL}
    raw = image(rows=FUNCTIONS, code=code)
    assert looked_up(raw, 9).name == "first (nginx)"
    assert looked_up(raw, 69).name == f"nginx+{BASE + CODE + 69:#x}"
    assert looked_up(raw, 10) == Frame()  # not behind a call


def test_a_call_may_be_the_last_of_its_function() -> None:
    """A function that never returns is called there, and the next one begins behind."""
    rows = (("caller", 0, 9, 0x12), ("stranger", 9, 9, 0x12))
    assert looked_up(image(rows=rows, code={4: CALL}), 9).name == "caller (nginx)"


def test_names_in_a_file_are_only_text() -> None:
    rows = (("\x1b[31m" + "x" * 300, 0, 16, 0x12),)
    name = looked_up(image(rows=rows, code={4: CALL}), 9).name
    assert name.isprintable()
    assert len(name) < 120


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("0f05", True),
        ("cd80", True),
        ("e811223344", True),
        ("ffd0", True),  # call *%rax
        ("41ffd4", True),  # call *%r12
        ("ff5008", True),  # call *8(%rax)
        ("ff1510203040", True),  # call *x(%rip)
        ("ff9080000000", True),  # call *0x80(%rax)
        ("ff14c5", False),
        ("ff14c500104000", True),  # call *0x401000(,%rax,8)
        ("ff542408", True),  # call *8(%rsp)
        ("ff942480000000", True),
        ("ffe0", False),  # jmp *%rax
        ("90909090909090", False),
        ("", False),
    ],
)
def test_behind_a_call(code: str, call: bool) -> None:
    assert symbols.behind_call(X86_64, bytes.fromhex(code)) == call


def test_behind_a_call_on_arm() -> None:
    for number in (0x94000010, 0xD63F0100, 0xD4000001):
        assert symbols.behind_call(symbols.AARCH64, struct.pack("<II", 0, number))
    assert not symbols.behind_call(symbols.AARCH64, struct.pack("<I", 0xD65F03C0))  # ret
    assert not symbols.behind_call(243, b"\xe8\0\0\0\0")  # a machine we do not know


# -- frame sizes -----------------------------------------------------------------------------------

PUSHED = b"\x44\x0e\x20" + b"\x48\x0e\x08"  # 4 bytes in: 32 bytes; 8 further: back


@pytest.mark.parametrize(
    ("program", "at", "size"),
    [
        (b"", 0, 8),
        (PUSHED, 0, 8),
        (PUSHED, 3, 8),
        (PUSHED, 4, 32),
        (PUSHED, 11, 32),
        (PUSHED, 12, 8),
        (b"\x02\x04\x0e\x90\x01", 4, 144),
        (b"\x03\x04\x00\x0e\x10", 4, 16),
        (b"\x04\x04\x00\x00\x00\x0e\x10", 4, 16),
        (b"\x0e\x10\x0a\x0e\x20\x0b", 0, 16),  # remembered
        (b"\x0e\x10\x86\x02\xc6\x05\x06\x02\x08\x06\x2e\x10", 0, 16),  # registers are saved
        (b"\x0e\x10\x10\x06\x02\x11\x22", 0, 16),  # by an expression
        (b"\x0e\x10\x0d\x06", 0, 0),  # counted from the frame pointer
        (b"\x0f\x02\x11\x22", 0, 0),  # an expression
        (b"\x07\x10", 0, 0),  # returns nowhere: the first function of a thread
        (b"\x0e\x09", 0, 0),  # no stack is like that
        (b"\x0e\x00", 0, 0),
        (b"\x0c\x07\x80\x80\x80\x80\x80\x20", 0, 0),  # 2**40
        (b"\x0e" + b"\x80" * 200 + b"\x01", 0, 0),
        (b"\x0e\xf8\xff\x3f", 0, (1 << 20) - 8),
        (b"\x3f", 0, 0),
        (b"", 0x80, 0),  # behind the function
        (b"", -1, 0),
    ],
)
def test_frame_size(program: bytes, at: int, size: int) -> None:
    assert unwind.frame_size(elf(image(program)), BASE + CODE + at) == size


@pytest.mark.parametrize("letters", [b"zRS", b"eh", b"zX"])
def test_unusual_frames(letters: bytes) -> None:
    with pytest.raises(ValueError, match=r"unusual|early"):
        unwind.frame_size(elf(image(letters=letters)), BASE + CODE)


def test_a_file_without_frames_or_damaged_ones() -> None:
    raw = bytearray(image())
    raw[64 + 56 : 64 + 60] = b"\0" * 4  # no PT_GNU_EH_FRAME
    assert unwind.frame_size(elf(bytes(raw)), BASE + CODE) == 0
    for at in range(FRAMES, FRAMES + 80):
        damaged = bytearray(image(PUSHED, code={4: CALL}))
        damaged[at] ^= 0xFF
        looked_up(bytes(damaged), 9)  # whatever it says, it ends


# -- the walk --------------------------------------------------------------------------------------

IP, A, B, C, D, STALE = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000
KNOWN = {
    IP: Frame("close (libc.so.6)", 32),
    A: Frame("a (nginx)", 16),
    B: Frame("b (nginx)"),
    C: Frame("c (nginx)", 8),
    D: Frame("d (nginx)"),
    STALE: Frame("never (nginx)", 8),
}


def walked(addresses: Sequence[int], words: Sequence[int] = ()) -> list[str]:
    names = walk(addresses, words, lambda address: KNOWN.get(address, Frame()))
    return [name.split(" ")[0] for name in names]


def test_exact_as_far_as_the_words_reach() -> None:
    assert walked([IP], [STALE, 0, STALE, A, 7, B]) == ["close", "a", "b"]
    assert walked([IP], [STALE, 0, STALE, A]) == ["close", "a"]
    assert walked([IP], [STALE, 0, STALE]) == ["close"]
    assert walked([IP]) == ["close"]


def test_what_is_no_code_ends_it() -> None:
    assert walked([IP], [0, 0, 0, 7]) == ["close"]
    assert walked([IP], [0, 0, 0, 0]) == ["close"]
    assert walked([7, IP]) == []
    assert walked([]) == []


def test_frame_pointers_may_leave_callers_out() -> None:
    assert walked([IP, B, D]) == ["close", GAP, "b", "d"]
    assert walked([IP, 7, D]) == ["close"]
    assert walked([IP, B], [0, 0, 0, A]) == ["close", "a", GAP, "b"]


def test_frame_pointers_go_on_where_the_words_end() -> None:
    assert walked([IP, A, D], [0, 0, 0, A]) == ["close", "a", "d"]
    assert walked([IP, B, D], [0, 0, 0, A, 0, B]) == ["close", "a", "b", "d"]
    assert walked([IP, A, D], [0, 0, 0, A, 0, B]) == ["close", "a", "b", GAP, "d"]


# -- asking and remembering ------------------------------------------------------------------------


class Helper:
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.noted: list[tuple[str, str, object]] = []
        self.stacks = UserStacks(self.ask, lambda *what: self.noted.append(what))

    def ask(self, about: Any) -> Any:
        self.asked.append(about)
        pid, addresses, words = about
        found: dict[int, Frame] = {}

        def frame(address: int) -> Frame:
            return found.setdefault(address, KNOWN.get(address, Frame()))

        walk(addresses, words, frame)
        return [] if pid == 9 else [[a, f.name, f.size] for a, f in found.items()]


def test_a_known_stack_is_not_asked_for_again() -> None:
    helper = Helper()
    stack = ("close (libc.so.6)", "a (nginx)")
    assert helper.stacks.names(5, [IP], [0x777, 0, 0, A]) == stack
    assert helper.stacks.names(5, [IP], [0x888, 1, 2, A]) == stack  # other data on the stack
    assert len(helper.asked) == 1
    helper.stacks.names(5, [IP], [0, 0, 0, C])
    helper.stacks.names(6, [IP], [0, 0, 0, A])
    assert len(helper.asked) == 3


def test_a_recording_says_the_same() -> None:
    helper = Helper()
    words = [0, 0, 0, A, 0, B]
    told = helper.stacks.names(5, [IP], words)
    replayed = UserStacks()
    for kind, key, value in helper.noted:
        assert kind == "user_frame"
        replayed.learn(key, value)
    assert replayed.names(5, [IP], words) == told
    assert replayed.names(6, [IP], words) == ()


def test_nobody_knows() -> None:
    helper = Helper()
    assert helper.stacks.names(9, [IP], [A]) == ()
    assert helper.noted == []
    assert UserStacks().names(1, [IP]) == ()
    assert UserStacks(lambda _: "nonsense").names(1, [IP]) == ()


@pytest.mark.parametrize(
    "said",
    [7, [IP, ""], [IP, "", 8, 9], [IP, 5, 8], [IP, "a", "8"], [IP, "a", -8], [IP, "a", 1 << 40],
     [IP, "a", None], ["x", "a", 8], [None, "a", 8], [1.5, "a", 8]],
    ids=repr,
)  # fmt: skip
def test_answer_that_is_odd(said: Any) -> None:
    """It came out of files that anybody may have made, and must not end the trace."""
    assert UserStacks(lambda _: [said]).names(5, [IP]) == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [("1:zz", ["a", 8]), ("x:1", ["a", 8]), ("1:1", ["a"]), ("1:1", [5, 8]), ("1:1", ["a", "8"])],
)
def test_damaged_recording(key: str, value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        UserStacks().learn(key, value)


def test_words_of_a_record() -> None:
    decoder = Decoder(LAYOUT, FakeNames())
    have, words = LAYOUT.numbers["HAVE_USER_WORDS"], (7, 0, 9)
    raw = raw_record(kind=1, have=have, user_words=words)
    assert decoder.decode(raw).user_words == words + (0,) * 13
    assert decoder.decode(raw_record(kind=1, user_words=words)).user_words == ()


# -- a real process --------------------------------------------------------------------------------


def test_maps() -> None:
    text = (
        "00400000-00401000 r--p 00000000 fd:00 12 /usr/sbin/a b\n"
        "00401000-00402000 r-xp 00001000 fd:00 12 /usr/sbin/a b\n"
        "7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n"
        "7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]\n"
    )
    first, second, vdso = symbols.executable(text)
    assert (first.start, first.end, first.offset, first.module) == (0x401000, 0x402000, 4096, "a b")
    assert second.module == ""
    assert vdso.path == "[vdso]"
    assert symbols.Mapping(0, 1, 0, "/tmp/\x1b (deleted)").module == "\\x1b"


def syscall_in_libc() -> int:
    """Address behind the system call in getpid(), which is the same in every C library."""
    function = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value or 0
    return function + ctypes.string_at(function, 64).index(b"\x0f\x05") + 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks at machine code")
def test_the_c_library_of_this_process() -> None:
    at = syscall_in_libc()
    ((address, name, size),) = symbols.answer([os.getpid(), [at], [0]])
    assert address == at
    assert name.startswith("getpid (libc")
    assert size in (0, 8)  # a leaf: the return address is on top of the stack
    assert symbols.answer([os.getpid(), [at + 1], []]) == [[at + 1, "", 0]]


@contextlib.contextmanager
def mapped(path: Path, raw: bytes) -> Iterator[int]:
    """Address of such a file's code in this process."""
    path.write_bytes(raw.ljust(4096, b"\0"))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    with path.open("rb") as file:
        start = libc.mmap(None, 4096, 5, 2, file.fileno(), 0)
    try:
        yield start + CODE
    finally:
        libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(4096))


def name_of(address: int) -> str:
    ((_, name, _),) = symbols.answer([os.getpid(), [address], []])
    return str(name)


needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="looks at machine code")


@needs_x86
def test_a_file_that_is_deleted(tmp_path: Path) -> None:
    """Its maps lead to it where the rights allow that; without them only its name is known."""
    path = tmp_path / "plugin.so"
    with mapped(path, image(rows=FUNCTIONS, code={4: CALL})) as code:
        path.unlink()
        assert name_of(code + 9) in ("first (plugin.so)", "plugin.so")


@needs_x86
def test_no_file_stays_open(tmp_path: Path) -> None:
    """The child that asks lives for a thousand questions."""
    before = os.listdir("/proc/self/fd")
    with mapped(tmp_path / "plugin.so", image(rows=FUNCTIONS, code={4: CALL})) as code:
        assert name_of(code + 9) == "first (plugin.so)"
    assert os.listdir("/proc/self/fd") == before


@needs_x86
@pytest.mark.parametrize("at", [32, 40, ROWS + 64 + 24, ROWS + 128 + 24])
def test_a_file_that_leads_beyond_any_file(at: int, tmp_path: Path) -> None:
    """Places of tables, of symbols and of names that no file can have."""
    raw = bytearray(image(rows=FUNCTIONS, code={4: CALL}))
    raw[at : at + 8] = struct.pack("<Q", (1 << 64) - 16)
    with mapped(tmp_path / "plugin.so", bytes(raw)) as code:
        assert name_of(code + 9) in ("", "plugin.so")


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    """To open another can hang, or do something."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError):  # noqa: PT011
            symbols.opened(str(path))
    (tmp_path / "file").write_bytes(b"data")
    file = symbols.opened(str(tmp_path / "file"))
    assert os.pread(file, 9, 0) == b"data"
    os.close(file)


class Swapping:
    """The module ``os`` while somebody swaps what a path leads to, once it was looked at."""

    def __init__(self, link: Path, target: Path) -> None:
        self._link, self._target = link, target

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _swap(self, path: str) -> None:
        if path == str(self._link):
            self._link.unlink()
            self._link.symlink_to(self._target)

    def stat(self, path: str) -> os.stat_result:
        found = os.stat(path)
        self._swap(path)
        return found

    def open(self, path: str, flags: int) -> int:
        file = os.open(path, flags)
        self._swap(path)
        return file


def test_what_is_looked_at_is_what_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, file, other = tmp_path / "link", tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"file")
    other.write_bytes(b"other")
    link.symlink_to(file)
    monkeypatch.setattr(symbols, "os", Swapping(link, other))
    opened = symbols.opened(str(link))
    assert os.pread(opened, 9, 0) == b"file"
    os.close(opened)


def test_a_process_that_is_gone() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert symbols.answer([pid, [IP, A], [B]]) == []


def test_addresses_of_no_code() -> None:
    assert symbols.answer([os.getpid(), [8, 16], [24]]) == [[8, "", 0]]
    assert symbols.answer([os.getpid(), [], []]) == []
