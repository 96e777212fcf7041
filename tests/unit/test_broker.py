"""The helper process and the trace's side of it. Without root it answers, but knows little."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsttrace.enrich import asking, broker
from rsttrace.enrich.asking import NO_ANSWER, NO_HELPER, TOO_OFTEN, Broker, FirewallMemory
from rsttrace.enrich.broker import QUESTION, has_nf_tables, serve, snmp_value
from rsttrace.enrich.firewall import Firewall, Rule, to_json
from rsttrace.enrich.live import LiveContext

NETNS = 4026531840
PATIENCE = 20.0
ONE = Firewall((Rule("reset", "nft", "ip", "input", "here", "reject"),))
TWO = Firewall((Rule("reset", "nft", "ip", "input", "there", "reject"),))


def ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


# -- the program -----------------------------------------------------------------------------------


@pytest.fixture
def helper() -> Iterator[Broker]:
    """The real one; what it may see depends on who runs the tests."""
    made = Broker()
    yield made
    made.close()


def patient(ask: Callable[[], Any]) -> Any:
    """Its answer, however long its start takes on a busy machine."""
    found: list[Any] = []

    def answered() -> bool:
        found[:] = [ask()]
        return found[0] not in (None, NO_ANSWER)

    wait_for(answered)
    return found[0]


def test_counts(helper: Broker) -> None:
    begun = time.monotonic_ns()
    found = patient(lambda: helper.out_rsts())
    for inode, row in found.items():
        assert isinstance(inode, int)
        assert row["OutRsts"] >= 0
        assert begun < row["time_ns"] < time.monotonic_ns()
    if os.geteuid() == 0:
        assert os.stat("/proc/self/ns/net").st_ino in found


def test_namespace_that_does_not_exist(helper: Broker) -> None:
    assert patient(lambda: helper.firewall(1)).problem == "the network namespace is gone"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_namespace_that_may_not_be_entered(helper: Broker) -> None:
    own = os.stat("/proc/self/ns/net").st_ino
    assert "cannot be entered" in patient(lambda: helper.firewall(own)).problem


def test_ends_with_the_trace(helper: Broker) -> None:
    pid = helper._pid
    helper.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert helper.firewall(NETNS) == NO_HELPER
    assert helper.out_rsts() is None


def test_ends_when_the_trace_is_killed() -> None:
    """Nobody says goodbye then: its end of the socket just closes."""
    made = Broker()
    made._socket.close()
    wait_for(lambda: ended(made._pid))


def test_ctrl_c_does_not_reach_it(helper: Broker) -> None:
    patient(lambda: helper.firewall(1))
    assert os.getpgid(helper._pid) == helper._pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(helper._pid, number)
    assert patient(lambda: helper.out_rsts()) is not None


def test_goes_on_without_it(helper: Broker) -> None:
    patient(lambda: helper.firewall(1))
    os.kill(helper._pid, signal.SIGKILL)
    wait_for(lambda: helper.firewall(1) == NO_HELPER)
    assert helper.out_rsts() is None


def test_has_no_files_of_the_trace(helper: Broker, tmp_path: Path) -> None:
    patient(lambda: helper.firewall(1))
    links = [os.readlink(f"/proc/{helper._pid}/fd/{n}") for n in (0, 1, 2)]
    assert links[0].startswith("socket:")
    assert links[1:] == [os.devnull] * 2
    assert sorted(os.listdir(f"/proc/{helper._pid}/fd")) == ["0", "1", "2"]


def test_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    made = Broker()
    assert made.firewall(NETNS) == NO_HELPER
    made.close()


@pytest.mark.parametrize("words", [b"", b"x", b"/bin/sh\0", b"nft list ruleset"])
def test_takes_nothing_but_a_number(words: bytes, helper: Broker) -> None:
    """Eight bytes are a number, which no namespace has; anything else is the end."""
    helper._socket.send(words)
    if len(words) == QUESTION.size or len(words) > QUESTION.size:
        helper._socket.settimeout(PATIENCE)
        raw = helper._socket.recv(1000)
        assert json.loads(raw[QUESTION.size :])["problem"] == "the network namespace is gone"
    else:
        wait_for(lambda: ended(helper._pid))


# -- questions and children ------------------------------------------------------------------------


class Served:
    """``serve`` in a fork of the test, whose answers the test has made up."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.socket.close()
                serve(theirs.fileno())
            finally:
                os._exit(0)
        theirs.close()

    def ask(self, question: int) -> None:
        self.socket.send(QUESTION.pack(question))

    def answer(self) -> tuple[int, Any]:
        raw = self.socket.recv(asking.BUFFER)
        return QUESTION.unpack_from(raw)[0], json.loads(raw[QUESTION.size :])

    def end(self) -> None:
        self.socket.close()
        wait_for(lambda: ended(self.pid))


