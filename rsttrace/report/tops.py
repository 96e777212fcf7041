"""Numbers of many resets in little memory: how often each text came, and from where to where."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LIMIT = 64


@dataclass
class Tops:
    """How often each text came. At most ``2 * limit`` are kept; the rarest are forgotten first."""

    limit: int = LIMIT
    counts: Counter[str] = field(default_factory=Counter)
    forgot: bool = False

    def add(self, text: str, count: int = 1) -> None:
        """Count a text; an empty one is nothing."""
        if not text:
            return
        self.counts[text] += count
        if len(self.counts) > 2 * self.limit:
            self.counts = Counter(dict(self.counts.most_common(self.limit)))
            self.forgot = True

    def merge(self, other: Tops) -> None:
        """Take what another one counted."""
        for text, count in other.counts.items():
            self.add(text, count)
        self.forgot |= other.forgot

    def most(self, number: int | None = None) -> list[tuple[str, int]]:
        """The most frequent; of equal ones, the first that came."""
        return self.counts.most_common(number)

    @property
    def only(self) -> str:
        """The text, if there was no other; else empty."""
        return next(iter(self.counts)) if len(self.counts) == 1 and not self.forgot else ""

    @property
    def how_many(self) -> str:
        """How many different ones, ``3`` or ``more than 64``."""
        return f"more than {self.limit}" if self.forgot else f"{len(self.counts)}"

    def __bool__(self) -> bool:
        return bool(self.counts)


@dataclass
class Range:
    """The smallest and the largest of some numbers."""

    low: float
    high: float

    def add(self, value: float) -> None:
        """One more number."""
        self.low, self.high = min(self.low, value), max(self.high, value)


Ranges = dict[str, Range]


def widen(ranges: Ranges, name: str, *values: float) -> None:
    """Let the range of this name contain the values as well."""
    for value in values:
        if name in ranges:
            ranges[name].add(value)
        else:
            ranges[name] = Range(value, value)
