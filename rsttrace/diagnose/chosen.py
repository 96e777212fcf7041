"""A sink in front of the report: only what belongs to the subject passes."""

from __future__ import annotations

from rsttrace.diagnose.scope import Choice
from rsttrace.explain import Explained
from rsttrace.sinks import Sink
from rsttrace.sinks.totals import Totals


class Chosen:
    """Counts in ``totals`` what passed."""

    def __init__(self, sink: Sink, choice: Choice) -> None:
        self._sink = sink
        self._choice = choice
        self.totals = Totals()

    def start(self, facts: dict[str, object]) -> str:
        """As the sink has it."""
        return self._sink.start(facts)

    def reset(self, explained: Explained) -> str:
        """One reset may let others pass that waited for it."""
        return "".join(self._pass(one) for one in self._choice.take(explained))

    def lost(self, count: int) -> str:
        """As the sink has it."""
        self.totals.lost += count
        return self._sink.lost(count)

    def summary(self, totals: Totals) -> str:
        """As the sink has it."""
        return self._sink.summary(totals)

    def _pass(self, one: Explained) -> str:
        self.totals.add(one)
        return self._sink.reset(one)
