"""What the settings of well-known servers and runtimes do about a cause: software/NAME.toml.

One file for each program. ``names``: what the process calls itself (``comm``, at most 15
characters) or the file name of its executable; ``*`` stands for anything. ``cmdline``, optional:
one of these patterns must fit its command line as well, where another program has that name. Then
any number of settings, the most likely culprit first::

    names = ["nginx"]

    [[setting]]
    cause = "linger-zero"                       # id of the catalogue
    setting = "reset_timedout_connection"       # its name in the program's own documentation
    change = "reset_timedout_connection off;"   # what to write there, to paste; not the default
    where = "nginx.conf: http, server or location"
    text = "where this is on, nginx resets clients that time out or meet return 444"

Further keys of a setting, all optional. It is told only where all of them fit:

    role = "server"          # this program accepted (server) or opened (client) the connection
    cmdline = ["*serve*"]    # one of these fits its command line
    after_s = 4              # the connection was at least so old when it was closed, or who knows
    before_s = 5             # at most so old, or who knows
    ended = ["SIG*"]         # who closed it did so by ending: SIGKILL, "status 1"; "no": lived on
    limit = 5                # the accept queue's limit is this number, the program's own default
    silent = true            # the program wanted the other end not to notice: no FIN, and either
                             # no RST (TCP_REPAIR) or one that dies on its way (TTL 1)
    function = "accept_fd"   # proof: a name in the stack of its call (see below)

What ``silent`` or ``function`` prove is the answer: no other setting is told then. A stack may lack
callers, so a ``function`` that is not in it rules nothing out. These two and ``ended`` are asked
only where it was this program that acted.

``advise`` turns a setting into one remedy: ``reset_timedout_connection off;  # nginx (nginx.conf:
http, server or location): where this is on, ...``. ``where`` and ``text`` are clauses, without a
full stop at the end. A program without a setting for a cause has no entry for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from rsttrace import toml
from rsttrace.causes.case import Case, how_it_ended
from rsttrace.enrich import Process
from rsttrace.explain import role_of_local_end

LIVED_ON = "no"


@dataclass(frozen=True)
class Setting:
    """One setting of one program that bears on one cause. ``role`` and the rest: empty: any."""

    cause: str
    setting: str
    change: str
    where: str
    text: str
    role: str = ""
    cmdline: tuple[str, ...] = ()
    after_s: float = 0
    before_s: float = float("inf")
    ended: tuple[str, ...] = ()
    limit: int = 0
    silent: bool = False
    function: str = ""


@dataclass(frozen=True)
class Software:
    """One file: a program by its names, and its settings."""

    id: str
    names: tuple[str, ...]
    settings: tuple[Setting, ...]
    cmdline: tuple[str, ...] = ()

    def runs_as(self, process: Process) -> bool:
        """Is this process that program?"""
        called = {process.comm, PurePosixPath(process.exe).name} - {""}
        return any(_like(one, self.names) for one in called) and (
            not self.cmdline or _like(process.cmdline, self.cmdline)
        )


@cache
def software() -> tuple[Software, ...]:
    """All files, by name."""
    directory = resources.files(__package__) / "software"
    files = sorted(
        (f for f in directory.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    return tuple(_read(f.name.removesuffix(".toml"), f.read_text(encoding="utf-8")) for f in files)


def _read(name: str, text: str) -> Software:
    value = toml.loads(text)
    settings = tuple(Setting(**_without_lists(one)) for one in value.pop("setting", ()))
    return Software(name, settings=settings, **_without_lists(value))


def _without_lists(value: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}


def remedies(case: Case, cause: str) -> tuple[str, ...]:
    """What to change in the programs that have to do with this reset."""
    facts = case.facts
    people = [facts.actor, facts.closer, facts.owner, facts.listener]
    found: dict[str, None] = {}
    for process in people:
        for program in software():
            if process and program.runs_as(process):
                fitting = _fitting(case, cause, program, process)
                found.update((_words(program, one), None) for one in fitting)
    return tuple(found)


def _fitting(case: Case, cause: str, program: Software, process: Process) -> list[Setting]:
    who = case.facts.actor or case.facts.closer
    acted = bool(who and program.runs_as(who))
    mine = [
        one for one in program.settings if one.cause == cause and _fits(case, one, process, acted)
    ]
    proven = [one for one in mine if acted and _proven(case, one)]
    return proven[:1] or mine


def _fits(case: Case, one: Setting, process: Process, acted: bool) -> bool:
    sock, age_s = case.sock, _age_s(case)
    return (
        one.role in ("", role_of_local_end(case))
        and (not one.cmdline or _like(process.cmdline, one.cmdline))
        and (age_s is None or one.after_s <= age_s <= one.before_s)
        and (not one.ended or (acted and _like(_ended(case), one.ended)))
        and (not one.limit or bool(sock and sock.max_ack_backlog == one.limit))
        and (not one.silent or (acted and _silent(case)))
    )


def _proven(case: Case, one: Setting) -> bool:
    names = (frame.split(" ")[0] for frame in case.facts.user_frames)
    return one.silent or bool(one.function and one.function in names)


def _age_s(case: Case) -> float | None:
    """How old the connection was when this end closed it; None if that is not known."""
    history = case.history
    if not history or not history.established_ns or not history.close_ns:
        return None
    return (history.close_ns - history.established_ns) / 1e9


def _ended(case: Case) -> str:
    """How the process that closed ended: ``SIGKILL``, ``status 1``, LIVED_ON; empty: not known."""
    decided, history = case.reset.decided, case.history
    if case.reset.active and decided:
        exiting, code = decided.task.exiting, decided.task.exit_code
    elif history and history.closed_by_process:
        exiting, code = history.closed_by_exit, history.close_exit_code
    else:
        return ""
    how = how_it_ended(code).removeprefix("exited with ").removeprefix("was killed by ")
    return how if exiting else LIVED_ON


def _silent(case: Case) -> bool:
    """Was the connection closed so that the other end should not notice?"""
    reset, history = case.reset, case.history
    if reset.active:
        return bool(reset.packet and reset.packet.ttl == 1)
    return bool(
        history
        and history.closed
        and history.old_state == "ESTABLISHED"
        and _ended(case) == LIVED_ON
        and not (history.sent_reset or history.got_reset or history.errno)
    )


def _like(text: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _words(program: Software, one: Setting) -> str:
    where = f" ({one.where})" if one.where else ""
    return f"{one.change}  # {program.id}{where}: {one.text}"
