"""Labs: small scenarios that make a real kernel reset a connection for one known cause.

One file per cause, listed here by looking at the package; nothing is imported until asked for.
Beside them ``servers/``: the same with real servers, one file for each program.
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

SERVERS = "servers"
_MACHINERY = frozenset(
    {"base", "errors", "limit", "namespace", "net", "runner", "tcp", "topology", SERVERS}
)
_SERVER_MACHINERY = frozenset({"program", "running"})


@functools.cache
def labs() -> tuple[LabSpec, ...]:
    """Every lab of a cause, variants one by one, in the order of their names."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _MACHINERY)
    return tuple(spec for name in names for spec in _specs(name))


@functools.cache
def server_labs() -> tuple[LabSpec, ...]:
    """Every lab with a real server: ``servers/nginx-return-444``."""
    from rsttrace.lab import servers

    modules = (m.name for m in pkgutil.iter_modules(servers.__path__))
    names = sorted(name for name in modules if name not in _SERVER_MACHINERY)
    return tuple(spec for name in names for spec in _server_specs(name))


def find(name: str) -> tuple[LabSpec, ...]:
    """The lab of that name, or all variants of that cause, or all with that server
    (``servers/nginx``), or with any (``servers``); empty if there is none.
    """
    found = tuple(spec for spec in labs() if name in (spec.name, spec.cause))
    return found or tuple(
        spec for spec in server_labs() if name in (spec.name, SERVERS, f"{SERVERS}/{spec.server}")
    )


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


def _server_specs(name: str) -> Iterator[LabSpec]:
    from rsttrace.lab.base import BOTH_FAMILIES, LabSpec

    module = importlib.import_module(f"{__name__}.{SERVERS}.{name}")
    server = name.removesuffix("_server")
    families = getattr(module, "FAMILIES", BOTH_FAMILIES)
    for variant, (expect, run) in module.VARIANTS.items():
        doc = inspect.getdoc(run) or ""
        label = f"{SERVERS}/{server}-{variant}"
        yield LabSpec(label, expect[0].cause, variant, expect, run, doc, families, server=server)


def _variants(module: ModuleType) -> dict[str | None, Scenario]:
    """A module has either VARIANTS, or EXPECT and run."""
    found: dict[str | None, Scenario] | None = getattr(module, "VARIANTS", None)
    return found if found is not None else {None: (module.EXPECT, module.run)}
