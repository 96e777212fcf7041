"""The count of everything a trace explained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rsttrace.completeness import Completeness
from rsttrace.explain import Explained


@dataclass
class Totals:
    """Counts for the summary. ``lost`` counts records, not resets.

    ``completeness``: None in a replay, where there are no counters to ask.
    """

    resets: int = 0
    lost: int = 0
    benign: int = 0
    directions: Counter[str] = field(default_factory=Counter)
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    duration_s: float = 0.0
    completeness: Completeness | None = None

    def add(self, explained: Explained) -> None:
        """Count a reset and its equals."""
        count = explained.count
        self.resets += count
        self.benign += count * explained.verdict.benign
        self.directions[explained.reset.direction] += count
        self.causes[(explained.verdict.cause, explained.reset.direction)] += count
