"""One block per reset, at most five short lines, for a person at a terminal."""

from __future__ import annotations

import re
import textwrap

from rsttrace.explain import Explained
from rsttrace.model import NONE, RECEIVED, REJECTED
from rsttrace.sinks import words
from rsttrace.sinks.diagram import diagram
from rsttrace.sinks.summary import summary_text
from rsttrace.sinks.totals import Totals
from rsttrace.sinks.words import Clock

INDENT = 2
_CLAUSES = (re.compile(r"[.;](?= )"), re.compile(r"[,:](?= )"))
LABEL = 8
SLACK = 16  # what wrapping to a second line may waste
COLOURS = {"harm": "31;1", "benign": "32", "unknown": "33", "label": "2"}


class BlockSink:
    """Blocks of at most ``width`` columns; ``verbose`` adds evidence, packets and the stack."""

    def __init__(
        self, clock: Clock, width: int = 80, verbose: bool = False, colour: bool = False
    ) -> None:
        self._clock = clock
        self._width = max(40, width)
        self._verbose = verbose
        self._colour = colour

    def start(self, facts: dict[str, object]) -> str:
        """Nothing: the banner is talk, not data."""
        return ""

    def reset(self, explained: Explained) -> str:
        """The head line, the sentence, and what supports and follows from it."""
        verdict = explained.verdict
        here = explained.reset.direction in (RECEIVED, REJECTED, NONE)
        related = explained.related
        echo = bool(related and (verdict.benign or related.cause == verdict.cause))
        short = echo or self._verbose  # no news, or said in its own line
        where = "" if short else words.container_words(explained)
        lines = [*self._head(explained), *self._wrap(f"{verdict.summary} {where}")]
        if echo or self._verbose:
            lines += self._labelled("after", words.related_words(explained))
        if echo and not self._verbose:
            return "\n".join(lines) + "\n"  # no news
        lines += self._labelled("kernel", words.kernel_words(explained, self._room() * 2 - SLACK))
        lines += self._labelled("here" if here else "peer", self._brief(verdict.sees))
        if verdict.benign:
            lines += self._labelled("fix", "nothing: this is harmless")
        elif verdict.remedies:
            lines += self._remedy("fix", verdict.remedies[0])
        if self._verbose:
            lines += self._details(explained)
        return "\n".join(lines) + "\n"

    def lost(self, count: int) -> str:
        """A line that says so."""
        return self._paint("unknown", f"({count} records lost: what follows may lack facts)")

    def summary(self, totals: Totals) -> str:
        """The counts by cause."""
        return summary_text(totals, self._width)

    def _head(self, explained: Explained) -> list[str]:
        verdict = explained.verdict
        tone = "benign" if verdict.benign else "harm"
        if verdict.confidence == "unknown":
            tone = "unknown"
        direction = words.WORDS.get(explained.reset.direction, "?")
        left = f"{self._clock(explained)}  {direction:6}{words.arrow(explained)}"
        plain = f"{verdict.cause}{words.times(explained)}  ({verdict.confidence})"
        right = plain.replace(verdict.cause, self._paint(tone, verdict.cause), 1)
        if len(left) + 2 + len(plain) <= self._width:
            return [f"{left}  {right}"]
        if len(left) > self._width and " " in left:
            local, sign, remote = words.arrow(explained).split(" ")
            start = left.removesuffix(words.arrow(explained))
            return [start.rstrip(), f"  {local}", f"  {sign} {remote}", f"  {right}"]
        return [left, f"  {right}"]

    def _details(self, explained: Explained) -> list[str]:
        lines = []
        for evidence in explained.verdict.evidence:
            lines += self._labelled("because", evidence)
        lines += self._labelled("process", words.process_words(explained))
        lines += self._labelled("trigger", words.trigger_words(explained))
        lines += self._labelled("packet", words.packet_words(explained))
        lines += self._labelled("socket", words.socket_words(explained))
        lines += self._labelled("netns", explained.facts.netns_name or "")
        lines += [" " * INDENT + row for row in diagram(explained, self._width - INDENT)]
        for remedy in explained.verdict.remedies[1:]:
            lines += self._remedy("or", remedy)
        stack = explained.reset.frames
        lines += self._labelled("stack", " < ".join(stack))
        lines += self._labelled("user", " < ".join(explained.facts.user_frames))
        return lines

    def _wrap(self, text: str) -> list[str]:
        pad = " " * INDENT
        return textwrap.wrap(
            text, self._width, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False
        )

    def _room(self) -> int:
        """Columns for a text behind its label; no limit when verbose."""
        return 10**6 if self._verbose else self._width - INDENT - LABEL

    def _brief(self, text: str) -> str:
        """As many whole clauses as fit on one line."""
        text = " ".join(text.split())
        if len(text) <= self._room():
            return text
        for kind in _CLAUSES:
            ends = [m.start() for m in kind.finditer(text) if m.start() <= self._room()]
            if ends:
                return text[: ends[-1]]
        return text

    def _remedy(self, label: str, text: str) -> list[str]:
        rows = words.command_rows(text, self._width - INDENT - LABEL, self._verbose)
        return self._rows(label, rows) if rows else self._labelled(label, text)

    def _labelled(self, label: str, text: str) -> list[str]:
        text, width = " ".join(text.split()), self._width - INDENT - LABEL
        lines = None if self._verbose else 2
        return self._rows(
            label, textwrap.wrap(text, width, break_on_hyphens=False, max_lines=lines)
        )

    def _rows(self, label: str, rows: list[str]) -> list[str]:
        head = " " * INDENT + f"{label:{LABEL}}"
        painted = self._paint("label", head)
        return [(painted if i == 0 else " " * len(head)) + row for i, row in enumerate(rows)]

    def _paint(self, tone: str, text: str) -> str:
        return f"\x1b[{COLOURS[tone]}m{text}\x1b[0m" if self._colour else text
