"""Commands for people to paste: in the right network namespace, and safe to paste.

Names that a process or the network chose (of devices, tables, units ...) are quoted for the shell.
"""

from __future__ import annotations

import re
import shlex

from rsttrace.causes.case import Case, name_of
from rsttrace.enrich import Process

# who shows a container by its id
_TOOLS = {"docker": "docker", "podman": "podman", "containerd": "crictl", "cri-o": "crictl"}
HOST = "host"  # how enrichment calls the namespace of process 1
# what `ip netns exec` takes: a file name in /run/netns
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*")
_DOCKER = re.compile(r"[0-9a-f]{12}")  # in /run/docker/netns, where ip does not look
_UNNAMED = re.compile(r"netns (\d+)")  # as a Place calls a namespace without a name


def line(*words: str) -> str:
    """Words as one command for a shell."""
    return shlex.join(words)


def inside(case: Case, command: str) -> str:
    """The command, run in the namespace of the reset."""
    netns, name = case.reset.flow.netns, case.facts.netns_name
    if name == HOST or not netns:
        return command
    if name and _NAME.fullmatch(name):
        return f"ip netns exec {name} {command}"
    if pid := _somebody_in_it(case):
        return f"nsenter -t {pid} -n {command}"
    return f"in network namespace {netns} (lsns -t net): {command}"


def inside_of(name: str, command: str) -> str:
    """The same in a namespace as a Place names it: ``web``, ``netns 4026532999``, ``host``."""
    if name == HOST:
        return command
    if _DOCKER.fullmatch(name):
        return f"nsenter --net=/run/docker/netns/{name} {command}"
    if _NAME.fullmatch(name):
        return f"ip netns exec {name} {command}"
    found = _UNNAMED.fullmatch(name)
    where = f"network namespace {found[1]} (lsns -t net)" if found else name
    return f"in {where}: {command}"


def _somebody_in_it(case: Case) -> int | None:
    """A process that has a socket there, and is not about to end."""
    facts, decided = case.facts, case.reset.decided
    ending = decided.task.pid if decided and decided.task.exiting else None
    killer = facts.actor if case.reset.in_stack("tcp_abort") else None
    for process in (facts.listener, facts.owner):
        if process and process.pid != ending and process != killer:
            return process.pid
    return None


def sysctl(case: Case, name: str, value: int | str) -> str:
    """``sysctl -w net.core.somaxconn=4096`` in that namespace."""
    return inside(case, line("sysctl", "-w", f"{name}={value}"))


def unit_of(process: Process | None) -> str:
    """The system's own service that a process belongs to: ``nginx.service``; empty: none known."""
    home = process.home if process else None
    if home is None or home.user is not None or home.container_id:
        return ""
    return home.unit if home.unit and home.unit.endswith(".service") else ""


def service_of(process: Process | None, default: str = "the application") -> str:
    """What is to be restarted: ``nginx.service``, else ``nginx[1432]``."""
    return unit_of(process) or name_of(process, default)


def container_of(process: Process | None) -> tuple[str, str]:
    """The command that knows its container, and the container's id; both empty if there is none."""
    home = process.home if process else None
    tool = _TOOLS.get(home.runtime or "", "") if home and not home.monitor else ""
    return (tool, home.container_id) if home and home.container_id and tool else ("", "")


def live(case: Case) -> Process | None:
    """The process that acts for this end, if it is still there to be looked at."""
    decided, facts = case.reset.decided, case.facts
    ending = decided.task.pid if decided and decided.task.exiting else None
    people = (facts.actor, facts.owner, facts.closer, facts.listener)
    return next((p for p in people if p and p.pid != ending), None)


def slow_accept(case: Case) -> str:
    """How to look at the one who has to call accept() faster."""
    process = case.facts.listener or case.facts.owner
    if process is None:
        look = inside(case, line("ss", "-ltnp", f"sport = :{case.reset.flow.lport}"))
        return f"{look}  # shows who has to call accept() faster"
    look = line("top", "-b", "-n", "1", "-H", "-p", str(process.pid))
    return f"{look}  # {process.name} must call accept() faster: is it busy (R) or stuck (D)?"


def strace(process: Process, calls: str, why: str) -> str:
    """How to watch the system calls of a process."""
    look = line("strace", "-f", "-tt", "-e", f"trace={calls}", "-p", str(process.pid))
    return f"{look}  # {why} (slows it down)"
