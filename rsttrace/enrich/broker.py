"""The helper process of a trace: it keeps the rights to look into network namespaces.

A trace gives up root once it is attached (privileges.py), but the rules of a firewall, sockets and
routes can only be read inside their namespace. So asking.Broker starts this file before, as a
program of its own, with a socket as standard input. It answers the questions of ANSWERS and does
nothing else. A question is one message of JSON, ``{"id": n, "kind": "place", "about": ...}``, the
answer is ``{"id": n, "value": ...}``. A question is answered by a child, which has ANSWER_SECONDS,
or as many as somebody waits (``"wait": seconds``), and is then killed with everything it started: a
child of its own, or, for the kinds in QUICK, one that goes on to the next question. The process
ends when the other side closes. Children end with it, and have no more than MEMORY.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

# kind of question -> the module in answers/ whose answer() is called with what it is about
ANSWERS = ("addresses", "counters", "firewall", "place", "symbols")
QUICK = ("addresses", "counters", "place", "symbols")  # these leave nothing behind in the process
QUESTIONS = 1000  # of one child: it must not grow for ever
ANSWER_SECONDS, MOST_SECONDS = 1.0, 10.0
CHILDREN = 4
MEMORY = 512 << 20  # bytes of address space of a child: huge rules or files must not fill the host
PR_SET_PDEATHSIG = 1
QUESTION_BYTES = 4096
HIGHEST_FILE = 4096  # the compiler's library leaves files open for us that are not ours
IDLE_SECONDS = 0.02
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
    "LC_ALL": "C",
}
# to enter a namespace, to read its rules (the legacy tables over a raw socket), and to find it in
# /proc/PID/ns of any process
CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 12, 13, 19, 21
KEPT = (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN)
# imported once, not in each child: at the start, and when there is time (it takes 0.1 s)
SOURCES = ("settings", "sockets", "path", "peer", "conntrack")
NEEDED_SOON = ("subprocess", "resource", "rsttrace.enrich.nftables", "rsttrace.enrich.xtables")
NEEDED_LATER = (
    "pyroute2",
    "rsttrace.enrich.answers.place",
    "rsttrace.enrich.answers.symbols",
    *(f"rsttrace.enrich.sources.{name}" for name in SOURCES),
)


def main() -> None:
    """Answer what comes in on standard input until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the trace, not before
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, there would be nobody to wait for
    os.chdir("/")
    os.closerange(3, HIGHEST_FILE)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from rsttrace.privileges import limit_capabilities

    limit_capabilities(KEPT)
    preload(NEEDED_SOON)
    Server(0).serve()


