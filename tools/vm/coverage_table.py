"""docs/coverage.md: how sure rsttrace is of each cause on each kernel, from the rows of guests.

    python3 tools/vm/coverage_table.py [FILE]

Reads what the guests said last (guest_runs.py) and writes FILE (default: docs/coverage.md, which
is left alone if some guest of the table has never run).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from guest_runs import HOST, ROOT, VERDICTS, Result, Row, stored, table, verdicts

COVERAGE = ROOT / "docs" / "coverage.md"
WRONG, SKIPPED = "WRONG", "skipped"
NO_FACT = "insufficient-data"
INSUFFICIENT, NOT_TRIED = "insufficient", "not tried"
LEVELS = ("certain", "likely", "possible", INSUFFICIENT, WRONG, NOT_TRIED)
BY_NATURE = "as sure as anybody can be: what would prove it is not on this host, on any kernel"
UNREASONED = "less sure than the lab promises, and no reason given"
NO_LAB = "no lab makes it"
# answers, not causes: what else is said where nothing is known
NO_CAUSES = ("unknown", NO_FACT)
HEAD = """\
# Coverage: how sure, on which kernel

Written by `make test-kernels` from what real kernels did in the labs; not by hand.

Every lab makes a kernel send, receive, forward, refuse or drop resets for a known cause, and says
which verdicts must follow. **certain**, **likely**, **possible**: the cause was named, with that
confidence. **insufficient**: the verdict was `insufficient-data`, with the fact that this kernel
does not give. **not tried**: no lab could run. **WRONG**: something else was said; a defect.
A cause has several labs, so a cell may have several answers; the notes say which and why. In all
labs the resets told are as many as the kernel counted (`TcpOutRsts`), or the lab counts as wrong.
"""


class Gap(Protocol):
    """Of rsttrace/kernel/gaps.py: what a kernel does not tell, and what stands in for it."""

    @property
    def text(self) -> str: ...
    @property
    def instead(self) -> str: ...


@dataclass(frozen=True)
class Answer:
    """What one lab showed of one cause: ``level`` of LEVELS, ``why`` if less than certain."""

    cause: str
    level: str
    why: str = ""
    lab: str = ""


@dataclass
class Notes:
    """Numbered notes, each text once; the labs it is about are collected."""

    _labs: dict[str, set[str]] = field(default_factory=dict)

    def number(self, text: str, labs: Iterable[str] = ()) -> int:
        """The number of this note, from 1."""
        self._labs.setdefault(text, set()).update(labs)
        return list(self._labs).index(text) + 1

    def lines(self) -> list[str]:
        """A Markdown list."""
        return [
            f"{n}. {text}" + (f" ({', '.join(sorted(labs))})" if labs and text != BY_NATURE else "")
            for n, (text, labs) in enumerate(self._labs.items(), 1)
        ]


def answers(row: Row) -> list[Answer]:
    """What a lab's row says of each cause it expected."""
    lab = str(row["lab"])
    if row["verdict"] == SKIPPED:
        return [
            Answer(cause, NOT_TRIED, row["skipped"], lab)
            for cause in dict.fromkeys(e["cause"] for e in row["expected"])
        ]
    left = list(row["explained"])
    found = []
    for expected in row["expected"]:
        told = _told(expected, left)
        if told:
            left.remove(told)
        found.append(_answer(lab, expected, told, row))
    return found


def _told(expected: Row, left: Sequence[Row]) -> Row | None:
    """The explained reset that answers an expected one: the same cause at the same end, else none
    for sure, else any of that end and direction."""
    here = [e for e in left if e["end"] == expected["end"]]
    same = [e for e in here if e["direction"] == expected["direction"]]
    for group in (
        [e for e in same if e["cause"] == expected["cause"]],
        [e for e in here if e["cause"] == expected["cause"]],
        [e for e in same if e["cause"] == NO_FACT],
        same,
    ):
        if group:
            return group[0]
    return None


def _answer(lab: str, expected: Row, told: Row | None, row: Row) -> Answer:
    cause = str(expected["cause"])
    if told is None:
        return Answer(cause, WRONG, "nothing was told", lab)
    if told["cause"] == NO_FACT:
        return Answer(cause, INSUFFICIENT, f"missing: {told['missing']}", lab)
    if told["cause"] != cause:
        if row["verdict"] != WRONG:  # the runner knows that this is as true
            return Answer(cause, told["confidence"], f"told as {told['cause']}", lab)
        return Answer(cause, WRONG, f"told as {told['cause']}, {told['confidence']}", lab)
    level = str(told["confidence"])
    if level == "certain":
        return Answer(cause, level, "", lab)
    if told["missing"]:
        return Answer(cause, level, f"missing: {told['missing']}", lab)
    if expected["confidence"] == level:
        return Answer(cause, level, BY_NATURE, lab)
    return Answer(cause, level, UNREASONED, lab)


