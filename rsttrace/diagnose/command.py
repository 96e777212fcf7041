"""``-- CMD ARGS``: exactly the life of that command and its children."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from typing import NoReturn

from rsttrace.diagnose.caller import Caller, become, environment_of
from rsttrace.diagnose.family import HOOK, Family, Follower
from rsttrace.diagnose.gate import Child, Tell, Wait
from rsttrace.diagnose.scope import by_processes
from rsttrace.diagnose.subject import Subject
from rsttrace.enrich.live import read_process
from rsttrace.errors import EXIT_USAGE, RsttraceError
from rsttrace.output import printable
from rsttrace.report.model import Command

SHELL = "/bin/sh"
LONGEST = 60  # characters of a command line in a sentence
MOST_NAMES = 3
STDOUT, STDERR = 1, 2


class WatchedCommand(Subject):
    """Waits at a gate until the trace is on, and is then followed until all of it has ended.

    Children that made a session of their own (setsid(2)) are services that it leaves behind: they
    are watched, but not waited for.
    """

    hooks = (HOOK,)
    own_time = True

    def __init__(self, argv: Sequence[str], caller: Caller | None, stdout_is_ours: bool) -> None:
        """``stdout_is_ours``: what the command writes there goes to stderr.

        Usage error if there is no such command.
        """
        self._argv = tuple(argv)
        self._caller = caller
        self._stdout_is_ours = stdout_is_ours
        self._session = os.getsid(0)
        self._child = Child(self._live)
        self._raise_if_told(None)
        self._family = Family((self._child.pid,))
        self.wanted = by_processes(self._family.has)
        self._began = self._ended = 0.0
        self._told = False

    @property
    def what(self) -> str:
        return f"{shortened(shlex.join(self._argv))} and its children"

    def attach(self, kernel: Follower) -> None:
        self._family.attach(kernel)

    def begin(self) -> None:
        self._began = time.monotonic()
        self._child.go()
        self._raise_if_told(None)

    def over(self) -> bool:
        self._family.look()
        if not self._child.poll():
            return False
        self._ended = self._ended or time.monotonic()
        return not self._left()

    def news(self) -> str:
        if self._told or not self._ended or not (left := len(self._left())):
            return ""
        self._told = True
        whom = "process" if left == 1 else f"{left} processes"
        return f"the command has ended; waiting for the {whom} it left. Ctrl-C: report now."

    def close(self) -> None:
        self._child.leave()

    def _left(self) -> set[int]:
        return self._family.running(self._session) - {self._child.pid}

    @property
    def command(self) -> Command:
        self._child.poll()
        seconds = (self._ended or time.monotonic()) - self._began
        members = len(self._family.members())
        return Command(self._argv, self._child.pid, self._child.status, seconds, members)

    def problems(self) -> tuple[str, ...]:
        found = list(self._family.problems())
        if not self._child.poll():
            found.append(f"The command still runs (process {self._child.pid}); it was left alone.")
        elif left := sorted(self._left()):
            names = [p.name for pid in left[:MOST_NAMES] if (p := read_process(pid))]
            more = f" and {len(left) - len(names)} more" if len(left) > len(names) else ""
            found.append(f"The command left processes that still run: {', '.join(names)}{more}.")
        return tuple(found)

    def _raise_if_told(self, wait_s: float | None) -> None:
        """The child says whether it found the command, and whether exec() failed."""
        for said in self._child.hear(wait_s):
            if "problem" in said:
                self._child.leave()
                raise RsttraceError(said["problem"], said["hint"], EXIT_USAGE)

    # -- in the child

    def _live(self, tell: Tell, wait: Wait) -> None:
        environ = environment_of(self._caller, os.environ)
        become(self._caller)
        path = shutil.which(self._argv[0], path=environ.get("PATH"))
        if path is None:
            tell(_not_found(self._argv[0], self._caller))
            return
        tell({"found": path})
        wait()
        if self._stdout_is_ours:
            os.dup2(STDERR, STDOUT)
        try:
            execute(path, self._argv, environ)
        except OSError as err:
            problem = f"{printable(self._argv[0])} could not be started: {err.strerror}."
            tell({"problem": problem, "hint": ""})


def execute(path: str, argv: Sequence[str], environ: dict[str, str]) -> NoReturn:
    """As execvp(3): a file that is no program is a script for the shell."""
    try:
        os.execve(path, [*argv], environ)
    except OSError as err:
        if err.errno != errno.ENOEXEC:
            raise
    os.execve(SHELL, (SHELL, path, *argv[1:]), environ)


def shortened(text: str) -> str:
    """So that it fits into a sentence."""
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4].rstrip()} ..."


def _not_found(name: str, caller: Caller | None) -> dict[str, str]:
    shown = printable(name)
    user = f" by {caller.name or caller.uid}" if caller else ""
    if os.path.isdir(name) and "/" in name:
        return {"problem": f"{shown} is a directory, not a command.", "hint": ""}
    if os.path.exists(name) and "/" in name:
        return {"problem": f"{shown} cannot be executed{user}.", "hint": ""}
    hint = "" if "/" in name else "sudo may have changed PATH: give its whole path."
    return {"problem": f"there is no command {shown}.", "hint": hint if caller else ""}
