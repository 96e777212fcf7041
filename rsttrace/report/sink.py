"""The sink of ``rsttrace diagnose``: collects explained resets, tells them as one report."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rsttrace.explain import Explained
from rsttrace.report.document import document_of
from rsttrace.report.findings import build
from rsttrace.report.groups import Groups
from rsttrace.report.model import Watch
from rsttrace.report.text import text_of
from rsttrace.sinks.totals import Totals

HARMFUL, ANY = "harmful", "any"


class ReportSink:
    """A ``rsttrace.sinks.Sink`` that says nothing until it is asked for its ``report``."""

    def __init__(
        self,
        width: int = 80,
        colour: bool = False,
        verbose: bool = False,
        as_json: bool = False,
        wall_offset_ns: int = 0,
    ) -> None:
        self._width = width
        self._colour = colour
        self._verbose = verbose
        self._as_json = as_json
        self._offset = wall_offset_ns
        self._groups = Groups()

    def start(self, facts: dict[str, object]) -> str:
        """Nothing."""
        return ""

    def reset(self, explained: Explained) -> str:
        """Nothing; it is collected."""
        self._groups.add(explained)
        return ""

    def lost(self, count: int) -> str:
        """Nothing; the totals know."""
        return ""

    def summary(self, totals: Totals) -> str:
        """Nothing: see ``report``."""
        return ""

    def report(self, totals: Totals, watch: Watch) -> str:
        """Text for people, or one JSON document (docs/report.md)."""
        report = build(self._groups, totals, watch)
        if self._as_json:
            return json.dumps(document_of(report, self._offset), ensure_ascii=False, indent=2)
        return text_of(report, self._width, self._colour, self._verbose, self._offset)

    def matches(self, fail_on: Sequence[str]) -> bool:
        """Was there a reset (or abort) that a script wants to fail on?

        ``harmful``: one that is not harmless, or not understood; ``any``: any at all; else the id
        of a cause, of either end.
        """
        groups = self._groups
        return any(
            (word == ANY and bool(groups.causes))
            or (word == HARMFUL and groups.harmful)
            or groups.causes[word] > 0
            for word in fail_on
        )