def preload(names: tuple[str, ...]) -> None:
    """Import them; one that does not work is told by the child that needs it."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


class Server:
    """Reads questions from a socket and forks for each."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._children: dict[int, float] = {}  # pid, and when its time is over
        self._worker: Worker | None = None
        self._asked = self._ready = False

    def serve(self) -> None:
        """Until the other side closes; kill what still runs then."""
        try:
            while self._turn():
                pass
        finally:
            for pid in self._children:
                _kill_group(pid)
            if self._worker:
                self._worker.kill()

    def _turn(self) -> bool:
        """Wait for something to do and do it; False if the other side is gone."""
        sources: list[int | socket.socket] = [self._channel]
        if self._worker:
            sources.append(self._worker.socket)
        ready = select.select(sources, [], [], self._patience())[0]
        self._reap()
        if self._worker and not self._worker.check(self._worker.socket in ready):
            self._worker = None
        if self._channel in ready:
            try:
                raw = os.read(self._channel, QUESTION_BYTES + 1)
            except ConnectionResetError:  # it went without reading our last answer
                raw = b""
            if 0 < len(raw) <= QUESTION_BYTES:
                self._take(raw)
            self._asked = True
            return bool(raw)
        if not ready and self._asked and not self._ready:
            self._ready = True
            preload(NEEDED_LATER)
            if self._worker:  # it was made before
                self._worker.leave()
        return True

    def _patience(self) -> float | None:
        """How long nothing has to be done, in s; None: until a question comes."""
        if self._asked and not self._ready:
            return (
                IDLE_SECONDS  # the first question is asked when the trace is on: now there is time
            )
        ends = [end - time.monotonic() for end in self._children.values()]
        if self._worker and self._worker.end:
            ends.append(self._worker.end - time.monotonic())
        return max(0.0, min(ends)) if ends else None

    def _reap(self) -> None:
        now = time.monotonic()
        for pid, end in list(self._children.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._children[pid]
            elif now >= end:
                _kill_group(pid)
                os.waitpid(pid, 0)
                del self._children[pid]

    def _take(self, raw: bytes) -> None:
        try:
            question = json.loads(raw)
            number, kind, about = question["id"], question["kind"], question["about"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if kind not in ANSWERS:
            return
        seconds = _seconds(question.get("wait"))
        try:
            if kind in QUICK and (not self._worker or not self._worker.end):
                self._worker = self._worker or Worker(self._channel)
                self._worker.ask(raw, seconds)
                return
            if len(self._children) >= CHILDREN:
                return
            end = time.monotonic() + seconds
            pid = _fork(lambda: _reply(self._channel, number, kind, about, end))
        except OSError:  # too many processes
            return
        self._children[pid] = end


def _seconds(wait: object) -> float:
    """What an answer may take: longer only for somebody who waits for it."""
    asked = wait if isinstance(wait, (int, float)) else 0
    return max(ANSWER_SECONDS, min(asked, MOST_SECONDS))


class Worker:
    """A child that answers one question after another. ``end``: when its time for the one it has is
    over, 0 if it has none.
    """

    def __init__(self, channel: int) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end = 0.0
        self._asked = 0
        with theirs:
            self._pid = _fork(lambda: _work(channel, self.socket, theirs))

    def ask(self, raw: bytes, seconds: float = ANSWER_SECONDS) -> None:
        """Give it a question; it has none now."""
        self.end = time.monotonic() + seconds
        self._asked += 1
        with contextlib.suppress(OSError):  # it died: check() will see that
            self.socket.send(raw)

    def check(self, readable: bool) -> bool:
        """Is it to be kept? Note that it is done, or end it if its time is over."""
        if readable:
            self.end = 0.0
            with contextlib.suppress(OSError):
                if self.socket.recv(1) and self._asked < QUESTIONS:
                    return True
        elif not self.end or time.monotonic() < self.end:
            return True
        self.kill()
        return False

    def leave(self) -> None:
        """After the question it has, it is not asked again."""
        self._asked = QUESTIONS
        if not self.end:
            self.end = time.monotonic()

    def kill(self) -> None:
        """With everything it started."""
        _kill_group(self._pid)
        self.socket.close()
        with contextlib.suppress(OSError):
            os.waitpid(self._pid, 0)


def _work(channel: int, parents: socket.socket, questions: socket.socket) -> None:
    """A Worker's whole life."""
    from rsttrace.enrich.answers.namespaces import coming_back

    parents.close()
    while raw := questions.recv(QUESTION_BYTES):
        question = json.loads(raw)
        with coming_back():
            _reply(channel, question["id"], question["kind"], question["about"])
        questions.send(b".")


def _fork(life: Callable[[], None]) -> int:
    """A child with a group of its own that lives so and ends. OSError if there can be none."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _live(parent, life)
    with contextlib.suppress(OSError):  # the child does the same; who is first counts
        os.setpgid(pid, pid)
    return pid


def _live(parent: int, life: Callable[[], None]) -> NoReturn:
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _limit_memory()
        if os.getppid() == parent:  # it may have ended before we said that
            life()
    finally:
        os._exit(0)


def _limit_memory() -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):  # the limit is lower already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _kill_group(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def _reply(channel: int, number: Any, kind: str, about: Any, end: float | None = None) -> None:
    """The answer; whatever goes wrong: null, so that nobody waits for more."""
    from rsttrace.enrich.answers import limit

    limit.live_until(end)
    try:
        value = importlib.import_module(f"rsttrace.enrich.answers.{kind}").answer(about)
        _say(channel, number, value)
    except MemoryError:  # nobody knows what that left behind: this child ends
        _say(channel, number, None)
        raise
    except Exception:
        _say(channel, number, None)


def _say(channel: int, number: Any, value: Any) -> None:
    os.write(channel, json.dumps({"id": number, "value": value}).encode())


if __name__ == "__main__":
    main()
