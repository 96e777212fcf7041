"""The helper process: its life, its children, and what it takes for a question.

Without root it answers too, but knows little.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsttrace.enrich import broker
from rsttrace.enrich.asking import BUFFER, Broker
from rsttrace.enrich.broker import ANSWERS, CHILDREN, QUESTION_BYTES, Server
from rsttrace.enrich.sources import ORDER

PATIENCE = 20.0
GONE = "the network namespace is gone"


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


# -- the program -----------------------------------------------------------------------------------


@pytest.fixture
def helper() -> Iterator[Broker]:
    """The real one; what it may see depends on who runs the tests."""
    made = Broker()
    yield made
    made.close()


def firewall_problem(helper: Broker, inode: int) -> str:
    """However long its start takes on a busy machine."""
    problem: str = wait_for(lambda: helper.ask("firewall", inode))["problem"]
    return problem


def test_counts(helper: Broker) -> None:
    begun = time.monotonic_ns()
    found = wait_for(lambda: helper.ask("counters", None))
    assert "TcpOutRsts" in found["names"]
    for inode, (time_ns, *values) in found["rows"].items():
        assert inode.isdigit()
        assert len(values) == len(found["names"])
        assert all(value >= 0 for value in values)
        assert begun < time_ns < time.monotonic_ns()
    if os.geteuid() == 0:
        assert str(os.stat("/proc/self/ns/net").st_ino) in found["rows"]


def test_namespace_that_does_not_exist(helper: Broker) -> None:
    assert firewall_problem(helper, 1) == GONE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_namespace_that_may_not_be_entered(helper: Broker) -> None:
    assert "cannot be entered" in firewall_problem(helper, os.stat("/proc/self/ns/net").st_ino)


def test_ends_with_the_trace(helper: Broker) -> None:
    pid = helper._pid
    helper.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not helper.alive
    assert helper.ask("firewall", 1) is None


def test_ends_when_the_trace_is_killed() -> None:
    """Nobody says goodbye then: its end of the socket just closes."""
    made = Broker()
    made._socket.close()
    wait_for(lambda: ended(made._pid))


def test_ctrl_c_does_not_reach_it(helper: Broker) -> None:
    firewall_problem(helper, 1)
    assert os.getpgid(helper._pid) == helper._pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(helper._pid, number)
    assert wait_for(lambda: helper.ask("counters", None))


def test_goes_on_without_it(helper: Broker) -> None:
    firewall_problem(helper, 1)
    os.kill(helper._pid, signal.SIGKILL)
    wait_for(lambda: helper.ask("firewall", 1) is None and not helper.alive)
    assert helper.ask("counters", None) is None


@pytest.fixture
def left_open() -> Iterator[int]:
    """Some library's file that every program we start inherits."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    yield descriptor
    os.close(descriptor)


def test_has_no_files_of_the_trace(left_open: int, helper: Broker) -> None:
    assert left_open > 2
    firewall_problem(helper, 1)
    links = [os.readlink(f"/proc/{helper._pid}/fd/{n}") for n in (0, 1, 2)]
    assert links[0].startswith("socket:")
    assert links[1:] == [os.devnull] * 2
    assert sorted(os.listdir(f"/proc/{helper._pid}/fd")) == ["0", "1", "2"]
    assert os.readlink(f"/proc/{helper._pid}/cwd") == "/"


def test_knows_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No module of the user's own, no preloaded library, no PATH."""
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    helper = Broker()
    try:
        firewall_problem(helper, 1)
        lines = Path(f"/proc/{helper._pid}/environ").read_bytes().split(b"\0")
        assert {line.decode().partition("=")[0] for line in lines if line} == {"PATH", "LC_ALL"}
        assert str(tmp_path).encode() not in b"".join(lines)
    finally:
        helper.close()


def test_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    made = Broker()
    assert not made.alive
    assert made.ask("firewall", 1) is None
    made.close()


