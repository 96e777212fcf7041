"""The helper process: its life, its children, and what it takes for a question.

Without root it answers too, but knows little.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsttrace.enrich import broker
from rsttrace.enrich.asking import BUFFER, Broker
from rsttrace.enrich.broker import ANSWERS, QUESTION_BYTES
from rsttrace.enrich.sources import ORDER

from .served import PATIENCE, STRANGE_KINDS, ended, question, wait_for

GONE = "the network namespace is gone"


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


def test_all_that_is_preloaded_exists() -> None:
    for name in (*broker.NEEDED_SOON, *broker.NEEDED_LATER):
        importlib.import_module(name)
    assert sorted(broker.SOURCES) == sorted(ORDER)


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_kind_has_its_module(kind: str) -> None:
    module = importlib.import_module(f"rsttrace.enrich.answers.{kind}")
    assert callable(module.answer)


# -- nothing but a known question ------------------------------------------------------------------


GOOD = question("firewall", 7, 1)
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


def test_number_of_a_question_is_whatever_it_was(helper: Broker) -> None:
    helper._socket.settimeout(PATIENCE)
    for number in (0, -1, 2**70, "x", None, [1]):
        helper._socket.send(question("firewall", number, 1))
        assert json.loads(helper._socket.recv(BUFFER))["id"] == number
