"""One fixed-width table row per reset."""

from __future__ import annotations

from rsttrace.explain import Explained
from rsttrace.sinks import words
from rsttrace.sinks.summary import summary_text
from rsttrace.sinks.totals import Totals
from rsttrace.sinks.words import Clock

NARROW, WIDE = 21, 45


class OneLineSink:
    """TIME DIR LOCAL REMOTE PROCESS CAUSE; ``wide`` leaves room for IPv6 and adds columns."""

    def __init__(self, clock: Clock, wide: bool = False, header: bool = True) -> None:
        self._clock = clock
        self._wide = wide
        self._header = header
        self._column = WIDE if wide else NARROW

    def start(self, facts: dict[str, object]) -> str:
        """The column names."""
        if not self._header:
            return ""
        row = self._row("TIME", "DIR", "LOCAL", " ", "REMOTE", "PROCESS", "CAUSE")
        return f"{row}  CONFIDENCE REASON" if self._wide else row

    def reset(self, explained: Explained) -> str:
        """One row."""
        reset, verdict = explained.reset, explained.verdict
        local, sign, remote = words.arrow(explained).split(" ")
        owner = explained.facts.owner or explained.facts.closer
        cause = verdict.cause if verdict.confidence == "certain" else f"{verdict.cause}?"
        cause += words.times(explained)
        row = self._row(
            self._clock(explained),
            words.WORDS.get(reset.direction, "?"),
            local,
            sign,
            remote,
            owner.name if owner else "-",
            cause,
        )
        if self._wide:
            row = f"{row}  {verdict.confidence:10} {reset.reason or reset.drop_reason or '-'}"
        return row

    def lost(self, count: int) -> str:
        """A line that says so."""
        return f"({count} records lost)"

    def summary(self, totals: Totals) -> str:
        """The counts by cause."""
        return summary_text(totals)

    def _row(
        self, time: str, way: str, local: str, sign: str, remote: str, owner: str, cause: str
    ) -> str:
        width = self._column
        columns = f"{time:12} {way:5} {local:{width}} {sign} {remote:{width}}"
        return f"{columns} {owner:{24 if self._wide else 15}} {cause}"
