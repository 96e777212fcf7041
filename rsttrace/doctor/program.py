"""What rsttrace itself is made of."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from rsttrace.doctor.check import CONTEXT, MISSING, NEEDED, OK, Check
from rsttrace.doctor.costs import without_sources
from rsttrace.doctor.host import Host
from rsttrace.errors import CannotTrace
from rsttrace.kernel import loader

# the oldest versions that are known to work (pyproject.toml)
LIBRARIES = {"click": (8, 0), "tabulate": (0, 8, 7)}
NETLINK, OLDEST_NETLINK = "pyroute2", (0, 5, 14)
# what the helper process reads without netlink (enrich/sources)
WITHOUT_NETLINK = ("settings",)


def python(host: Host) -> Iterator[Check]:
    """The interpreter."""
    yield Check("python", OK, f"{platform.python_version()}, {sys.executable}")


def bcc(host: Host) -> Iterator[Check]:
    """The BPF compiler, and not PyPI's package of that name."""
    try:
        module = loader.import_bcc()
    except CannotTrace as err:
        yield Check("bcc", MISSING, err.message, err.hint, fatal=True)
        return
    version = getattr(module, "__version__", "unknown")
    place = Path(module.__file__).parent
    facts = {"version": version, "place": str(place)}
    yield Check("bcc", OK, f"version {version} from {place}", facts=facts)


def libraries(host: Host) -> Iterator[Check]:
    """What the command line needs: all in one line, and each that is missing."""
    found = [_library(name, oldest, NEEDED) for name, oldest in LIBRARIES.items()]
    there = [one for one in found if one.mark == OK]
    if there:
        text = ", ".join(f"{one.name} {one.facts['version']}" for one in there)
        facts = {one.name: one.facts["version"] for one in there}
        yield Check("libraries", OK, text, facts=facts)
    yield from (one for one in found if one.mark != OK)


def netlink(host: Host) -> Iterator[Check]:
    """What asks the kernel about sockets and routes."""
    found = _library(NETLINK, OLDEST_NETLINK, CONTEXT)
    if found.mark == OK:
        yield found
        return
    cost = without_sources(WITHOUT_NETLINK)
    yield Check(NETLINK, found.mark, found.text, found.remedy, found.group, cost=cost)


def _library(name: str, oldest: tuple[int, ...], group: str) -> Check:
    remedy = f"Install it with: apt install python3-{name}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, MISSING, f"not installed for {sys.executable}", remedy, group)
    facts = {"version": version}
    digits = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if digits < oldest:
        wanted = ".".join(map(str, oldest))
        text = f"version {version} is older than {wanted}"
        return Check(name, MISSING, text, remedy, group, facts=facts)
    return Check(name, OK, f"version {version}", group=group, facts=facts)


def load(host: Host) -> Iterator[Check]:
    """Compile, load and attach the programs once; the last check, if nothing else is in the way."""
    try:
        kernel = loader.Kernel(loader.prepare())
    except CannotTrace as err:
        yield Check("load", MISSING, err.message, err.hint, fatal=True)
        return
    number = len(kernel.hooks)
    kernel.close()
    yield Check("load", OK, f"{number} programs compiled, loaded and attached")
