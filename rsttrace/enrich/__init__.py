"""What the packets and sockets do not say: names of processes and namespaces.

The only stage that asks the live system. What it could not learn is None, never a guess;
every answer can be recorded, so that a replay gives the same verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from rsttrace.enrich.cgroup import Home, home_of
from rsttrace.enrich.firewall import Firewall
from rsttrace.enrich.place import Place, Question
from rsttrace.listeners import Listeners
from rsttrace.model import BY_TOOL, REJECTED, SUPPRESSED, Reset
from rsttrace.patterns import Neighbours


@dataclass(frozen=True)
class Process:
    """A process as /proc showed it. All but ``pid`` and ``comm`` may be empty.

    ``threads``: the names of its threads, where they have names of their own.
    """

    pid: int
    comm: str
    exe: str = ""
    cmdline: str = ""
    cgroup: str = ""
    threads: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``nginx[1432]``."""
        return f"{self.comm}[{self.pid}]"

    @property
    def home(self) -> Home | None:
        """Its service and container, None if the control group shows neither."""
        return home_of(self.cgroup)


class Context(Protocol):
    """Answers about the host: live (enrich.live) or out of a recording."""

    def process(self, pid: int) -> Process | None:
        """The process with this id."""

    def socket_owner(self, inode: int, likely: Iterable[int] = ()) -> int | None:
        """A process that has this socket open now; ``likely``: where to look first."""

    def netns_name(self, inode: int) -> str | None:
        """Name of a network namespace; ``host`` for the initial one."""

    def firewall(self, netns: int, time_ns: int) -> Firewall | None:
        """The rules of a namespace that can make or drop a RST, soon after this time."""

    def place(self, question: Question, time_ns: int) -> Place | None:
        """What the host says of the place of a reset, soon after this time."""

    def user_frames(
        self, pid: int, addresses: tuple[int, ...], words: tuple[int, ...]
    ) -> tuple[str, ...]:
        """Names for a process's own stack: ``close (libc.so.6)``; see userstack.py."""


@dataclass(frozen=True)
class Facts:
    """What enrichment found for one reset.

    ``owner`` owns the socket on this end, ``actor`` is the task that acted in process context
    (the closer, the killer), ``closer`` had closed the connection earlier, ``listener`` listens on
    the local port: it may have handed the connection to another process. ``watched_ns``:
    for how long this host was watched before the reset, None: since before it existed.
    ``firewall``: looked up only where a firewall made or dropped the RST. ``neighbours``: what
    the same remote address did in the minute before. ``place``: what the advice asked for (see
    advice/), None if it asked nothing. ``user_frames``: the actor's own stack, innermost first.
    """

    owner: Process | None = None
    actor: Process | None = None
    closer: Process | None = None
    netns_name: str | None = None
    listeners: Listeners | None = None
    watched_ns: int | None = None
    listener: Process | None = None
    firewall: Firewall | None = None
    neighbours: Neighbours | None = None
    place: Place | None = None
    user_frames: tuple[str, ...] = ()


def enrich(
    reset: Reset, context: Context, listeners: Listeners | None = None, since_ns: int | None = None
) -> Facts:
    """Look up what bears on this reset. ``since_ns``: when the trace began, None: always."""
    return Facts(
        owner=_owner(reset, context, listeners),
        listener=_listener(reset, context, listeners),
        actor=_actor(reset, context),
        closer=_closer(reset, context),
        netns_name=context.netns_name(reset.flow.netns) if reset.flow.netns else None,
        listeners=listeners,
        watched_ns=None if since_ns is None else reset.time_ns - since_ns,
        firewall=_firewall(reset, context),
        user_frames=_user_frames(reset, context),
    )


def _user_frames(reset: Reset, context: Context) -> tuple[str, ...]:
    """Only where the task acted by a call of its own, and lives on."""
    actor, record = _actor(reset, context), reset.decided
    if not actor or not record or not record.ustack or record.in_stack("do_exit"):
        return ()
    return context.user_frames(actor.pid, record.ustack, record.user_words)


def _firewall(reset: Reset, context: Context) -> Firewall | None:
    """Only where a firewall made the RST, or dropped it."""
    judged = reset.judged if reset.direction in (SUPPRESSED, REJECTED) else None
    dropped = judged and (judged.drop_reason == "NETFILTER_DROP" or judged.in_stack("nf_hook_slow"))
    if not reset.flow.netns or not (reset.maker == "firewall" or dropped):
        return None
    return context.firewall(reset.flow.netns, reset.time_ns)


def _known(context: Context, pid: int, comm: str) -> Process | None:
    """The process, or at least the name the kernel gave when it acted."""
    if not pid:
        return None
    found = context.process(pid)
    if found and (not comm or comm == found.comm or comm in found.threads):
        return found
    return Process(pid, comm) if comm else found


def _actor(reset: Reset, context: Context) -> Process | None:
    """The task on the CPU, where it acted on this socket itself."""
    if reset.wire and reset.maker in BY_TOOL:  # the packet leaves within the tool's own call
        return _known(context, reset.wire.task.pid, reset.wire.task.comm)
    record = reset.decided
    if not record or not reset.active or record.task.kernel_thread or not record.task.pid:
        return None
    # the stack ends at a softirq's entry, so these are seen in process context only
    if not record.in_stack("do_exit", "do_syscall_64", "do_el0_svc", "invoke_syscall"):
        return None
    return _known(context, record.task.pid, record.task.comm)


def _owner(reset: Reset, context: Context, listeners: Listeners | None) -> Process | None:
    actor = _actor(reset, context)
    if actor and not reset.in_stack("tcp_abort"):
        return actor
    sock, history = reset.sock, reset.history
    likely = _likely(reset, listeners)
    if sock and sock.inode and (pid := context.socket_owner(sock.inode, likely)):
        return _known(context, pid, "")
    if history and not history.closed and history.pid and not _worker(history.comm):
        return _known(context, history.pid, history.comm)
    return _listener(reset, context, listeners) if reset.state == "LISTEN" else None


def _likely(reset: Reset, listeners: Listeners | None) -> tuple[int, ...]:
    """Who opened the connection, and who listens where it came in."""
    flow, history = reset.flow, reset.history
    found = listeners.accepting(flow.netns, flow.local, flow.lport) if listeners else None
    return (history.pid if history else 0, found.pid if found else 0)


def _worker(comm: str) -> bool:
    """A kernel thread that works for all: MPTCP opens its further paths in one."""
    return comm.startswith("kworker/")


def _listener(reset: Reset, context: Context, listeners: Listeners | None) -> Process | None:
    flow = reset.flow
    found = listeners.accepting(flow.netns, flow.local, flow.lport) if listeners else None
    return _known(context, found.pid, found.comm) if found else None


def _closer(reset: Reset, context: Context) -> Process | None:
    history = reset.history
    if history and history.closed_by_process:
        return _known(context, history.close_pid, history.close_comm)
    return None
