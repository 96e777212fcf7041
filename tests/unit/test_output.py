"""stdout: flushed, quiet when the reader went away, coloured only where it helps."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsttrace.output import (
    Output,
    ReaderGone,
    for_terminal,
    printable,
    terminal_width,
    wants_colour,
)

ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


class Broken(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


def test_every_text_is_a_line_and_is_flushed() -> None:
    pipe = Pipe()
    output = Output(pipe)
    for text in ("one", "two\n", "", "three\nlines\n"):
        output.write(text)
    assert pipe.getvalue() == "one\ntwo\nthree\nlines\n"
    assert pipe.flushed == 3


def test_reader_went_away() -> None:
    with pytest.raises(ReaderGone):
        Output(Broken()).write("x")


@pytest.mark.parametrize(
    ("choice", "terminal", "environ", "colour"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": "0"}, False),  # any value (no-color.org)
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),  # the option is nearer than the environment
        ("never", True, {}, False),
    ],
)
def test_colour(choice: str, terminal: bool, environ: dict[str, str], colour: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    assert wants_colour(choice, stream, environ) is colour


def test_width() -> None:
    assert terminal_width(io.StringIO()) == 80


def test_width_of_a_terminal() -> None:
    master, slave = os.openpty()
    with os.fdopen(master, "wb"), os.fdopen(slave, "w") as stream:
        assert terminal_width(stream) >= 1


def test_columns_says_otherwise() -> None:
    assert terminal_width(Terminal(), {"COLUMNS": "132"}) == 132
    assert terminal_width(io.StringIO(), {"COLUMNS": "132"}) == 80
    for odd in ("0", "", "-5", "wide"):
        assert terminal_width(Terminal(), {"COLUMNS": odd}) == 80


def test_text_is_wrapped_for_people_only() -> None:
    text = "word " * 40
    assert for_terminal(text, io.StringIO()) == text
    assert max(map(len, for_terminal(text, Terminal()).splitlines())) <= 80


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"nginx", "nginx"),
        ("ü".encode(), "ü"),
        (b"", ""),
        (b"a\nb", "a\\x0ab"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"\xff", "\\xff"),
        ("\u202e".encode(), "\\x202e"),  # right to left override
    ],
)
def test_printable(raw: bytes, text: str) -> None:
    assert printable(raw) == text


# -- as a process: what a shell can do to its files ------------------------------------------------


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run ``rsttrace``, a shell function, in a shell command."""
    program = f'rsttrace() {{ "{sys.executable}" -m rsttrace "$@"; }}'
    return subprocess.run(
        ["bash", "-c", f"{program}\n{command}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("command", "code", "err"),
    [
        ("rsttrace causes | head -1", 0, ""),
        ("rsttrace causes | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("rsttrace causes > /dev/full", 1, "rsttrace: standard output: No space left on device.\n"),
        ("rsttrace causes >&-", 1, "rsttrace: standard output is closed.\n"),
        ("rsttrace causes 2>&- | head -1", 0, ""),
        ("rsttrace causes <&- | head -1", 0, ""),
        ("rsttrace nosuch 2>&-", 2, ""),
    ],
)
def test_closed_and_full_files(command: str, code: int, err: str) -> None:
    done = shell(command)
    assert done.returncode == code
    assert done.stderr.startswith(err)
    assert done.stderr.count("\n") <= (2 if err else 0), done.stderr
    assert "Traceback" not in done.stderr
