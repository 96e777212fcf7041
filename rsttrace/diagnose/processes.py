"""``--pid``: processes that run already, and what they start."""

from __future__ import annotations

from rsttrace.diagnose.family import HOOK, Family, Follower
from rsttrace.diagnose.scope import by_processes
from rsttrace.diagnose.subject import Subject
from rsttrace.enrich.live import read_process


class Processes(Subject):
    """Their sockets, and those of their children, also of children that come later."""

    hooks = (HOOK,)

    def __init__(self, pids: tuple[int, ...]) -> None:
        self._family = Family(pids)
        self.wanted = by_processes(self._family.has)
        known = [(pid, read_process(pid)) for pid in pids]
        names = [process.name if process else f"process {pid}" for pid, process in known]
        self._what = f"{', '.join(names)} and {'its' if len(names) == 1 else 'their'} children"

    @property
    def what(self) -> str:
        return self._what

    def attach(self, kernel: Follower) -> None:
        self._family.attach(kernel)

    def over(self) -> bool:
        self._family.look()
        return False

    def problems(self) -> tuple[str, ...]:
        return self._family.problems()
