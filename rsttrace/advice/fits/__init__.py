"""Advice that fits: one module for each cause that has some, found by looking at this package.

Each module says ``CAUSE`` (the catalogue's id), ``WANTS`` (the sources of a Place it looks at) and
has one function ``fit(case, place) -> Fit | None``. ``place`` is an empty Place if nothing could be
learnt. A fit says what to do with the values that this host has, or nothing; it never guesses.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place


@dataclass(frozen=True)
class Adviser:
    """A fit module's parts."""

    cause: str
    wants: tuple[str, ...]
    ask: Callable[[Case, Place], Fit | None]


@cache
def advisers() -> Mapping[str, Adviser]:
    """All of them by cause."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {one.cause: one for one in map(_read, names)}


def _read(name: str) -> Adviser:
    module = importlib.import_module(f"{__name__}.{name}")
    return Adviser(module.CAUSE, module.WANTS, module.fit)
