"""The parts of a diagnosis that need no kernel: when it ends, what it shows, whom it follows."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsttrace.diagnose import caller as callers
from rsttrace.diagnose import family as families
from rsttrace.diagnose.caller import Caller, environment_of, find_caller
from rsttrace.diagnose.chosen import Chosen
from rsttrace.diagnose.command import LONGEST, WatchedCommand, shortened
from rsttrace.diagnose.ending import SETTLE_NS, Ending
from rsttrace.diagnose.family import BY_LOOKING, OTHER_NUMBERS, Family
from rsttrace.diagnose.gate import Child, Tell, Wait
from rsttrace.diagnose.proctree import Stat, descendants, parse_stat, read_stat
from rsttrace.diagnose.progress import ERASE, Progress, how_far
from rsttrace.diagnose.request import Request
from rsttrace.diagnose.scope import Choice, by_processes, everything
from rsttrace.diagnose.subject import Subject
from rsttrace.enrich import Facts
from rsttrace.enrich.containers import Container
from rsttrace.errors import EXIT_USAGE, RsttraceError
from rsttrace.fold import HOLD_NS
from rsttrace.kernel import loader
from rsttrace.kernel.features import HOOKS, ON_DEMAND, Features
from rsttrace.report.sink import ReportSink

from .build import CURL, FLOW, NETNS, NGINX, OTHER_NETNS, SECOND
from .told import told

# -- when it is over


class Clock:
    """Time that only passes when it is told to."""

    def __init__(self) -> None:
        self.ns = 5 * SECOND

    def __call__(self) -> int:
        return self.ns


def calls(ending: Ending, clock: Clock, step_ns: int) -> int:
    """Time from now until it says stop, asked every so often."""
    start = clock.ns
    for _ in range(10_000):
        if ending():
            return clock.ns - start
        clock.ns += step_ns
    raise AssertionError("it never stops")


def test_time_is_up_and_all_of_it_is_told() -> None:
    clock = Clock()
    ending = Ending(lambda: False, lambda: False, 2.0, clock)
    took = calls(ending, clock, 10_000_000)
    assert 2 * SECOND + SETTLE_NS <= took <= 2 * SECOND + SETTLE_NS + 30_000_000


def test_a_poll_speaks_for_the_time_at_which_it_began() -> None:
    """One long poll that began before the time was over is not enough."""
    clock = Clock()
    ending = Ending(lambda: True, lambda: False, None, clock)
    assert not ending()
    clock.ns += 10 * SETTLE_NS
    assert not ending()
    assert ending()


def test_what_waits_is_waited_for_but_not_for_ever() -> None:
    clock = Clock()
    ending = Ending(lambda: True, lambda: True, None, clock)
    took = calls(ending, clock, 10_000_000)
    assert SETTLE_NS + HOLD_NS <= took <= SETTLE_NS + HOLD_NS + 30_000_000


def test_without_a_limit_the_subject_decides() -> None:
    clock, over = Clock(), [False] * 50 + [True]
    ending = Ending(lambda: over.pop(0), lambda: False, None, clock)
    assert calls(ending, clock, 10_000_000) >= 500_000_000 + SETTLE_NS
    assert over == []  # once it is over nobody asks again


# -- progress


class Terminal(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


def played(tty: bool, alone: bool = True, quiet: bool = False) -> str:
    """Two seconds of polls every 50 ms."""
    stream, times = Terminal(tty), iter([n * 0.05 for n in range(1, 41)])
    progress = Progress(stream, "this host", 30.0, alone, quiet, lambda: 100 + next(times))
    progress.start()
    for n in range(40):
        progress.show(n * 0.05, n)
    progress.erase()
    return stream.getvalue()


def test_how_far() -> None:
    assert how_far(12.9, 30.0, 5) == "12 s of 30, 5 resets; Ctrl-C: report now"
    assert how_far(0.2, None, 1) == "0 s, 1 reset; Ctrl-C: report now"
    assert how_far(0.2, 0.5, 0).startswith("0 s of 0.5, 0 resets")


def test_a_terminal_has_one_line_that_is_gone_at_the_end() -> None:
    text = played(tty=True)
    assert "\n" not in text
    assert 6 <= text.count(ERASE) - 1 <= 8  # four times a second
    assert text.endswith(ERASE)
    assert "1 s of 30, " in text


@pytest.mark.parametrize(("tty", "alone"), [(False, True), (True, False)])
def test_no_terminal_of_its_own_has_one_line(tty: bool, alone: bool) -> None:
    """A log, or a terminal that the command writes to."""
    assert played(tty, alone) == "rsttrace: watching this host for 30 s; Ctrl-C: report now.\n"


@pytest.mark.parametrize("tty", [True, False])
def test_quiet(tty: bool) -> None:
    assert played(tty, quiet=True) == ""


def test_nobody_reads_the_progress() -> None:
    """That is no reason to end a diagnosis."""

    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress = Progress(Gone(True), "this host", None, True, clock=lambda: 1.0)
    progress.start()
    progress.show(1, 1)
    progress.say("x")
    progress.erase()


# -- the sink in front of the report


def test_chosen() -> None:
    report = ReportSink()
    sink = Chosen(report, Choice(by_processes({CURL.pid}.__contains__)))
    for number, owner in enumerate((CURL, NGINX, CURL), 1):
        one = told("linger-zero", number, count=number)
        assert sink.reset(replace(one, facts=Facts(owner=owner))) == ""
    assert sink.totals.resets == 4
    assert report.matches(["linger-zero"])
    sink.lost(3)
    assert sink.totals.lost == 3


# -- processes


@pytest.mark.parametrize(
    ("text", "stat"),
    [
        ("7 (sh) S 3 7 5 0 -1 4194304", Stat(7, "sh", "S", 3, 5)),
        ("7 (a) b) R (x) Z 3 7 5 0", Stat(7, "a) b) R (x", "Z", 3, 5)),
        ("7 ((sd-pam)) S 3 7 5", Stat(7, "(sd-pam)", "S", 3, 5)),
        ("7 (sh) S", None),
        ("", None),
    ],
)
def test_stat(text: str, stat: Stat | None) -> None:
    assert parse_stat(text) == stat


def test_own_stat() -> None:
    own = read_stat(os.getpid())
    assert own
    assert (own.parent, own.session, own.alive) == (os.getppid(), os.getsid(0), True)
    assert read_stat(4194305) is None
    assert not Stat(7, "sh", "Z", 3, 5).alive


class Follower:
    """What the kernel would tell."""

    def __init__(self, follows: bool = True) -> None:
        self.follows = follows
        self.pids: set[int] = set()
        self.missed = 0

    def follow(self, pid: int) -> None:
        self.pids.add(pid)

    def is_followed(self, pid: int) -> bool:
        return pid in self.pids

    def followed(self) -> set[int]:
        return set(self.pids)

    def not_followed(self) -> int:
        return self.missed


def waiting_child() -> Child:
    """A child of this process that waits for its gate."""

    def life(tell: Tell, wait: Wait) -> None:
        tell({"ready": True})
        wait()

    child = Child(life)
    child.hear(None)
    return child


@pytest.mark.parametrize("follows", [True, False])
def test_children_that_are_there_already(follows: bool) -> None:
    child, kernel = waiting_child(), Follower(follows)
    try:
        family = Family((os.getpid(),))
        family.attach(kernel)
        assert {os.getpid(), child.pid} <= family.members()
        assert family.has(child.pid)
        assert not family.has(1)
        assert kernel.pids == (family.members() if follows else set())
        assert child.pid in family.running(os.getsid(0))
        assert child.pid not in family.running(os.getsid(0) + 1)
        assert child.pid in descendants([os.getpid()])
    finally:
        child.leave()
    assert child.pid not in family.running(os.getsid(0))
    assert family.has(child.pid)  # it was one of them


def test_children_that_come_later_without_the_kernels_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "LOOK_SECONDS", -1.0)
    family = Family((os.getpid(),))
    family.attach(Follower(False))
    child = waiting_child()
    try:
        assert family.has(child.pid)
    finally:
        child.leave()


def test_what_could_not_be_followed() -> None:
    kernel = Follower()
    family = Family((os.getpid(),))
    family.attach(kernel)
    here = Path("/proc/self/ns/pid").stat().st_ino == families.INITIAL_PID_NAMESPACE
    assert family.problems() == (() if here else (OTHER_NUMBERS,))
    kernel.missed = 3
    assert family.problems()[0].startswith("3 processes were too many")
    alone = Family((os.getpid(),))
    alone.attach(Follower(False))
    assert alone.problems()[0] == BY_LOOKING


# -- the hook that tells the kernel's side of it


def test_the_hook_is_loaded_on_demand_only() -> None:
    assert not set(ON_DEMAND) & set(HOOKS)
    for hook in ON_DEMAND:
        assert f"RAW_TRACEPOINT_PROBE({hook})" in loader.read_sources((hook,))
        assert f"RAW_TRACEPOINT_PROBE({hook})" not in loader.read_sources()


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_hooks_of_a_kernel(monkeypatch: pytest.MonkeyPatch, has: bool, asked: bool) -> None:
    (hook,) = ON_DEMAND
    features = Features({"tcp_send_reset": 3}, {}, {}, 64, on_demand=(hook,) if has else ())
    tables: dict[str, Any] = {name: {} for name in ("events", "lost", "page_bases", "followed")}
    tables["not_followed"] = {}
    monkeypatch.setattr(loader.Kernel, "_load", lambda *_: tables)
    kernel = loader.Kernel(loader.Prepared(None, features), extra=(hook,) if asked else ())
    assert kernel.follows == (has and asked)
    assert (hook in kernel.hooks) == (has and asked)


# -- the user who called sudo


def test_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_caller({}) is None
    assert find_caller({"SUDO_UID": "0", "SUDO_GID": "0"}) is None
    nobody = find_caller({"SUDO_UID": "65534", "SUDO_GID": "65534"})
    assert nobody
    assert (nobody.uid, nobody.gid, nobody.name) == (65534, 65534, "nobody")
    assert 65534 in nobody.groups
    assert find_caller({"SUDO_UID": "54321", "SUDO_GID": "5"}) == Caller(54321, 5, (5,))


@pytest.mark.parametrize("uid", ["", "x", "-1", "4294967295", "²"])
def test_a_strange_user_is_not_guessed(monkeypatch: pytest.MonkeyPatch, uid: str) -> None:
    """It must not run as root because nobody understood who asked."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(RsttraceError, match="is no user") as caught:
        find_caller({"SUDO_UID": uid, "SUDO_GID": "1000"})
    assert caught.value.exit_code == EXIT_USAGE
    assert "--as-root" in caught.value.hint


