"""Checks of what tracing needs and of what makes it tell more; what is missing, what that costs in
verdicts, and what mends it. Every check is a function that is given the host and yields ``Check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rsttrace.doctor import kernel, program, rights, surroundings
from rsttrace.doctor.check import MISSING, NOTE, Check
from rsttrace.doctor.host import Host

CHECKS: tuple[Callable[[Host], Iterable[Check]], ...] = (
    program.python,
    program.libraries,
    rights.rights,
    rights.user_namespace,
    rights.capabilities,
    program.bcc,
    kernel.btf,
    kernel.lockdown,
    rights.memory,
    kernel.hooks,
    kernel.reasons,
    kernel.gaps,
    kernel.members,
    kernel.helpers,
    kernel.symbols,
    surroundings.helper,
    surroundings.network_namespaces,
    surroundings.processes,
    surroundings.containers,
    program.netlink,
    surroundings.firewall,
    surroundings.conntrack,
    surroundings.tools,
    kernel.hooks_on_demand,
    kernel.tracing_files,
)
# if one of these cannot even be made, a trace cannot either
DECISIVE = (rights.rights, program.bcc, kernel.btf, program.load)


def examine(host: Host | None = None) -> list[Check]:
    """All checks; the programs are loaded only if nothing else stands in the way."""
    host = host or Host()
    found = [one for check in CHECKS for one in guarded(check, host)]
    if not any(one.fatal for one in found):
        found += guarded(program.load, host)
    return found


def guarded(check: Callable[[Host], Iterable[Check]], host: Host) -> Iterator[Check]:
    """What the check says; that it failed, if it did: doctor runs where things are broken."""
    try:
        yield from check(host)
    except Exception as err:
        name = check.__name__.replace("_", " ")
        text = f"could not be looked at: {type(err).__name__}: {err}"
        yield Check(name, MISSING if check in DECISIVE else NOTE, text, fatal=check in DECISIVE)
