"""Lines of text: wrapped, labelled, painted, and commands that can still be pasted. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from rsttrace.output import printable

INDENT, LABEL = 3, 10
COLOURS = {"harm": "31;1", "benign": "32", "unknown": "33", "label": "2"}
# what a shell understands as it stands, also without `  # why` behind it (advice/commands.py)
_COMMAND = re.compile(r"(?:sysctl -w|ip netns exec|nsenter -t) \S")
_WHERE = re.compile(r"((?:in|on) (?:network )?(?:namespace )?\S+(?: \([^)]*\))?): (?=\S)")
_WORDS = re.compile(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\])+")


class Page:
    """Collects lines of at most ``width`` columns."""

    def __init__(self, width: int = 80, colour: bool = False) -> None:
        self._width = max(40, width)
        self._colour = colour
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines).rstrip() + "\n"

    def gap(self) -> None:
        """One empty line, never two."""
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def say(self, text: str, tone: str = "", first: str = "", indent: int = 0) -> None:
        """A paragraph; ``first`` stands before it, later lines hang below the text."""
        start = " " * indent + first
        for row in self._wrapped(text, start, " " * len(start)):
            self._lines.append(self._paint(tone, row))

    def labelled(self, label: str, texts: Iterable[str]) -> None:
        """Paragraphs with one label before the first."""
        pad = " " * (INDENT + LABEL)
        for text in filter(None, texts):
            head = f"{' ' * INDENT}{label:{LABEL}}"
            rows = self._wrapped(text, pad, pad + "  ")
            self._lines.append(self._paint("label", head) + rows[0][len(head) :])
            self._lines += rows[1:]
            label = ""

    def remedies(self, texts: Iterable[str]) -> None:
        """What to change. What can be pasted stands alone on its line, its reason above it."""
        pad = " " * (INDENT + 2)
        for text in texts:
            command, why = parted(text)
            if why and command:
                self._lines += self._wrapped(why, f"{pad}# ", f"{pad}# ")
            if command:
                self._lines += [pad + row for row in broken(command, self._width - len(pad))]
            else:
                self._lines += self._wrapped(why, f"{pad}- ", f"{pad}  ")

    def drawn(self, rows: Iterable[str]) -> None:
        """Lines as they are."""
        self._lines += [(" " * INDENT + row).rstrip() for row in rows]

    @property
    def room(self) -> int:
        """Columns for a drawing."""
        return self._width - INDENT

    def _wrapped(self, text: str, start: str, then: str) -> list[str]:
        clean = printable(" ".join(text.split()))
        return textwrap.wrap(
            clean,
            self._width,
            initial_indent=start,
            subsequent_indent=then,
            break_on_hyphens=False,
        )

    def _paint(self, tone: str, text: str) -> str:
        return f"\x1b[{COLOURS[tone]}m{text}\x1b[0m" if self._colour and tone else text


def parted(remedy: str) -> tuple[str, str]:
    """(command, why) of a remedy; the command is empty if there is nothing for a shell."""
    body, _, why = remedy.partition("  # ")
    where = ""
    if found := _WHERE.match(body):
        where, body = found[1], body[found.end() :]
    if not why and not _COMMAND.match(body):
        return "", remedy
    return body.strip(), f"{where}: {why}" if where and why else where or why.strip()


def broken(command: str, width: int) -> list[str]:
    """A command over several lines, as a shell continues them: ``\\`` at the end."""
    if len(command) <= width:
        return [command]
    rows = [""]
    for word in _WORDS.findall(command):
        if rows[-1] and len(rows[-1]) + 1 + len(word) > width - 2:
            rows[-1] += " \\"
            rows.append("  " + word)
        else:
            rows[-1] += f" {word}" if rows[-1] else word
    return rows
