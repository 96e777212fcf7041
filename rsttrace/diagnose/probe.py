"""``HOST:PORT``: connect from a child process and see what comes back."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, replace
from typing import Any

from rsttrace.diagnose.caller import Caller, become
from rsttrace.diagnose.gate import Child, Tell, Wait
from rsttrace.diagnose.scope import Visited, by_visits
from rsttrace.diagnose.subject import Subject
from rsttrace.diagnose.target import Target
from rsttrace.diagnose.visit import Plan, Visit, look_up
from rsttrace.enrich.answers.namespaces import problem_of_entering
from rsttrace.errors import EXIT_USAGE, RsttraceError
from rsttrace.report.model import Attempt, Probe

MARGIN_SECONDS = 2.0  # beyond the sockets' own limits


class Visits(Subject):
    """All addresses of the name, one after the other."""

    own_time = True

    def __init__(
        self,
        target: Target,
        plan: Plan,
        family: int | None,
        netns: int | None,
        caller: Caller | None,
    ) -> None:
        """``netns``: the namespace to connect from, None: this one. Usage error if it is gone."""
        self._target, self._plan = target, plan
        self._family, self._netns, self._caller = family, netns, caller
        self._visits: list[Visited] = []
        self._attempts: list[Attempt] = []
        self._now: Attempt | None = None
        self._problem = ""
        self._deadline = float("inf")
        self._child = Child(self._live, held=True)
        for said in self._child.hear(None):
            if "problem" in said:
                self._child.leave()
                raise RsttraceError(said["problem"], "", EXIT_USAGE)
        inode = netns or os.stat("/proc/self/ns/net").st_ino
        self.wanted = by_visits(self._child.pid, inode, self._visits)

    @property
    def what(self) -> str:
        return f"connections to {self._target}"

    def begin(self) -> None:
        self._deadline = time.monotonic() + self._plan.timeout_s
        self._child.go()

    def over(self) -> bool:
        self._hear()
        if self._child.closed:
            self.finish()
            return True
        if time.monotonic() <= self._deadline:
            return False
        self._child.leave()
        self._note("it took too long")
        if not self._attempts and not self._problem:
            seconds = self._plan.timeout_s
            self._problem = (
                f"{self._target.host} was not found within {seconds:g} s: "
                "the name server does not answer."
            )
        return True

    def finish(self) -> None:
        self._hear()
        self._child.leave()
        self._note("it was interrupted")

    def close(self) -> None:
        self._child.leave()

    @property
    def probe(self) -> Probe:
        return Probe(str(self._target), self._plan.tls, tuple(self._attempts), self._problem)

    def _hear(self) -> None:
        while said := self._child.hear():
            for one in said:
                self._take(one)

    def _take(self, said: dict[str, Any]) -> None:
        """One line of the child's."""
        if "problem" in said:
            self._problem = said["problem"]
        elif "began" in said:
            self._now = now = Attempt(**said["began"])
            self._visits.append(
                Visited(now.local_port, now.address, now.port, said["monotonic_ns"])
            )
            limits = 2 * self._plan.timeout_s + self._plan.wait_s + MARGIN_SECONDS
            self._deadline = time.monotonic() + limits
        elif "attempt" in said:
            self._now = None
            self._attempts.append(Attempt(**said["attempt"]))

    def _note(self, why: str) -> None:
        """What it was at when it ended."""
        if self._now:
            self._attempts.append(replace(self._now, text=f"Not finished: {why}."))
            self._now = None

    # -- in the child

    def _live(self, tell: Tell, wait: Wait) -> None:
        if self._netns and (problem := problem_of_entering(self._netns)):
            tell({"problem": f"{problem}."})
            return
        become(self._caller)
        tell({"ready": True})
        wait()
        try:
            found = look_up(self._target.host, self._target.port, self._family)
        except (socket.gaierror, UnicodeError) as err:
            tell({"problem": why_not_found(self._target.host, err, bool(self._netns))})
            return
        for family, address in found:

            def began(attempt: Attempt) -> None:
                tell({"began": asdict(attempt), "monotonic_ns": time.monotonic_ns()})

            tell({"attempt": asdict(Visit(family, address, self._plan).run(began))})


def why_not_found(host: str, err: OSError | UnicodeError, inside: bool) -> str:
    """A sentence. ``inside``: it was asked from within another network namespace."""
    why = err.strerror if isinstance(err, OSError) and err.strerror else "it is no name"
    where = " inside that network namespace" if inside else ""
    return f"The name {host} was not found{where}: {why}."