def test_slow_question_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "rules_of", lambda inode: time.sleep(PATIENCE))
    monkeypatch.setattr(broker, "out_rsts", lambda: {"5": 1})
    served = Served()
    served.ask(7)
    served.ask(0)
    assert served.answer() == (0, {"5": 1})
    served.end()


def test_child_is_killed_after_its_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what it started: a command that hangs."""
    note = tmp_path / "pid"

    def hang(inode: int) -> None:
        pid = os.fork()
        if pid == 0:
            note.write_text(f"{os.getpid()}\n")
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(PATIENCE * 10)

    monkeypatch.setattr(broker, "rules_of", hang)
    monkeypatch.setattr(broker, "out_rsts", dict)
    monkeypatch.setattr(broker, "ANSWER_SECONDS", 0.2)
    served = Served()
    served.ask(7)
    wait_for(lambda: note.exists() and note.read_text().endswith("\n"))
    grandchild = int(note.read_text())
    wait_for(lambda: not Path(f"/proc/{grandchild}/stat").exists() or zombie(grandchild))
    served.ask(0)
    assert served.answer() == (0, {})
    served.end()


def zombie(pid: int) -> bool:
    """Dead, but not reaped by whoever took it over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_children_end_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hang(inode: int) -> None:
        (tmp_path / str(inode)).write_text(f"{os.getpid()}\n")
        time.sleep(PATIENCE * 10)

    monkeypatch.setattr(broker, "rules_of", hang)
    monkeypatch.setattr(broker, "ANSWER_SECONDS", PATIENCE * 10)
    served = Served()
    for inode in range(1, broker.CHILDREN + 3):
        served.ask(inode)

    def pids() -> list[int]:
        texts = [file.read_text() for file in tmp_path.iterdir()]
        return [int(text) for text in texts if text.endswith("\n")]

    wait_for(lambda: len(pids()) == broker.CHILDREN)
    served.end()
    wait_for(lambda: all(zombie(pid) for pid in pids()))
    assert len(pids()) == broker.CHILDREN  # the questions too many were passed over


def test_child_that_fails_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(inode: int) -> None:
        raise RuntimeError

    monkeypatch.setattr(broker, "rules_of", fail)
    monkeypatch.setattr(broker, "out_rsts", dict)
    served = Served()
    served.ask(7)
    served.ask(0)
    assert served.answer() == (0, {})
    served.end()


# -- asking ----------------------------------------------------------------------------------------