def test_without_root_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_caller({"SUDO_UID": "65534", "SUDO_GID": "65534"}) is None
    callers.become(None)


def test_environment_of_the_caller() -> None:
    before = {"PATH": "/bin", "HOME": "/root", "USER": "root", "SUDO_UID": "7", "SUDO_USER": "a"}
    ann = Caller(7, 7, (7,), "ann", "/home/ann", "/bin/zsh")
    assert environment_of(ann, before) == {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "USER": "ann",
        "LOGNAME": "ann",
        "SHELL": "/bin/zsh",
    }
    assert environment_of(None, before) == before
    assert environment_of(Caller(7, 7, ()), before)["HOME"] == "/root"  # nothing better is known


# -- the gate


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """Nothing may stay behind, however the parent ends."""
    note = tmp_path / "pid"
    pid = os.fork()
    if pid == 0:
        note.write_text(str(waiting_child().pid))
        os._exit(0)
    os.waitpid(pid, 0)
    grandchild = int(note.read_text())
    wait_until(lambda: not (stat := read_stat(grandchild)) or not stat.alive)


def wait_until(condition: Callable[[], bool]) -> None:
    """The limit of the whole test run is the limit here."""
    while not condition():
        pass


def test_a_child_that_fails_says_so() -> None:
    def life(tell: Tell, wait: Wait) -> None:
        raise ZeroDivisionError("oops")

    child = Child(life)
    assert child.hear(None) == [{"problem": "ZeroDivisionError: oops.", "hint": ""}]
    wait_until(child.poll)
    assert child.status == 1


