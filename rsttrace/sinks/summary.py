"""The summary at the end of a trace: counts by cause, and what was lost."""

from __future__ import annotations

import textwrap

from tabulate import tabulate

from rsttrace.causes import catalogue
from rsttrace.sinks.totals import Totals


def summary_text(totals: Totals, width: int = 80) -> str:
    """A small table for people; says plainly when records were lost."""
    took = f" in {totals.duration_s:.0f} s" if totals.duration_s >= 1 else ""
    lost = f"{totals.lost} records lost" if totals.lost else "no records lost"
    noun = "reset" if totals.resets == 1 else "resets"
    head = f"{totals.resets} {noun}{took}, {totals.benign} of them harmless; {lost}."
    if not totals.causes:
        return head
    rows = [
        (count, direction, cause, catalogue()[cause].title if cause in catalogue() else "")
        for (cause, direction), count in totals.causes.most_common()
    ]
    table = tabulate(rows, ("count", "direction", "cause", ""), tablefmt="simple")
    if max(map(len, table.splitlines())) > width:  # the titles are the least of it
        bare = [row[:3] for row in rows]
        table = tabulate(bare, ("count", "direction", "cause"), tablefmt="simple")
    return f"{textwrap.fill(head, width)}\n{table}"
