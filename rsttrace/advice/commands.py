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
# units in which anybody's programs run, each with the names of its own processes
_HOSTS = {
    "atd": ("atd",),
    "containerd": ("containerd",),
    "cron": ("cron",),
    "crond": ("crond",),
    "docker": ("dockerd",),
    "ssh": ("sshd", "sshd-session"),
    "sshd": ("sshd", "sshd-session"),
}
# a restart gives them a new namespace with the sysctls of their configuration; a system in a box
# (lxc, systemd-nspawn, garden) lives on when one of its services is restarted
_OWN_NAMESPACE = ("docker", "podman", "containerd", "cri-o", None)


def line(*words: str) -> str:
    """Words as one command for a shell."""
    return shlex.join(words)


def remark(command: str, why: str) -> str:
    """``COMMAND  # WHY``, to paste as one line."""
    return f"{command}  # {why}" if why else command


def inside(case: Case, command: str, why: str = "") -> str:
    """The command, run in the namespace of the reset, and why."""
    netns, name = case.reset.flow.netns, case.facts.netns_name
    if name == HOST or not netns:
        return remark(command, why)
    if name and _NAME.fullmatch(name):
        return remark(f"ip netns exec {name} {command}", why)
    if pid := _somebody_in_it(case):
        return remark(f"nsenter -t {pid} -n {command}", why)
    return _by_hand(f"network namespace {netns} (lsns -t net)", command, why)


def inside_of(name: str, command: str, why: str = "") -> str:
    """The same in a namespace as a Place names it: ``web``, ``netns 4026532999``, ``host``."""
    if name == HOST:
        return remark(command, why)
    if _DOCKER.fullmatch(name):
        return remark(f"nsenter --net=/run/docker/netns/{name} {command}", why)
    if _NAME.fullmatch(name):
        return remark(f"ip netns exec {name} {command}", why)
    found = _UNNAMED.fullmatch(name)
    where = f"{found[1]} (lsns -t net)" if found else name
    return _by_hand(f"network namespace {where}", command, why)


def _by_hand(where: str, command: str, why: str) -> str:
    """Pasted as it stands nsenter refuses it, so that nothing runs in the wrong namespace."""
    note = f"PID: a process of {where}"
    return remark(f"nsenter -t PID -n {command}", f"{why}; {note}" if why else note)


def _somebody_in_it(case: Case) -> int | None:
    """A process that has a socket there, and is not about to end."""
    facts, decided = case.facts, case.reset.decided
    ending = decided.task.pid if decided and decided.task.exiting else None
    killer = facts.actor if case.reset.in_stack("tcp_abort") else None
    for process in (facts.listener, facts.owner):
        if process and process.pid != ending and process != killer:
            return process.pid
    return None


def sysctl(case: Case, name: str, value: int | str, why: str = "") -> str:
    """``sysctl -w net.core.somaxconn=4096`` in that namespace, and why."""
    return inside(case, line("sysctl", "-w", f"{name}={value}"), why)


def unit_of(process: Process | None) -> str:
    """The system's own service that a process belongs to: ``nginx.service``; empty: none known.

    What runs out of cron or a login is not that service, and it is not to be restarted for it.
    """
    home = process.home if process else None
    if process is None or home is None or home.user is not None or home.container_id:
        return ""
    if not home.unit or not home.unit.endswith(".service"):
        return ""
    own = _HOSTS.get(home.unit.removesuffix(".service"))
    return home.unit if own is None or process.comm in own else ""


def service_of(process: Process | None, default: str = "the application") -> str:
    """What is to be restarted: ``nginx.service``, else ``nginx[1432]``."""
    return unit_of(process) or name_of(process, default)


def container_of(process: Process | None) -> tuple[str, str]:
    """The command that knows its container, and the container's id; both empty if there is none."""
    home = process.home if process else None
    tool = _TOOLS.get(home.runtime or "", "") if home and not home.monitor else ""
    return (tool, home.container_id) if home and home.container_id and tool else ("", "")


def boxed(case: Case, process: Process | None) -> str:
    """The container whose own namespace this is: ``docker container 3f2a9c01d4e5``, or empty."""
    home = process.home if process else None
    if home is None or home.monitor or case.facts.netns_name == HOST:
        return ""
    return home.container if home.runtime in _OWN_NAMESPACE else ""


def live(case: Case) -> Process | None:
    """The process that acts for this end, if it is still there to be looked at."""
    decided, facts = case.reset.decided, case.facts
    ending = decided.task.pid if decided and decided.task.exiting else None
    people = (facts.actor, facts.owner, facts.closer, facts.listener)
    return next((p for p in people if p and p.pid != ending), None)


def acceptor(case: Case) -> Process | None:
    """Who is to call accept(): a listening socket has its own owner, the port may have several."""
    facts = case.facts
    if case.reset.state == "LISTEN":
        return facts.owner or facts.listener
    return facts.listener or facts.owner


def slow_accept(case: Case) -> tuple[str, ...]:
    """How to look at the one who has to call accept() faster.

    Of a server with workers all have the socket, and the one that is known may be their master,
    which never accepts.
    """
    look = line("ss", "-ltnp", f"sport = :{case.reset.flow.lport}")
    all_of_them = inside(case, look, "of these, who must call accept() faster?")
    process = acceptor(case)
    if process is None:
        return (all_of_them,)
    top = line("top", "-b", "-n", "1", "-H", "-p", str(process.pid))
    return all_of_them, remark(top, f"if it is {process.name}: is it busy (R) or stuck (D)?")


def strace(process: Process, calls: str, why: str) -> str:
    """How to watch the system calls of a process."""
    look = line("strace", "-f", "-tt", "-e", f"trace={calls}", "-p", str(process.pid))
    return remark(look, f"{why}, if it still runs (slows it down)")
