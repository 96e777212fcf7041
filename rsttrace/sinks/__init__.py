"""Where explained resets go: blocks or lines for people, JSON Lines for programs."""

from __future__ import annotations

from typing import Protocol

from rsttrace.explain import Explained
from rsttrace.sinks.totals import Totals


class Sink(Protocol):
    """Something that turns explained resets into text."""

    def start(self, facts: dict[str, object]) -> str:
        """Text before the first reset, empty for none."""

    def reset(self, explained: Explained) -> str:
        """Text of one reset."""

    def lost(self, count: int) -> str:
        """Text when so many more records were lost, empty for none."""

    def summary(self, totals: Totals) -> str:
        """Text at the end, empty for none."""