def test_started_by_somebody_who_ignores_dead_children() -> None:
    """Else there is nobody to wait for, and it fails at its second question."""
    script = (
        "import signal, time; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from rsttrace.enrich.asking import Broker\n"
        "helper, answers = Broker(), 0\n"
        f"until = time.monotonic() + {PATIENCE}\n"
        "while answers < 3 and helper.alive and time.monotonic() < until:\n"
        "    answers += helper.ask('firewall', answers + 1) is not None\n"
        "helper.close()\n"
        "print(answers)\n"
    )
    root = str(Path(broker.__file__).parents[2])
    argv = [sys.executable, "-B", "-c", script]
    done = subprocess.run(argv, env={"PYTHONPATH": root}, capture_output=True, check=True)
    assert done.stdout == b"3\n"


def test_preloads_what_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this_one", raising=False)
    broker.preload(("no.such.module", "rsttrace.enrich.answers.nothing", "colorsys"))
    assert "colorsys" in sys.modules


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


def test_all_that_is_preloaded_exists() -> None:
    for name in (*broker.NEEDED_SOON, *broker.NEEDED_LATER):
        importlib.import_module(name)
    assert sorted(broker.SOURCES) == sorted(ORDER)


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_kind_has_its_module(kind: str) -> None:
    module = importlib.import_module(f"rsttrace.enrich.answers.{kind}")
    assert callable(module.answer)


# -- nothing but a known question ------------------------------------------------------------------


def question(kind: Any, number: Any = 7, about: Any = None) -> bytes:
    return json.dumps({"id": number, "kind": kind, "about": about}).encode()


