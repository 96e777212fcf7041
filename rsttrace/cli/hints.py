"""What somebody may have meant who typed a command that does not exist."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable

MOST_PIDS = 3
HIGHEST_PORT = 65535


def hint(word: str, commands: Iterable[str]) -> str:
    """One sentence; it looks at the catalogue, and for processes of that name."""
    close = difflib.get_close_matches(word, list(commands), 1, 0.7)
    if close:
        return f"Did you mean: rsttrace {close[0]}?"
    if word.isascii() and word.isdigit():
        port = f"A port: rsttrace -P {word}. " if 0 < int(word) <= HIGHEST_PORT else ""
        return f"{port}A process: rsttrace diagnose --pid {word}."
    return _endpoint(word) or _cause(word) or _program(word) or "See: rsttrace --help"


def _endpoint(word: str) -> str:
    try:
        return f"An address: rsttrace -a {ipaddress.ip_address(word)}."
    except ValueError:
        pass
    from rsttrace.diagnose.target import parse_target

    try:
        parse_target(word)
    except ValueError:
        return ""
    return f"A target: rsttrace diagnose {word}."


def _cause(word: str) -> str:
    from rsttrace.causes import catalogue
    from rsttrace.causes.lookup import find_word

    known = word in catalogue() or find_word(word)
    return f"What it means: rsttrace explain {word}." if known else ""


def _program(word: str) -> str:
    import shutil

    from rsttrace.diagnose.proctree import named

    running = named(word)
    if running:
        chosen = " ".join(f"--pid {pid}" for pid in running[:MOST_PIDS])
        return f"A program that runs: rsttrace diagnose {chosen}."
    return f"A command: rsttrace diagnose -- {word} ..." if shutil.which(word) else ""
