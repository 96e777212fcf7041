"""Which function of a program called close(): the user stack of a real reset, by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rsttrace.enrich.answers import symbols
from rsttrace.enrich.userstack import UserStacks
from rsttrace.lab.net import Lab
from rsttrace.model import Reset
from rsttrace.records import Record
from rsttrace.session import Session

from .conftest import environment, knock, live_session, wait_for

pytestmark = pytest.mark.kernel

PROGRAM = """
import ctypes, os, socket, struct, sys, threading
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
one, _ = server.accept()
one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
act = {
    "method": one.close,
    "os": lambda: os.close(one.detach()),
    "library": lambda: ctypes.CDLL(None).close(one.detach()),
}[sys.argv[1]]
if sys.argv[2] == "thread":
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
else:
    act()
print("done", flush=True)
sys.stdin.read()
"""
ANSWER_SECONDS = 30.0  # far more than it takes


@dataclass
class Actor:
    """A program that has reset a connection and still lives."""

    process: subprocess.Popen[str]
    record: Record

    def about(self) -> list[object]:
        return [self.process.pid, list(self.record.ustack), list(self.record.user_words)]

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def session() -> Iterator[Session]:
    with live_session() as made:
        yield made


def act(session: Session, *argv: str, python: str = sys.executable) -> Actor:
    process = subprocess.Popen(
        [python, "-c", PROGRAM, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(PYTHONHOME=sys.base_prefix),
    )
    assert process.stdout
    assert process.stdout.readline() == "done\n"
    found: list[Record] = []

    def seen() -> bool:
        found.extend(
            one.reset.decided
            for one in session.poll()
            if one.reset.decided and one.reset.decided.task.pid == process.pid
        )
        return bool(found)

    wait_for(seen, "the reset")
    return Actor(process, found[0])


def names(session: Session, actor: Actor) -> tuple[str, ...]:
    """As the helper process says them, with the rights that it has left."""

    def ask(about: object) -> object:
        return session.broker.ask("symbols", about, ANSWER_SECONDS)

    record = actor.record
    return UserStacks(ask).names(actor.process.pid, record.ustack, record.user_words)


CALLERS = [("method", "python"), ("os", "python"), ("library", "ffi")]


@pytest.mark.parametrize("thread", ["thread", "alone"])
@pytest.mark.parametrize(("how", "caller"), CALLERS)
def test_who_called_close(session: Session, how: str, caller: str, thread: str) -> None:
    actor = act(session, how, thread)
    told = names(session, actor)
    actor.end()
    assert told[0].startswith("close (libc")
    if actor.record.user_words and os.uname().machine == "x86_64":
        assert caller in told[1]
        assert told[1] != "..."
    assert all(name.isprintable() for name in told)


def test_words_are_there_where_the_kernel_can_tell(session: Session) -> None:
    actor = act(session, "method", "alone")
    actor.end()
    helpers = session.kernel.features.helpers
    assert bool(actor.record.user_words) == (len(helpers) == 2)
    assert all(word == 0 or 65536 <= word < 1 << 47 for word in actor.record.user_words)


def test_a_program_whose_file_is_deleted(session: Session, tmp_path: Path) -> None:
    copy = tmp_path / "closer"
    shutil.copy(os.path.realpath(sys.executable), copy)
    actor = act(session, "method", "alone", python=str(copy))
    copy.unlink()
    told = names(session, actor)
    actor.end()
    assert told[0].startswith("close (libc")
    assert any("closer" in name or "libpython" in name for name in told[1:])
    assert not any("deleted" in name for name in told)


def test_a_process_that_is_gone(session: Session) -> None:
    actor = act(session, "method", "alone")
    actor.end()
    assert symbols.answer(actor.about()) == []
    assert names(session, actor) == ()


def test_nothing_is_read_where_no_process_acted(lab: Lab, session: Session) -> None:
    """A passive reset is sent on top of whatever task was on the CPU."""
    knock(lab, 8080)
    found: list[Reset] = []

    def seen() -> bool:
        found.extend(one.reset for one in session.poll() if one.reset.flow.lport == 8080)
        return bool(found)

    wait_for(seen, "the reset of a closed port")
    assert all(reset.decided is None or reset.decided.user_words == () for reset in found)
