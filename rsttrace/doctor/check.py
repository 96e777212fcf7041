"""What a check of doctor says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rsttrace.doctor.costs import Cost

OK, MISSING, NOTE = "ok", "MISSING", "note"
# what a check is for; in this order they are told
NEEDED, SURE, CONTEXT = "needed", "verdicts", "context"
TITLES = {
    NEEDED: "needed to trace",
    SURE: "makes verdicts sure",
    CONTEXT: "adds names, settings and advice",
}


@dataclass(frozen=True)
class Check:
    """One line of the report.

    ``text`` says what there is or what is missing, ``remedy`` the command or change that mends it
    (may be empty), ``fatal``: tracing cannot work without it. ``cost``: what becomes of which
    causes. ``more`` are lines for -v, ``facts`` the same for programs.
    """

    name: str
    mark: str
    text: str
    remedy: str = ""
    group: str = NEEDED
    fatal: bool = False
    cost: Cost = field(default_factory=Cost)
    more: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
