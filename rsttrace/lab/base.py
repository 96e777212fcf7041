"""What every lab file imports: ``Lab`` and ``Expect``; and what describes a lab to the outside."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rsttrace.lab.errors import LabError, LabSkip
from rsttrace.lab.net import Lab

__all__ = ["Expect", "Expected", "Lab", "LabError", "LabSkip", "LabSpec", "Scenario", "received"]

Run = Callable[[Lab], None]
BOTH_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True)
class Expect:
    """One RST that a lab makes, as one end must report it."""

    direction: str  # sent, received, forwarded, rejected, suppressed, none
    cause: str
    end: str  # whose namespace the record belongs to: client, server, router, bridge
    confidence: str = field(default="certain")
    state: str | None = field(default=None)  # None: not asserted
    facts: Mapping[str, object] = field(default_factory=dict)  # dotted JSON path
    says: tuple[str, ...] = field(default=())  # words of the summary or a remedy


def received(cause: str, state: str, errno: str, end: str = "client") -> Expect:
    """The record of the end that believes the RST and hands its application ``errno``."""
    return Expect("received", cause, end=end, state=state, facts={"errno": errno})


Expected = tuple[Expect, ...]
Scenario = tuple[Expected, Run]


@dataclass(frozen=True)
class LabSpec:
    """One runnable lab: a module, or one variant of it (``name`` is then ``cause/variant``).

    With a real server: ``servers/SERVER-variant``; ``cause`` is then its first reset's.
    """

    name: str
    cause: str
    variant: str | None
    expect: Expected
    run: Run
    doc: str
    families: tuple[int, ...] = BOTH_FAMILIES
    topology: str = "direct"  # a key of topology.TOPOLOGIES
    global_limit: str = ""  # a sysctl of the whole host that it changes: only run when asked to
    server: str = ""  # nginx, haproxy, sshd, python