def test_a_child_that_is_not_let_go() -> None:
    child = waiting_child()
    child.leave()
    assert child.ended
    assert child.status == 0
    child.leave()  # and again does no harm
    child.go()


def test_a_child_that_is_held_ends_whenever_its_gate_is_shut() -> None:
    """Also in the middle of something that cannot be interrupted."""

    def life(tell: Tell, wait: Wait) -> None:
        wait()
        tell({"began": True})
        threading.Event().wait()

    child = Child(life, held=True)
    child.go()
    assert child.hear(None) == [{"began": True}]
    assert not child.poll()
    child.leave()
    assert child.ended


# -- the command


def ran(*argv: str, ours: bool = False) -> WatchedCommand:
    """A command that has ended."""
    command = WatchedCommand(argv, None, ours)
    command.attach(Follower())
    command.begin()
    try:
        wait_until(command.over)
    finally:
        command.close()
    return command


def test_exit_status() -> None:
    assert ran("sh", "-c", "exit 7").command.status == 7
    assert ran("sh", "-c", "kill -TERM $$").command.status == -signal.SIGTERM
    done = ran("true").command
    assert (done.argv, done.status, done.processes) == (("true",), 0, 1)
    assert 0 < done.seconds < 60


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-such-command-at-all", "there is no command no-such-command-at-all"),
        ("/no/such/file", "there is no command /no/such/file"),
        ("/etc/passwd", "/etc/passwd cannot be executed"),
        ("/etc", "/etc is a directory"),
        ("a\x1b[31mb", "there is no command a\\x1b[31mb"),
    ],
)
def test_commands_that_do_not_exist(name: str, words: str) -> None:
    with pytest.raises(RsttraceError) as caught:
        WatchedCommand((name,), None, False)
    assert words in caught.value.message
    assert caught.value.exit_code == EXIT_USAGE


