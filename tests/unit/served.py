"""The helper process in a fork of the test, with answers that the test made up."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsttrace.enrich import broker
from rsttrace.enrich.asking import BUFFER
from rsttrace.enrich.broker import ANSWERS, Server

PATIENCE = 20.0
MEMORY = 64 << 30  # of a fork of the test, which may be large itself
# no kind of question
STRANGE_KINDS = (
    "../x", "os", "", ".", "..", "firewall.os", "counters ", "Counters", "namespaces", "__init__",
    "sources.settings", "/etc/passwd", "counters\0", "a" * 500, None, 0, True, 1.5,
    [], ["counters"], {}, {"counters": 1}, list(ANSWERS),
)  # fmt: skip


def wait_for(condition: Callable[[], Any]) -> Any:
    """What it gives once that is true."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.005)
    return found


def ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def zombie(pid: int) -> bool:
    """Dead, but not reaped by whoever took it over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def question(kind: Any, number: Any = 7, about: Any = None) -> bytes:
    return json.dumps({"id": number, "kind": kind, "about": about}).encode()


class Served:
    """A ``Server`` in a fork of the test, whose answers the test has made up."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.socket.close()
                Server(theirs.fileno()).serve()
            finally:
                os._exit(0)
        theirs.close()

    def ask(self, kind: str, about: Any = None, number: int = 7) -> None:
        self.socket.send(question(kind, number, about))

    def answer(self) -> tuple[int, Any]:
        answer = json.loads(self.socket.recv(BUFFER))
        return answer["id"], answer["value"]

    def who(self, kind: str) -> int:
        """The process that answers, if that is what it answers."""
        self.ask(kind, None, 5)
        number, pid = self.answer()
        assert number == 5
        assert isinstance(pid, int)
        return pid

    def stays(self) -> int:
        """The child that stays: it answers twice in a row.

        A question that comes before it told that it is done gets a child of its own.
        """
        pids = [0]
        wait_for(lambda: pids.append(self.who("counters")) or pids[-1] == pids[-2])
        return pids[-1]

    def settle(self) -> None:
        """Past the moment after the first question, when it preloads and changes its child."""
        first = self.who("counters")
        wait_for(lambda: zombie(first))

    def end(self) -> None:
        self.socket.close()
        wait_for(lambda: ended(self.pid))


class Answering:
    """Sets what a kind of question is answered by; ``firewall`` hangs, ``counters`` is quick."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
        self._monkeypatch = monkeypatch
        self._place = place
        monkeypatch.setattr(broker, "preload", lambda names: None)
        monkeypatch.setattr(broker, "MEMORY", MEMORY)
        self.by("firewall", self.hang)
        self.by("counters", lambda about: about)

    def by(self, kind: str, answer: Callable[[Any], Any]) -> None:
        self._monkeypatch.setattr(f"rsttrace.enrich.answers.{kind}.answer", answer)

    def lasting(self, seconds: float) -> None:
        """How long a child may take."""
        self._monkeypatch.setattr(broker, "ANSWER_SECONDS", seconds)

    def hang(self, about: Any) -> None:
        (self._place / str(about)).write_text(f"{os.getpid()}\n")
        time.sleep(PATIENCE * 10)

    def pids(self) -> list[int]:
        """Of those that hang."""
        texts = [file.read_text() for file in self._place.iterdir()]
        return [int(text) for text in texts if text.endswith("\n")]


def pid_and(act: Callable[[Any], Any] = lambda about: None) -> Callable[[Any], int]:
    """Who answers, if he does."""

    def answer(about: Any) -> int:
        act(about)
        return os.getpid()

    return answer


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
