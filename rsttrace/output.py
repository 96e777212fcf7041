"""stdout as a stream of texts: flushed per reset, quiet when the reader went away."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import IO


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
    """Let the interpreter's last flush of a closed pipe go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def wants_colour(choice: str, stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """``always``, ``never``, or ``auto``: a terminal, no NO_COLOR, TERM not dumb."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def terminal_width(stream: IO[str]) -> int:
    """Columns of the terminal, 80 if it is none."""
    return shutil.get_terminal_size((80, 24)).columns if stream.isatty() else 80