GOOD = question("firewall", 7, 1)
STRANGE_KINDS = (
    "../x", "os", "", ".", "..", "firewall.os", "counters ", "Counters", "namespaces", "__init__",
    "sources.settings", "/etc/passwd", "counters\0", "a" * 500, None, 0, True, 1.5,
    [], ["counters"], {}, {"counters": 1}, list(ANSWERS),
)  # fmt: skip
STRANGE = (
    b"x", b"\0", b"/bin/sh\0", b"nft list ruleset", b"\xff" * 8, b"\x80\x04K\x01.", b"[", b"{}",
    b"7", b"null", b'"counters"', b"[1, 2, 3]", b'{"id": 1}', b'{"id": 1, "kind": "counters"}',
    b'{"kind": "counters", "about": null}', b"NaN", b"9" * QUESTION_BYTES, b"[" * QUESTION_BYTES,
    b'{"a":' * (QUESTION_BYTES // 5), GOOD[:-1], GOOD + b"}", GOOD + b" " * QUESTION_BYTES,
    b" " * 60_000 + GOOD,
)  # fmt: skip


@pytest.fixture(scope="module")
def lasting() -> Iterator[Broker]:
    """One for all: it must bear all of them."""
    made = Broker()
    made._socket.settimeout(PATIENCE)
    yield made
    made.close()


@pytest.mark.parametrize(
    "words",
    [*STRANGE, *(question(kind) for kind in STRANGE_KINDS)],
    ids=lambda words: repr(words[:40]),
)
def test_is_passed_over(words: bytes, lasting: Broker) -> None:
    """No answer, and the helper lives on: what comes next is the answer to the next."""
    lasting._socket.send(words)
    lasting._socket.send(question("firewall", 8, 1))
    answer = json.loads(lasting._socket.recv(BUFFER))
    assert (answer["id"], answer["value"]["problem"]) == (8, GONE)


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


def test_number_of_a_question_is_whatever_it_was(helper: Broker) -> None:
    helper._socket.settimeout(PATIENCE)
    for number in (0, -1, 2**70, "x", None, [1]):
        helper._socket.send(question("firewall", number, 1))
        assert json.loads(helper._socket.recv(BUFFER))["id"] == number


# -- questions and children ------------------------------------------------------------------------


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
        self.by("firewall", self._hang)
        self.by("counters", lambda about: about)

    def by(self, kind: str, answer: Callable[[Any], Any]) -> None:
        self._monkeypatch.setattr(f"rsttrace.enrich.answers.{kind}.answer", answer)

    def lasting(self, seconds: float) -> None:
        """How long a child may take."""
        self._monkeypatch.setattr(broker, "ANSWER_SECONDS", seconds)

    def _hang(self, about: Any) -> None:
        (self._place / str(about)).write_text(f"{os.getpid()}\n")
        time.sleep(PATIENCE * 10)

    def pids(self) -> list[int]:
        """Of those that hang."""
        texts = [file.read_text() for file in self._place.iterdir()]
        return [int(text) for text in texts if text.endswith("\n")]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answering:
    return Answering(monkeypatch, tmp_path)


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
        answering._hang(name)

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


def test_room_for_the_next_once_they_are_done(answering: Answering) -> None:
    """Nothing happens in between that would make the server look after its children."""
    answering.lasting(PATIENCE * 10)
    served = Served()
    answering.by("firewall", lambda about: about)
    for number in range(CHILDREN):
        served.ask("firewall", None, number)
    assert {served.answer()[0] for _ in range(CHILDREN)} == set(range(CHILDREN))
    wait_for(lambda: all(zombie(pid) for pid in children_of(served.pid)))
    served.ask("firewall", "next", 99)
    assert served.answer() == (99, "next")
    served.end()


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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


def pid_and(act: Callable[[Any], Any] = lambda about: None) -> Callable[[Any], int]:
    """Who answers, if he does."""

    def answer(about: Any) -> int:
        act(about)
        return os.getpid()

    return answer


@pytest.fixture
def staying(answering: Answering) -> Iterator[Served]:
    """All that counters do is to tell who they are, and what they are told to."""

    def act(about: Any) -> None:
        if about == "hang":
            answering._hang(about)
        if about == "die":
            os._exit(1)
        if about == "fail":
            raise RuntimeError

    answering.by("counters", pid_and(act))
    answering.by("place", pid_and())
    answering.by("firewall", pid_and())
    served = Served()
    served.settle()
    yield served
    served.end()


def test_one_child_answers_what_is_quick(staying: Served) -> None:
    who = staying.who("counters")
    assert who != staying.pid
    assert [staying.who(kind) for kind in ("counters", "place") * 3] == [who] * 6


def test_rules_are_read_by_a_child_of_their_own(staying: Served) -> None:
    """It limits its memory, and a huge ruleset would stay in it."""
    who = staying.who("counters")
    others = {staying.who("firewall") for _ in range(3)}
    assert len(others) == 3
    assert who not in others
    assert staying.who("counters") == who


def test_next_question_does_not_wait_for_a_child_that_hangs(
    staying: Served, answering: Answering
) -> None:
    staying.ask("counters", "hang")
    (slow,) = wait_for(answering.pids)
    assert staying.who("counters") != slow


def test_child_that_hangs_is_replaced(staying: Served, answering: Answering) -> None:
    answering.lasting(0.2)
    quick = Served()
    quick.settle()
    quick.ask("counters", "hang")
    (slow,) = wait_for(answering.pids)
    wait_for(lambda: zombie(slow))
    who = quick.who("counters")
    assert quick.who("counters") == who != slow
    quick.end()


def test_child_that_dies_is_replaced(staying: Served) -> None:
    first = staying.who("counters")
    staying.ask("counters", "die")
    wait_for(lambda: zombie(first))
    second = staying.who("counters")
    assert staying.who("counters") == second != first


def test_child_that_fails_stays(staying: Served) -> None:
    who = staying.who("counters")
    staying.ask("counters", "fail", 9)
    assert staying.answer() == (9, None)
    assert staying.who("counters") == who


def test_child_does_not_stay_for_ever(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever leaks in it."""
    monkeypatch.setattr(broker, "QUESTIONS", 3)
    answering.by("counters", pid_and())
    served = Served()
    served.settle()
    pids = [served.who("counters") for _ in range(9)]
    assert [len(set(pids[i : i + 3])) for i in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3
    wait_for(lambda: all(zombie(pid) for pid in pids))
    served.end()


def test_child_that_stays_ends_with_it(staying: Served) -> None:
    who = staying.who("counters")
    os.kill(staying.pid, signal.SIGKILL)
    wait_for(lambda: zombie(who))
