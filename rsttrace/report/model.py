"""What a report is made of, besides the resets themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Command:
    """The command that was watched.

    ``status``: its exit status, negative: the signal that ended it (as subprocess has it), None:
    it had not ended. ``processes``: how many processes it was, with its children.
    """

    argv: tuple[str, ...]
    pid: int
    status: int | None
    seconds: float
    processes: int = 1


@dataclass(frozen=True)
class Attempt:
    """One connection that was tried.

    ``outcome``: ``connected`` (and nothing happened until the end of the wait), ``refused``,
    ``reset``, ``closed`` (end of file), ``timeout``, ``unreachable``, ``tls-ok``, ``tls-failed``,
    ``answered`` (data came), ``error``. ``errno``: its name, None if there was none. ``when``:
    ``connect``, ``tls``, ``wait``: the step at which it ended. ``text``: one sentence.
    """

    address: str
    port: int
    local_address: str
    local_port: int
    outcome: str
    when: str
    errno: str | None
    connect_ms: float | None
    seconds: float
    received: int = 0
    text: str = ""


@dataclass(frozen=True)
class Probe:
    """``diagnose HOST:PORT``. ``problem``: why nothing could be tried (name not found)."""

    target: str
    tls: bool
    attempts: tuple[Attempt, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Watch:
    """What was watched, and what became of it.

    ``what``: for the report's first lines: ``this host``, ``port 443``, ``nginx[1432]``, ``curl ...
    and its children``. ``host``: Session.host_facts(). ``scoped``: only some resets were asked for;
    ``others``: how many more were seen. ``counters``: how much the kernel's counters rose
    meanwhile, over all watched namespaces, by nstat's names; only those that rose; None: could not
    be read. ``problems``: what this kernel or these rights could not show, each one sentence.
    """

    what: str
    host: Mapping[str, Any]
    seconds: float
    scoped: bool = False
    others: int = 0
    command: Command | None = None
    probe: Probe | None = None
    counters: Mapping[str, int] | None = None
    problems: tuple[str, ...] = field(default=())
