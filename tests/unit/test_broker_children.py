"""The children of the helper process: one for each question, and one that stays."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsttrace.enrich import broker
from rsttrace.enrich.asking import BUFFER
from rsttrace.enrich.broker import ANSWERS, CHILDREN, Server

from .served import (
    MEMORY,
    PATIENCE,
    STRANGE_KINDS,
    Answering,
    Served,
    children_of,
    pid_and,
    question,
    wait_for,
    zombie,
)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answering:
    return Answering(monkeypatch, tmp_path)


def test_nothing_else_is_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The only import of a name that came over the socket is that of the four."""
    log = tmp_path / "imported"

    def note(name: str) -> Any:
        with log.open("a") as file:
            file.write(f"{name}\n")
        return SimpleNamespace(answer=lambda about: [name, about])

    monkeypatch.setattr(broker, "preload", lambda names: None)
    monkeypatch.setattr(importlib, "import_module", note)
    served = Served()
    for kind in STRANGE_KINDS:
        served.socket.send(question(kind))
    for number, kind in enumerate(ANSWERS):
        served.ask(kind, number, number)
        assert served.answer() == (number, [f"rsttrace.enrich.answers.{kind}", number])
    served.end()
    assert log.read_text().split() == [f"rsttrace.enrich.answers.{kind}" for kind in ANSWERS]


