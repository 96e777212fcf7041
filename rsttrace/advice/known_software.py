"""What the settings of well-known servers and runtimes do about a cause: software/NAME.toml.

One file for each program. ``names``: what the process calls itself (``comm``, at most 15
characters) or the file name of its executable; ``*`` stands for anything. Then any number of
settings, the most likely culprit first::

    names = ["nginx"]

    [[setting]]
    cause = "linger-zero"                       # id of the catalogue
    setting = "reset_timedout_connection"       # its name in the program's own documentation
    change = "reset_timedout_connection off;"   # what to write there, to paste
    where = "nginx.conf: http, server or location"
    text = "nginx resets on purpose only where this is on, or after return 444"
    role = "server"       # optional: only where this program accepted (server) or opened (client)
    function = "ngx_*"    # optional: only if a name in the process's own stack fits
    cmdline = "*serve*"   # optional: only if the command line fits

``advise`` turns that into one remedy: ``reset_timedout_connection off;  # nginx (nginx.conf: http,
server or location): nginx resets on purpose only ...``. ``where`` and ``text`` are clauses, without
a full stop at the end. A program without a setting for a cause has no entry for it. ``function``
is asked of the names without their library; where the stack is not known the setting is told all
the same.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

from rsttrace.causes.case import Case
from rsttrace.enrich import Process
from rsttrace.explain import role_of_local_end


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of one program that bears on one cause. ``role`` and the rest: empty: any."""

    cause: str
    setting: str
    change: str
    where: str
    text: str
    role: str = ""
    function: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True)
class Software:
    """One file: a program by its names, and its settings."""

    id: str
    names: tuple[str, ...]
    settings: tuple[Setting, ...]

    def runs_as(self, process: Process) -> bool:
        """Is this process that program?"""
        called = {process.comm, PurePosixPath(process.exe).name} - {""}
        return any(fnmatchcase(one, name) for one in called for name in self.names)


@cache
def software() -> tuple[Software, ...]:
    """All files, by name."""
    directory = resources.files(__package__) / "software"
    files = sorted(
        (f for f in directory.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    return tuple(_read(f.name.removesuffix(".toml"), f.read_text(encoding="utf-8")) for f in files)


def _read(name: str, text: str) -> Software:
    value = tomllib.loads(text)
    settings = tuple(Setting(**one) for one in value.get("setting", ()))
    return Software(name, tuple(value["names"]), settings)


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
    return [
        one
        for one in program.settings
        if one.cause == cause
        and fnmatchcase(process.cmdline, one.cmdline or "*")
        and one.role in ("", role_of_local_end(case))
        and _called(one.function, case.facts.user_frames)
    ]


def _called(function: str, frames: tuple[str, ...]) -> bool:
    """Is the function in the stack? Also if neither is known."""
    if not function or not frames:
        return True
    return any(fnmatchcase(frame.split(" ")[0], function) for frame in frames)


def _words(program: Software, one: Setting) -> str:
    where = f" ({one.where})" if one.where else ""
    return f"{one.change}  # {program.id}{where}: {one.text}"