class Mute(Broker):
    """A helper that the test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.end_helper()
        self._socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.setblocking(False)
        self._alive = True

    def end_helper(self) -> None:
        self.close()
        self._pid = 0

    def say(self, question: int, value: object) -> None:
        self.theirs.send(QUESTION.pack(question) + json.dumps(value).encode())

    def asked(self) -> list[int]:
        """The questions since the last call."""
        found = []
        while True:
            try:
                raw = self.theirs.recv(100)
            except BlockingIOError:
                return found
            found.append(QUESTION.unpack(raw)[0])


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mute]:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    monkeypatch.setattr(asking, "WAIT_SECONDS", 0.01)
    made = Mute()
    yield made
    made.theirs.close()
    made.close()


def test_waits_no_longer_than_it_should(mute: Mute) -> None:
    begun = time.monotonic()
    assert mute.firewall(NETNS) == NO_ANSWER
    assert mute.out_rsts(0.01) is None
    assert time.monotonic() - begun < PATIENCE / 2
    assert mute.asked() == [NETNS, 0]


def test_late_answer_is_good_for_the_next(mute: Mute) -> None:
    assert mute.firewall(NETNS) == NO_ANSWER
    mute.say(NETNS, to_json(ONE))
    assert mute.firewall(NETNS) == ONE
    assert mute.asked() == [NETNS]
    assert mute.firewall(NETNS) == NO_ANSWER  # once
    assert mute.asked() == [NETNS]


def test_is_not_asked_again_while_it_works(mute: Mute) -> None:
    for _ in range(3):
        assert mute.firewall(NETNS) == NO_ANSWER
    assert mute.asked() == [NETNS]
    assert mute.firewall(NETNS + 1) == NO_ANSWER
    assert mute.asked() == [NETNS + 1]


def test_old_answer_is_no_answer(mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    mute.say(NETNS, to_json(ONE))
    monkeypatch.setattr(asking, "FRESH_SECONDS", -1.0)
    assert mute.firewall(NETNS) == NO_ANSWER


def test_answer_to_something_else(mute: Mute) -> None:
    mute.say(NETNS + 1, to_json(TWO))
    assert mute.firewall(NETNS) == NO_ANSWER
    assert mute.firewall(NETNS + 1) == TWO


@pytest.mark.parametrize("odd", [None, 7, [], {"rules": 1}, {"rules": [], "more": []}])
def test_answer_that_is_odd(odd: object, mute: Mute) -> None:
    mute.say(NETNS, odd)
    assert mute.firewall(NETNS) == NO_ANSWER


def test_counters_are_of_now(mute: Mute) -> None:
    """What was read before the question is the answer to an earlier one."""
    old = {"5": {"OutRsts": 1, "time_ns": time.monotonic_ns()}}
    mute.say(0, old)
    assert mute.out_rsts(0.01) is None
    new = {"5": {"OutRsts": 2, "time_ns": time.monotonic_ns() + 10**12}}
    mute.say(0, old)
    mute.say(0, new)
    assert mute.out_rsts(PATIENCE) == {5: new["5"]}
    mute.say(0, {})
    assert mute.out_rsts(PATIENCE) == {}


# -- what was said before --------------------------------------------------------------------------


class Asked:
    """A firewall whose rules the test sets, and how often it was asked."""

    def __init__(self, now: Firewall = ONE) -> None:
        self.now = now
        self.times = 0

    def __call__(self, netns: int) -> Firewall:
        self.times += 1
        return self.now


Notes = list[tuple[str, str, Any]]


def remembering(ask: Asked) -> tuple[FirewallMemory, Notes]:
    notes: Notes = []
    return FirewallMemory(ask, lambda *note: notes.append(note)), notes


def test_one_answer_for_all_resets_before_it() -> None:
    ask = Asked()
    memory, notes = remembering(ask)
    happened = time.monotonic_ns()
    assert memory.firewall(NETNS, happened) == ONE
    ask.now = TWO
    assert memory.firewall(NETNS, happened + 1) == ONE
    assert memory.firewall(NETNS, happened - 10**9) == ONE
    assert ask.times == len(notes) == 1
    assert memory.firewall(NETNS, time.monotonic_ns()) == TWO
    assert memory.firewall(NETNS, happened) == ONE  # as before, whatever came since
    assert memory.firewall(NETNS + 1, happened) == TWO
    assert ask.times == 3


def test_notes_what_a_replay_needs() -> None:
    ask = Asked()
    memory, notes = remembering(ask)
    for now in (ONE, ONE, TWO, NO_ANSWER):
        ask.now = now
        memory.firewall(NETNS, time.monotonic_ns())
    assert {note[:2] for note in notes} == {("firewall", str(NETNS))}
    values = [value for _, _, value in notes]
    times = [value.pop("time_ns") for value in values]
    assert times == sorted(times)
    assert values == [to_json(ONE), {}, to_json(TWO), to_json(NO_ANSWER)]


def test_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of resets: after a burst it waits for a tenth of the time at most."""
    monkeypatch.setattr(asking, "BURST_SECONDS", 0.0)
    ask = Asked()
    memory, notes = remembering(ask)
    assert memory.firewall(NETNS, time.monotonic_ns()) == TOO_OFTEN
    assert ask.times == 0
    monkeypatch.setattr(memory, "_credit", 1.0)
    monkeypatch.setattr(asking, "BURST_SECONDS", 1.0)
    assert memory.firewall(NETNS, time.monotonic_ns()) == ONE
    monkeypatch.setattr(memory, "_credit", -1.0)
    ask.now = TWO
    assert memory.firewall(NETNS, time.monotonic_ns()) == ONE  # as it was a moment ago
    monkeypatch.setattr(asking, "FRESH_SECONDS", -1.0)
    assert memory.firewall(NETNS, time.monotonic_ns()) == TOO_OFTEN
    assert ask.times == 1
    assert len(notes) == 4


