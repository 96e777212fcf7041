"""The summary at the end of a trace: counts by cause, and what was lost."""

from __future__ import annotations

import textwrap

from tabulate import tabulate

from rsttrace.causes import catalogue
from rsttrace.sinks.totals import Totals

GAP, SHORTEST_TITLE = 2, 12  # columns


def summary_text(totals: Totals, width: int = 80) -> str:
    """A small table for people; says plainly when records were lost."""
    took = f" in {totals.duration_s:.0f} s" if totals.duration_s >= 1 else ""
    lost = f"{totals.lost} records lost" if totals.lost else "no records lost"
    noun = "reset" if totals.resets == 1 else "resets"
    head = f"{totals.resets} {noun}{took}, {totals.benign} of them harmless; {lost}."
    if totals.completeness:
        head += f" {totals.completeness.sentence}"
    if not totals.causes:
        return textwrap.fill(head, width)
    rows = [[count, direction, cause] for (cause, direction), count in totals.causes.most_common()]
    headers = ["count", "direction", "cause"]
    table = tabulate(rows, headers, tablefmt="simple")
    room = width - max(map(len, table.splitlines())) - GAP
    if room >= SHORTEST_TITLE:
        titled = [[*row, _title(str(row[2]), room)] for row in rows]
        table = tabulate(titled, [*headers, ""], tablefmt="simple")
    return f"{textwrap.fill(head, width)}\n{table}"


def _title(cause: str, room: int) -> str:
    """What the catalogue calls it, as far as it fits."""
    entry = catalogue().get(cause)
    return textwrap.shorten(entry.title, room, placeholder=" ...") if entry else ""
