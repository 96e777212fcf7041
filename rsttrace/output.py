"""stdout as a stream of texts: flushed per reset, quiet when the reader went away."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Mapping
from typing import IO


def printable(raw: bytes | str) -> str:
    """Text that cannot command a terminal: a process may call itself ``\\x1b[31m``."""
    text = raw if isinstance(raw, str) else raw.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class ReaderGone(Exception):
    """The program that read our output has ended (``| head -1``)."""


class Output:
    """Writes whole texts and flushes them."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a text and a line end; nothing for an empty text. ReaderGone on EPIPE."""
        if not text:
            return
        try:
            self._stream.write(text if text.endswith("\n") else text + "\n")
            self._stream.flush()
        except BrokenPipeError as err:
            raise ReaderGone from err


def silence_stdout() -> None:
    """Let the interpreter's last flush of a closed or full pipe go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError):  # stdout is no file
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


def fill_standard_files() -> bool:
    """Put /dev/null where 0, 1 or 2 is closed, before a file of ours gets that number.

    False if stdout was closed. A closed stderr only means that nobody listens to our talk.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    return sys.stdout is not None


def wants_colour(choice: str, stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """``always``, ``never``, or ``auto``: a terminal, no NO_COLOR, TERM not dumb."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def terminal_width(stream: IO[str], environ: Mapping[str, str] = os.environ) -> int:
    """Columns of this terminal, unless COLUMNS says otherwise; 80 if it is none."""
    if not stream.isatty():
        return 80
    columns = environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    with contextlib.suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80


def for_terminal(text: str, stream: IO[str]) -> str:
    """Wrapped if a person will read it there, one line for a log."""
    return textwrap.fill(text, terminal_width(stream)) if stream.isatty() else text