def cell(found: Sequence[Answer], notes: Notes) -> str:
    """``certain``, or ``certain, likely [2]``."""
    if not found:
        return f"{NOT_TRIED} [{notes.number(NO_LAB)}]"
    levels = [level for level in LEVELS if any(a.level == level for a in found)]
    tried = [level for level in levels if level != NOT_TRIED]
    parts = []
    for level in tried or levels:
        numbers = _numbers((a for a in found if a.level == level), notes)
        parts.append(level + numbers)
    if tried and len(tried) < len(levels):
        parts[-1] += _numbers((a for a in found if a.level == NOT_TRIED), notes)
    return ", ".join(parts)


def _numbers(found: Iterable[Answer], notes: Notes) -> str:
    texts: dict[str, set[str]] = {}
    for answer in found:
        if answer.why:
            label = f"{NOT_TRIED}: {answer.why}" if answer.level == NOT_TRIED else answer.why
            texts.setdefault(label, set()).add(answer.lab)
    return "".join(f" [{notes.number(text, texts[text])}]" for text in sorted(texts))


def cells(results: Sequence[Result], causes: Sequence[str], notes: Notes) -> list[list[str]]:
    """The table's rows: a cause and its cell for each result."""
    found: list[Mapping[str, list[Answer]]] = [_by_cause(result) for result in results]
    return [[cause, *(cell(by.get(cause, []), notes) for by in found)] for cause in causes]


def _by_cause(result: Result) -> dict[str, list[Answer]]:
    by_cause: dict[str, list[Answer]] = {}
    for row in result.labs:
        for answer in answers(row):
            by_cause.setdefault(answer.cause, []).append(answer)
    return by_cause


def guest_cells(result: Result) -> list[str]:
    """The line of a guest: versions, when, and how its labs ended."""
    llvm = next((v for name, v in result.image.items() if name.startswith("libllvm")), "")
    facts = result.facts
    return [
        result.guest,
        *(str(facts.get(name, "?")) for name in ("kernel", "bcc")),
        llvm.split(":")[-1],
        *(str(facts.get(name, "?")) for name in ("python", "time")),
        *map(str, verdicts(result).values()),
        "did not come to its end" if result.problem else "",
    ]


def column(result: Result) -> str:
    """The head of a guest's column: kernel and bcc."""
    kernel, bcc = (".".join(map(str, _numbers_of(result, name)[:2])) for name in ("kernel", "bcc"))
    return f"{kernel}, bcc {bcc} ({result.guest})"


def by_kernel(results: Iterable[Result]) -> list[Result]:
    """The oldest kernel first, of the same kernel the oldest bcc."""
    return sorted(results, key=lambda r: (_numbers_of(r, "kernel"), _numbers_of(r, "bcc"), r.guest))


def _numbers_of(result: Result, fact: str) -> tuple[int, ...]:
    """``6.12.117+deb13-cloud-amd64`` -> (6, 12, 117)."""
    found = re.match(r"[\d.]+", str(result.facts.get(fact, "")))
    return tuple(int(n) for n in found[0].split(".") if n) if found else ()


def gap_lines(results: Sequence[Result], gaps: Mapping[str, Gap]) -> list[str]:
    """What kernels do not tell, what stands in for it, and on which guests."""
    rows = []
    for name, gap in gaps.items():
        guests = [column(result) for result in results if name in result.facts.get("gaps", ())]
        if guests:
            rows.append([gap.text, gap.instead or "nothing", "; ".join(guests)])
    return markdown(("not told", "what rsttrace goes by there", "where"), rows) if rows else []


def wrong_lines(results: Iterable[Result]) -> list[str]:
    """Defects: the labs that were wrong, with the first thing that was."""
    return [
        f"- {column(result)}: {row['lab']} {row['family']}: {row['problems'][0]}"
        for result in results
        for row in result.labs
        if row["verdict"] == WRONG
    ]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [
        f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines
    ]


def page(results: Sequence[Result], causes: Sequence[str], gaps: Mapping[str, Gap]) -> str:
    """The whole page; causes in this order."""
    results = by_kernel(results)
    ran = ("guest", "kernel", "bcc", "LLVM", "Python", "run (UTC)")
    notes = Notes()
    table_rows = cells(results, causes, notes)
    parts = [
        HEAD,
        "\n".join(markdown((*ran, *VERDICTS, ""), map(guest_cells, results))),
        "\n".join(markdown(("cause", *map(column, results)), table_rows)),
        "\n".join(notes.lines()),
    ]
    if told_less := gap_lines(results, gaps):
        parts += ["## What these kernels do not tell", "\n".join(told_less)]
    if wrong := wrong_lines(results):
        parts += ["## Labs that were wrong", "\n".join(wrong)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def main(argv: Sequence[str]) -> int:
    """Write the page; say what is missing."""
    sys.path.insert(0, str(ROOT))
    from rsttrace.causes import catalogue
    from rsttrace.kernel.gaps import GAPS

    guests = (*table(), HOST)
    results = stored(guests)
    names = {result.guest for result in results}
    lacking = [guest for guest in guests if guest not in names]
    if lacking and not argv:
        print(f"{COVERAGE} stays as it is: {', '.join(lacking)} never ran", file=sys.stderr)
        return 0
    target = Path(argv[0]) if argv else COVERAGE
    causes = [cause for cause in catalogue() if cause not in NO_CAUSES]
    target.write_text(page(results, causes, GAPS))
    print(f"wrote {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