def test_memory_is_bounded() -> None:
    memory, _ = remembering(Asked())
    for inode in range(asking.REMEMBERED * 3):
        memory.firewall(inode, time.monotonic_ns())
    assert len(memory._said) == asking.REMEMBERED
    for _ in range(asking.REMEMBERED * 3):
        memory.firewall(1, time.monotonic_ns())
    assert len(memory._said[1]) == asking.REMEMBERED


def test_context_without_a_helper() -> None:
    assert LiveContext().firewall(NETNS, 0) == NO_HELPER


# -- small parts -----------------------------------------------------------------------------------


def test_snmp_value() -> None:
    text = "Ip: A B\nIp: 1 2\nTcp: A OutRsts B\nTcp: 1 23218 3\nUdp: A\nUdp: 1\n"
    assert snmp_value(text, "Tcp:", "OutRsts") == 23218
    for odd in ("", "Tcp: A\n", "Tcp: A\nTcp: 1\n", "Tcp: OutRsts\nTcp: x\n"):
        with pytest.raises(ValueError, match=r".*"):
            snmp_value(odd, "Tcp:", "OutRsts")


def test_namespaces() -> None:
    own = os.stat("/proc/self/ns/net").st_ino
    found = list(broker.namespaces())
    assert own in dict(found)
    assert len(dict(found)) == len(found)


def test_only_namespaces_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that a failed ``ip netns`` left behind has the inode number of something else."""
    (tmp_path / "left").write_text("")
    monkeypatch.setattr(broker, "PLACES", (str(tmp_path),))
    assert str(tmp_path / "left") not in dict(broker.namespaces()).values()


def test_enters_no_other_namespace() -> None:
    with pytest.raises(FileNotFoundError):
        broker.enter("/proc/self/ns/net", 1)


@pytest.mark.skipif(os.path.exists("/sys/module/nf_tables"), reason="nf_tables is loaded")
def test_nf_tables_that_is_not_loaded(tmp_path: Path) -> None:
    assert has_nf_tables(str(tmp_path))  # no modules: what there is is built in
    place = tmp_path / os.uname().release
    place.mkdir()
    (place / "modules.builtin").write_text("kernel/net/ipv4/tcp_cubic.ko\n")
    assert not has_nf_tables(str(tmp_path))
    (place / "modules.builtin").write_text("kernel/net/netfilter/nf_tables.ko\n")
    assert has_nf_tables(str(tmp_path))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "tool: failed"),
        ("echo no such table >&2; exit 1", "tool: no such table"),
        ("sleep 60", "tool took too long"),
        (None, "tool is not installed"),
    ],
)
def test_command_that_fails(
    script: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsttrace.enrich.rulesets import CommandFailed

    monkeypatch.setattr(broker, "COMMAND_SECONDS", 0.1)
    path = f"{tmp_path}:/usr/bin:/bin"
    monkeypatch.setattr(broker, "ENVIRONMENT", {"PATH": path})
    if script:
        tool = tmp_path / "tool"
        tool.write_text(f"#!/bin/sh\n{script}\n".replace("sleep", "exec sleep"))
        tool.chmod(0o755)
    with pytest.raises(CommandFailed, match=f"^{says}$"):
        broker._run(("tool",))


def test_output_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of our environment or input; bytes that are no text do no harm."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\ncat; echo $HOME $LC_ALL; printf '\\377'\n")
    tool.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    monkeypatch.setattr(broker, "ENVIRONMENT", {"PATH": path, "LC_ALL": "C"})
    assert broker._run(("tool",)) == "C\n\ufffd"