def test_it_does_not_start_before_it_may(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    command = WatchedCommand(("touch", str(proof)), None, False)
    command.attach(Follower())
    command.close()  # the trace could not begin
    assert not proof.exists()
    assert command.command.status == 0  # of the child that waited


def test_a_program_that_the_kernel_cannot_run(tmp_path: Path) -> None:
    """As a shell does it: a script without a first line is for sh; a bad first line is an error."""
    script = tmp_path / "script"
    script.write_text('exit "$1"\n')
    script.chmod(0o755)
    assert ran(str(script), "9").command.status == 9
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(RsttraceError, match="could not be started: No such file"):
        ran(str(script))


def test_plain_signals(capfd: pytest.CaptureFixture[str]) -> None:
    """Python ignores SIGPIPE and SIGXFSZ; a command must not."""
    assert ran("grep", "-E", "SigIgn|SigBlk", "/proc/self/status").command.status == 0
    masks = [int(word, 16) for word in capfd.readouterr().out.split()[1::2]]
    numbers = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM)
    assert len(masks) == 2
    assert not any(mask >> (number - 1) & 1 for mask in masks for number in numbers)


def test_no_files_of_ours(tmp_path: Path) -> None:
    """Those that the caller opened for it stay open, the gate's do not."""
    note = tmp_path / "files"
    with (tmp_path / "given").open("w") as given:
        os.set_inheritable(given.fileno(), True)
        done = ran("sh", "-c", f"readlink /proc/$$/fd/* > {note}; echo $$ >> {note}")
        ours = os.readlink(f"/proc/self/fd/{done._child._said}")
    *seen, pid = note.read_text().splitlines()
    assert given.name in seen
    assert ours not in seen
    assert int(pid) == done.command.pid  # the same process from the gate on


def test_stdout_of_a_command_may_be_ours(capfd: pytest.CaptureFixture[str]) -> None:
    ran("echo", "hello")
    assert capfd.readouterr() == ("hello\n", "")
    ran("echo", "hello", ours=True)
    assert capfd.readouterr() == ("", "hello\n")


def test_it_waits_for_children_but_not_for_services() -> None:
    kernel = Follower()
    command = WatchedCommand(("true",), None, False)
    command.attach(kernel)
    child = waiting_child()
    kernel.pids.add(child.pid)
    command.begin()
    wait_until(lambda: bool(command.over() or command._ended))
    assert not command.over()
    assert command.news() == (
        "the command has ended; waiting for the process it left. Ctrl-C: report now."
    )
    assert command.news() == ""
    (problem,) = command.problems()
    assert problem.startswith("The command left processes that still run: ")
    command._session += 1  # as if the child had called setsid()
    assert command.over()
    child.leave()
    assert command.command.processes == 2


def test_a_command_that_still_runs_is_left_alone() -> None:
    command = WatchedCommand(("sleep", "600"), None, False)
    command.attach(Follower())
    command.begin()
    assert not command.over()
    command.close()
    assert command.command.status is None
    (problem,) = command.problems()
    assert problem == f"The command still runs (process {command._child.pid}); it was left alone."
    os.kill(command._child.pid, signal.SIGKILL)
    wait_until(command._child.poll)


def test_long_command_lines() -> None:
    assert shortened("curl x") == "curl x"
    assert len(shortened("curl " + "x" * 200)) <= LONGEST
    assert shortened("a\x1b[31m") == "a\\x1b[31m"
    command = WatchedCommand(("sh", "-c", "exit 'x y'"), None, False)
    assert command.what == """sh -c 'exit '"'"'x y'"'"'' and its children"""
    command.close()


# -- what belongs to whom


def test_wanted_of() -> None:
    from rsttrace.diagnose.run import wanted_of

    there = told("x", flow=replace(FLOW, netns=OTHER_NETNS))
    here = told("x")
    host = wanted_of(Request(), Subject(), None)
    assert host(here)
    assert host(there)
    assert host is not everything
    one_netns = wanted_of(Request(netns=(NETNS,)), Subject(), None)
    assert one_netns(here)
    assert not one_netns(there)
    box = Container("web", "lxc", "web", frozenset({NGINX.pid}), OTHER_NETNS)
    in_box = wanted_of(Request(container="web"), Subject(), box)
    assert in_box(there)
    assert not in_box(here)
    shared = Container("web", "lxc", "web", frozenset({NGINX.pid}), None)
    by_process = wanted_of(Request(container="web"), Subject(), shared)
    assert by_process(told("x", facts=Facts(owner=NGINX)))
    assert not by_process(told("x", facts=Facts(owner=CURL)))
