"""Why the process ended: where systemd and the kernel wrote that down."""

from __future__ import annotations

import signal

from rsttrace.advice.commands import container_of, line, unit_of
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "process-exit-unread-data"
WANTS = ()
SIGNAL = 0x7F  # of exit_code
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
SHOWN = "Result,ExecMainCode,ExecMainStatus,NRestarts,TimeoutStopUSec"


def fit(case: Case, _place: Place) -> Fit | None:
    """By the signal, or none."""
    decided = case.reset.decided
    if decided is None:
        return None
    pid, number = decided.task.pid, decided.task.exit_code & SIGNAL
    found = []
    if number == signal.SIGKILL:
        look = line("journalctl", "-k", "-g", f"Killed process {pid} ")
        found.append(f"{look}  # was it the OOM killer? if not: kill -9, a stop time-out")
    elif number in CRASHES:
        found += _crash(pid, number)
    found += _service(case, pid)
    settles = ("find why the process ended", *(() if number == signal.SIGKILL else ("give the",)))
    return Fit(tuple(found), (), settles=settles)


def _crash(pid: int, number: int) -> list[str]:
    """The kernel writes down what it sent itself; abort() is the program's own."""
    core = f"{line('coredumpctl', 'info', str(pid))}  # where it crashed, if cores are kept"
    if number == signal.SIGABRT:
        return [core]
    look = line("journalctl", "-k", "-g", rf"\[{pid}\]")
    return [f"{look}  # the kernel on the crash", core]


def _service(case: Case, pid: int) -> list[str]:
    if unit := unit_of(case.facts.owner or case.facts.actor):
        show = line("systemctl", "show", "-p", SHOWN, unit)
        return [
            f"{show}  # how {unit} ended and how long it may take to stop",
            f"{line('journalctl', '-u', unit, '-n', '50')}  # what it logged last",
        ]
    tool, container = container_of(case.facts.owner or case.facts.actor)
    if tool:
        return [
            f"{line(tool, 'inspect', container)}  # State: exit code, OOMKilled",
            f"{line(tool, 'logs', '--tail', '50', container)}  # what it logged last",
        ]
    return [f"{line('journalctl', f'_PID={pid}', '-n', '50')}  # what it logged last"]