def test_preloads_once_there_is_time(
    answering: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not while the trace starts, which ends with its first question."""
    note = tmp_path / "preloaded"

    def preload(names: tuple[str, ...]) -> None:
        with note.open("a") as file:
            file.write("once\n")

    monkeypatch.setattr(broker, "preload", preload)
    assert Server(0)._patience() is None
    served = Served()
    for number in range(3):
        served.ask("counters", None, number)
        assert served.answer()[0] == number
        wait_for(note.exists)
    served.end()
    assert note.read_text() == "once\n"


# -- questions and children ------------------------------------------------------------------------


def test_slow_question_does_not_hold_up_the_next(answering: Answering) -> None:
    served = Served()
    served.ask("firewall", 1)
    served.ask("counters", {"5": 1}, 8)
    assert served.answer() == (8, {"5": 1})
    served.end()


def test_child_is_killed_after_its_time(answering: Answering, tmp_path: Path) -> None:
    """With what it started, a command that hangs, and whatever it does against it."""

    def hang(about: Any) -> None:
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        name = "child" if os.fork() else "grandchild"
        answering.hang(name)

    answering.by("firewall", hang)
    answering.lasting(0.2)
    served = Served()
    served.ask("firewall")
    wait_for(lambda: len(answering.pids()) == 2)
    wait_for(lambda: all(zombie(pid) for pid in answering.pids()))
    served.ask("counters", 1, 8)
    assert served.answer() == (8, 1)
    served.end()


def test_children_end_with_it(answering: Answering) -> None:
    answering.lasting(PATIENCE * 10)
    served = Served()
    for number in range(CHILDREN + 3):
        served.ask("firewall", number)
    wait_for(lambda: len(answering.pids()) == CHILDREN)
    served.end()
    wait_for(lambda: all(zombie(pid) for pid in answering.pids()))
    assert len(answering.pids()) == CHILDREN  # the questions too many were passed over


def test_children_end_with_a_trace_that_left_an_answer_unread(answering: Answering) -> None:
    """The socket is reset then, not closed."""
    answering.lasting(PATIENCE * 10)
    served = Served()
    served.ask("firewall", 1)
    wait_for(answering.pids)
    served.ask("counters", 1)
    served.socket.recv(1, socket.MSG_PEEK)
    served.end()
    wait_for(lambda: all(zombie(pid) for pid in answering.pids()))


def test_room_for_the_next_once_they_are_done(answering: Answering, tmp_path: Path) -> None:
    """Nothing happens in between that would make the server look after its children."""
    answering.lasting(PATIENCE * 10)
    answering.by("counters", pid_and())
    answering.by("firewall", lambda about: wait_for((tmp_path / "all are there").exists) and about)
    served = Served()
    served.settle()
    for number in range(CHILDREN):
        served.ask("firewall", None, number)
    wait_for(lambda: len(children_of(served.pid)) == CHILDREN)
    (tmp_path / "all are there").touch()
    assert {served.answer()[0] for _ in range(CHILDREN)} == set(range(CHILDREN))
    wait_for(lambda: all(zombie(pid) for pid in children_of(served.pid)))
    assert len(children_of(served.pid)) == CHILDREN
    served.ask("firewall", "next", 99)
    assert served.answer() == (99, "next")
    served.end()


def fail(about: Any) -> Any:
    raise RuntimeError


def nest(about: Any) -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "answer",
    [fail, nest, lambda about: object(), lambda about: "x" * 2 * BUFFER],
    ids=["fails", "too deep", "no JSON", "too long"],
)
def test_child_that_fails(answer: Callable[[Any], Any], answering: Answering) -> None:
    """It says that there is no answer, so that nobody waits; the helper lives on."""
    answering.by("firewall", answer)
    served = Served()
    served.ask("firewall", 1, 7)
    assert served.answer() == (7, None)
    served.ask("counters", 1, 8)
    assert served.answer() == (8, 1)
    served.end()


@pytest.mark.parametrize("kind", ["counters", "firewall"])
def test_limit_of_children(kind: str, answering: Answering) -> None:
    answering.by(kind, lambda about: resource.getrlimit(resource.RLIMIT_AS))
    served = Served()
    served.ask(kind)
    assert served.answer() == (7, [MEMORY, MEMORY])
    served.end()
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != MEMORY


def test_limit_that_is_lower_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may raise it, and nobody has to."""

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    broker._limit_memory()


@pytest.mark.parametrize("kind", ["counters", "firewall"])
def test_children_that_hang_end_with_a_helper_that_is_killed(
    kind: str, answering: Answering
) -> None:
    """SIGKILL: it can tell nobody."""
    answering.by(kind, answering.hang)
    answering.lasting(PATIENCE * 10)
    served = Served()
    served.ask(kind, "child")
    (child,) = wait_for(answering.pids)
    os.kill(served.pid, signal.SIGKILL)
    wait_for(lambda: zombie(child))
    served.end()


class OneForkTooMany:
    """The module ``os`` of a container at its limit of processes, for a moment."""

    def __init__(self) -> None:
        self._forks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fork(self) -> int:
        self._forks += 1
        if self._forks == 1:
            raise BlockingIOError
        return os.fork()


def test_no_more_processes(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer, and the helper lives on."""
    monkeypatch.setattr(broker, "os", OneForkTooMany())
    served = Served()
    served.ask("counters", 1, 7)
    served.ask("counters", 2, 8)
    assert served.answer() == (8, 2)
    served.end()


# -- the child that stays --------------------------------------------------------------------------


@pytest.fixture
def staying(answering: Answering) -> Iterator[Served]:
    """All that counters do is to tell who they are, and what they are told to."""

    def act(about: Any) -> None:
        if about == "hang":
            answering.hang(about)
        if about == "die":
            os._exit(1)
        if about == "fail":
            raise RuntimeError
        if about == "much":
            bytearray(MEMORY)

    answering.by("counters", pid_and(act))
    answering.by("place", pid_and())
    answering.by("firewall", pid_and())
    served = Served()
    served.settle()
    yield served
    served.end()


def test_one_child_answers_what_is_quick(staying: Served) -> None:
    who = staying.stays()
    assert who != staying.pid
    wait_for(lambda: staying.who("place") == who)
    assert staying.stays() == who


def test_rules_are_read_by_a_child_of_their_own(staying: Served) -> None:
    """It limits its memory, and a huge ruleset would stay in it."""
    who = staying.stays()
    others = {staying.who("firewall") for _ in range(3)}
    assert len(others) == 3
    assert who not in others
    assert staying.stays() == who


def test_next_question_does_not_wait_for_a_child_that_hangs(
    staying: Served, answering: Answering
) -> None:
    staying.ask("counters", "hang")
    (slow,) = wait_for(answering.pids)
    assert staying.who("counters") != slow


def test_child_that_hangs_is_replaced(answering: Answering) -> None:
    def hang(about: Any) -> None:
        if about == "hang":
            answering.hang(os.getpid())

    answering.by("counters", pid_and(hang))
    answering.lasting(0.2)
    served = Served()
    served.settle()
    first = served.stays()
    wait_for(lambda: served.ask("counters", "hang") or first in answering.pids())
    wait_for(lambda: zombie(first))
    assert served.stays() != first
    served.end()


def test_child_that_dies_is_replaced(staying: Served) -> None:
    first = staying.stays()
    wait_for(lambda: staying.ask("counters", "die") or zombie(first))
    assert staying.stays() != first


def test_child_that_wants_too_much_memory_is_replaced(staying: Served) -> None:
    """Nobody knows what is left half done in it."""
    first = staying.stays()
    for _ in range(20):  # another child may take the first of them
        staying.ask("counters", "much")
        assert staying.answer() == (7, None)
    wait_for(lambda: zombie(first))
    assert staying.stays() != first


def test_child_that_fails_stays(staying: Served) -> None:
    who = staying.stays()
    for number in range(100, 120):
        staying.ask("counters", "fail", number)
        assert staying.answer() == (number, None)
    assert staying.stays() == who


def test_child_does_not_stay_for_ever(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever leaks in it."""
    monkeypatch.setattr(broker, "QUESTIONS", 5)
    answering.by("counters", pid_and())
    served = Served()
    served.settle()
    first = served.stays()
    wait_for(lambda: served.who("counters") and zombie(first))
    assert served.stays() != first
    served.end()


def test_child_that_stays_ends_with_it(staying: Served) -> None:
    who = staying.stays()
    os.kill(staying.pid, signal.SIGKILL)
    wait_for(lambda: zombie(who))
