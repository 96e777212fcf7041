"""Kernel addresses to names, on made-up kallsyms files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rsttrace.kernel.symbols import Symbols

CORE = """\
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000100 T tcp_v4_rcv
ffffffff81000400 t tcp_v4_send_reset
ffffffff81000480 D a_variable
ffffffff81000500 T last_function
ffffffff82000000 D vmemmap_base
ffffffff82000008 d page_offset_base
"""
MODULE = "ffffffffc0001000 t nf_send_reset\t[nf_reject_ipv4]\n"


class Files:
    """/proc/kallsyms and /proc/modules in a directory."""

    def __init__(self, place: Path, symbols: str = CORE) -> None:
        self.kallsyms, self.modules = place / "kallsyms", place / "modules"
        self.made: list[Symbols] = []
        self.write(symbols)

    def write(self, symbols: str, modules: str = "") -> None:
        self.kallsyms.write_text(symbols)
        self.modules.write_text(modules)

    def symbols(self) -> Symbols:
        self.made.append(Symbols(self.kallsyms, self.modules))
        return self.made[-1]

    def close(self) -> None:
        """The program keeps its file open as long as it lives."""
        for symbols in self.made:
            if symbols._file:
                symbols._file.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81000101, "tcp_v4_rcv"),
        (0xFFFFFFFF810003FF, "tcp_v4_rcv"),
        (0xFFFFFFFF81000400, "tcp_v4_rcv"),  # a return address behind the last byte
        (0xFFFFFFFF81000401, "tcp_v4_send_reset"),
        (0xFFFFFFFF81000490, "tcp_v4_send_reset"),  # data symbols do not count
        (0xFFFFFFFF81000510, "last_function"),
        (0xFFFFFFFF80000000, None),
        (0xFFFFFFFFC0001010, None),
        (0, None),
        (1, None),
    ],
)
def test_name(files: Files, address: int, name: str | None) -> None:
    assert files.symbols().name(address) == name


def test_unsorted_file(files: Files) -> None:
    files.write("".join(reversed(CORE.splitlines(keepends=True))))
    assert files.symbols().name(0xFFFFFFFF81000110) == "tcp_v4_rcv"


def test_module_that_is_loaded_later(files: Files) -> None:
    symbols = files.symbols()
    assert symbols.name(0xFFFFFFFF81000101) == "tcp_v4_rcv"
    files.write(CORE + MODULE, "nf_reject_ipv4 16384 1 nft_reject_ipv4, Live 0x0\n")
    assert symbols.name(0xFFFFFFFFC0001010) == "nf_send_reset"
    assert symbols.name(0xFFFFFFFF81000101) == "tcp_v4_rcv"


def test_loaded_table_is_not_read_again_while_the_modules_stay(files: Files) -> None:
    """A second read would cost the poll loop 0.1 s just when the first reset comes."""
    files.write(CORE, "nf_tables 16384 1 - Live 0x0\n")
    symbols = files.symbols()
    symbols.load()
    files.kallsyms.write_text(CORE.replace("tcp_v4_rcv", "read_again"))
    assert symbols.name(0xFFFFFFFF81000101) == "tcp_v4_rcv"


def test_module_name_is_cut(files: Files) -> None:
    files.write(CORE + MODULE)
    assert files.symbols().name(0xFFFFFFFFC0001001) == "nf_send_reset"


def test_hidden_addresses(files: Files) -> None:
    """kptr_restrict: all zero."""
    files.write("".join(f"{0:016x}{line[16:]}" for line in CORE.splitlines(keepends=True)))
    symbols = files.symbols()
    assert not symbols.available
    assert symbols.name(0xFFFFFFFF81000101) is None
    assert symbols.variable("vmemmap_base") == 0


def test_available(files: Files) -> None:
    assert files.symbols().available


def test_no_kallsyms(tmp_path: Path) -> None:
    symbols = Symbols(tmp_path / "none", tmp_path / "none")
    assert not symbols.available
    symbols.load()
    assert symbols.name(0xFFFFFFFF81000101) is None
    assert symbols.variable("vmemmap_base") == 0


def test_empty_kallsyms(files: Files) -> None:
    files.write("")
    symbols = files.symbols()
    assert not symbols.available
    assert symbols.name(0xFFFFFFFF81000101) is None
    assert symbols.variable("vmemmap_base") == 0


def test_variable(files: Files) -> None:
    symbols = files.symbols()
    assert symbols.variable("vmemmap_base") == 0xFFFFFFFF82000000
    assert symbols.variable("page_offset_base") == 0xFFFFFFFF82000008
    assert symbols.variable("offset_base") == 0  # only whole names
    assert symbols.variable("_stext") == 0xFFFFFFFF81000000


def test_the_file_stays_open(files: Files) -> None:
    """Under kptr_restrict=1 a file opened by root stays readable after rights are dropped."""
    symbols = files.symbols()
    files.kallsyms.rename(files.kallsyms.with_name("moved"))
    assert symbols.name(0xFFFFFFFF81000101) == "tcp_v4_rcv"


def test_no_modules_file(files: Files) -> None:
    files.modules.unlink()
    assert files.symbols().name(0xFFFFFFFF81000101) == "tcp_v4_rcv"
