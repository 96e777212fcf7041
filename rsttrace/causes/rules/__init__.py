"""The rules: one module for each cause, found by looking at this package.

Each module says ``CAUSE`` (the catalogue's id), ``WHEN`` (kinds of reset it is asked about),
``NEEDS`` (facts without which it cannot answer), ``AFTER`` (causes that are asked before it) and
has one function ``rule(case) -> Finding | None``. A rule looks at facts only (stack, state,
socket, segment), never at versions or port numbers. The first that answers decides.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter

from rsttrace.causes.case import Case, Finding
from rsttrace.causes.kinds import Fact


@dataclass(frozen=True)
class Rule:
    """A rule module's parts."""

    cause: str
    when: tuple[str, ...]
    needs: tuple[Fact, ...]
    after: tuple[str, ...]
    ask: Callable[[Case], Finding | None]


@cache
def rules() -> tuple[Rule, ...]:
    """All rules in the order they are asked: by AFTER, else always the same one."""
    found = {rule.cause: rule for rule in map(_read, _modules())}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for cause in sorted(found):
        sorter.add(cause, *sorted(found[cause].after))
    return tuple(found[cause] for cause in sorter.static_order())


@cache
def rules_for(kind: str) -> tuple[Rule, ...]:
    """Those that are asked about this kind of reset."""
    return tuple(rule for rule in rules() if kind in rule.when)


def _modules() -> list[str]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in names if not name.startswith("_")]


def _read(name: str) -> Rule:
    module = importlib.import_module(f"{__name__}.{name}")
    return Rule(module.CAUSE, module.WHEN, module.NEEDS, module.AFTER, module.rule)
