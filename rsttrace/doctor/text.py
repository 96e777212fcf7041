"""The checks as text for people, and as JSON."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rsttrace import __version__
from rsttrace.doctor.check import MISSING, TITLES, Check
from rsttrace.doctor.costs import Cost, together
from rsttrace.output import printable

WIDTH = 80
INDENT = " " * 10
# kind of cost: its words, and its name in JSON
COSTS = {
    "unknown": ("never told", "insufficient_data"),
    "unseen": ("never seen", "never_seen"),
    "unsure": ("at most likely", "at_most_likely"),
    "evidence": ("with less evidence", "less_evidence"),
    "advice": ("with general advice only", "general_advice"),
}


def can_trace(checks: Sequence[Check]) -> bool:
    """Is nothing missing that a trace cannot do without?"""
    return not any(check.fatal for check in checks)


def report(checks: Sequence[Check], verbose: bool = False) -> str:
    """One line for each check and its remedy, by what they are for; the last line says it all."""
    lines = [f"rsttrace doctor: Linux {os.uname().release}, {sys.executable}"]
    for group, title in TITLES.items():
        told = [check for check in checks if check.group == group]
        if told:
            lines.append(title)
        for check in told:
            lines += _lines(check, verbose)
    return "\n".join([*lines, *_wrapped(conclusion(checks), "", "  ")])


def _lines(check: Check, verbose: bool) -> Iterator[str]:
    text = printable(f"{check.name}: {check.text}")
    yield from _wrapped(text, f"  {check.mark:7} ", INDENT)
    if check.remedy:
        yield from _wrapped(printable(check.remedy), INDENT, INDENT)
    yield from _cost_lines(check.cost, verbose)
    if verbose:
        for line in check.more:
            yield from _wrapped(printable(line), INDENT, INDENT + "  ")


def _cost_lines(cost: Cost, verbose: bool) -> Iterator[str]:
    """What becomes of how many causes, and of which: as many names as fit into a line, or all."""
    for name, (words, _) in COSTS.items():
        causes = getattr(cost, name)
        if not causes:
            continue
        head = f"{count_of(len(causes), 'cause')} {words}: "
        if verbose:
            yield from _wrapped(head + ", ".join(causes), INDENT, INDENT + "  ")
        else:
            yield INDENT + head + _fitting(causes, WIDTH - len(INDENT) - len(head))


def _fitting(names: Sequence[str], width: int) -> str:
    for number in range(len(names), 1, -1):
        rest = ", ..." if number < len(names) else ""
        text = ", ".join(names[:number]) + rest
        if len(text) <= width:
            return text
    return names[0] if len(names) == 1 else f"{names[0]}, ..."


def _wrapped(text: str, first: str, later: str) -> list[str]:
    """Lines of at most WIDTH; a word is never cut, since it may be part of a command."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def conclusion(checks: Sequence[Check]) -> str:
    """Can it trace, what is in the way, and the command that mends that first."""
    fatal = [check for check in checks if check.fatal]
    if fatal:
        first = next((check for check in fatal if check.remedy), fatal[0])
        names = ", ".join(check.name for check in fatal)
        begin = f" Begin with {first.name}." if len(fatal) > 1 else ""
        return f"This host cannot trace yet: {names}.{begin} {first.remedy}".strip()
    missing = [check for check in checks if check.mark == MISSING]
    if not missing:
        return "This host can trace."
    lost = together(check.cost for check in missing).lost
    what = f"never tells {count_of(len(lost), 'cause')}" if lost else "could tell more"
    # what costs most, and can be mended
    worst = max(missing, key=lambda check: (bool(check.remedy), len(check.cost.lost)))
    names = ", ".join(check.name for check in missing)
    mend = f" Begin with {worst.name}. {worst.remedy}" if worst.remedy else ""
    return f"This host can trace, but {what} ({names}).{mend}"


def count_of(number: int, noun: str) -> str:
    """``1 cause``, ``12 causes``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The same as one JSON object."""
    return {
        "schema": 1,
        "type": "doctor",
        "version": __version__,
        "kernel": os.uname().release,
        "python": sys.executable,
        "can_trace": can_trace(checks),
        "conclusion": conclusion(checks),
        "checks": [_object(check) for check in checks],
    }


def _object(check: Check) -> dict[str, Any]:
    costs = {key: list(getattr(check.cost, name)) for name, (_, key) in COSTS.items()}
    return {
        "name": check.name,
        "group": check.group,
        "status": check.mark.lower(),
        "text": check.text,
        "remedy": check.remedy or None,
        "fatal": check.fatal,
        "costs": costs if check.cost else None,
        "facts": dict(check.facts),
    }
