"""Labs: small scenarios that make a real kernel reset a connection for one known cause.

One file per cause, listed here by looking at the package; nothing is imported until asked for.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsttrace.lab.base import LabSpec, Scenario

_MACHINERY = frozenset({"base", "errors", "limit", "namespace", "net", "runner", "tcp", "topology"})


@functools.cache
def labs() -> tuple[LabSpec, ...]:
    """Every lab, variants one by one, in the order of their names."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _MACHINERY)
    return tuple(spec for name in names for spec in _specs(name))


def find(name: str) -> tuple[LabSpec, ...]:
    """The lab of that name, or all variants of that cause; empty if there is none."""
    return tuple(spec for spec in labs() if name in (spec.name, spec.cause))


def _specs(name: str) -> Iterator[LabSpec]:
    from rsttrace.lab.base import BOTH_FAMILIES, LabSpec

    module = importlib.import_module(f"{__name__}.{name}")
    families = getattr(module, "FAMILIES", BOTH_FAMILIES)
    topology = getattr(module, "TOPOLOGY", "direct")
    for variant, (expect, run) in _variants(module).items():
        label = f"{module.CAUSE}/{variant}" if variant else module.CAUSE
        doc = "\n\n".join(filter(None, (inspect.getdoc(module), inspect.getdoc(run))))
        joined = topology if isinstance(topology, str) else topology.get(variant, "direct")
        limit = getattr(module, "GLOBAL", "")
        yield LabSpec(label, module.CAUSE, variant, expect, run, doc, families, joined, limit)


def _variants(module: ModuleType) -> dict[str | None, Scenario]:
    """A module has either VARIANTS, or EXPECT and run."""
    found: dict[str | None, Scenario] | None = getattr(module, "VARIANTS", None)
    return found if found is not None else {None: (module.EXPECT, module.run)}
