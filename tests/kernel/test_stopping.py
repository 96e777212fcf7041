"""How it ends: signals, readers that go away, narrow terminals, labs cut short."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from rsttrace.lab.net import Lab

from .conftest import PATIENCE, Running, Starter, abort, both_ends, command, environment, knock

pytestmark = pytest.mark.kernel

F_SETPIPE_SZ = 1031
RUN_NETNS = Path("/run/netns")


# -- signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_asked_to_stop(start: Starter, lab: Lab, name: str) -> None:
    """What happened just before is still shown, then the summary; exit 0."""
    trace = start.trace("-j", *both_ends(lab))
    knock(lab, 8080)
    done = trace.stop(signal.Signals[name]).clean()
    assert done.code == 0
    assert len(done.resets) == 2
    assert done.objects[-1]["type"] == "summary"


def test_nohup(start: Starter, lab: Lab) -> None:
    """A hang-up that the caller ignores stays ignored."""
    trace = start.trace("-j", *both_ends(lab), prefix=("nohup",))
    trace.process.send_signal(signal.SIGHUP)
    knock(lab, 8080)
    trace.wait_resets(2)
    assert trace.stop().clean().code == 0


def test_second_ctrl_c(start: Starter, lab: Lab) -> None:
    """Stuck in a pipe that nobody reads, the first Ctrl-C cannot end it; a later one does."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, F_SETPIPE_SZ, 4096)
    trace = start.trace("-j", "-v", *both_ends(lab), stdout=write_end)
    os.close(write_end)
    for _ in range(10):
        knock(lab, 8080)
    trace.wait_for(lambda: "pipe_write" in waits_in(trace), "a full pipe")
    trace.process.send_signal(signal.SIGINT)
    # one Ctrl-C may arrive twice, so the second counts only after a moment
    for _ in range(100):
        try:
            trace.process.wait(0.2)
            break
        except subprocess.TimeoutExpired:
            trace.process.send_signal(signal.SIGINT)
    os.close(read_end)
    done = trace.end().clean()
    assert done.code == 130


def waits_in(running: Running) -> str:
    """The kernel function it sleeps in."""
    return Path(f"/proc/{running.pid}/wchan").read_text()


def test_interrupted_at_the_start(start: Starter) -> None:
    """While it still compiles: no traceback, whatever it was doing."""
    for condition in (lambda r: has_open(r, "kallsyms"), lambda r: has_open(r, "bpf")):
        running = start(command("-d", "60", "-j"))
        running.wait_for(lambda r=running, c=condition: c(r), "some way into its start")
        done = running.stop(signal.SIGINT).clean()
        # CPython ends by the signal itself when it hit an exec(), as dataclasses use it
        assert done.code in (0, 130, -signal.SIGINT)


def has_open(running: Running, word: str) -> bool:
    """Does it hold a file with this in its name?"""
    directory = f"/proc/{running.pid}/fd"
    try:
        return any(word in os.readlink(f"{directory}/{name}") for name in os.listdir(directory))
    except OSError:
        return False


# -- readers


def test_reader_goes_away(start: Starter, lab: Lab) -> None:
    """`rsttrace -1 | head -2`: quiet, exit 0."""
    trace = start.trace("-1", "-q", *both_ends(lab), stdout=subprocess.PIPE)
    assert trace.process.stdout
    with trace.process.stdout as pipe:
        assert pipe.readline().startswith(b"TIME")
        knock(lab, 8080)
        assert b"closed-port" in pipe.readline()
    while trace.process.poll() is None:
        knock(lab, 8080)  # it notices when it writes again
    done = trace.end().clean()
    assert done.code == 0
    assert done.err == ""


@pytest.mark.parametrize("argv", ["causes", "explain linger-zero", "lab list", "doctor", "--help"])
def test_reader_of_a_page_goes_away(start: Starter, argv: str) -> None:
    """Output that nobody reads at all: quiet, exit 0."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    running = start(command(*argv.split()), stdout=write_end)
    os.close(write_end)
    done = running.end().clean()
    assert done.code == 0
    assert done.err == ""


def test_reader_of_labs_goes_away(start: Starter) -> None:
    """`rsttrace lab run all -1 | head -1`: ends, and leaves nothing behind."""
    running = start(command("lab", "run", "all", "-1"), stdout=subprocess.PIPE)
    assert running.process.stdout
    with running.process.stdout as pipe:
        assert pipe.readline().startswith(b"TIME")
    assert running.end().clean().code == 0
    assert left_behind(running.pid) == []


# -- terminals


def terminal(start: Starter, lab: Lab, columns: int, *argv: str) -> str:
    """What a person sees on a terminal of that width: stdout and stderr."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment(TERM="xterm")
    trace = start.trace(*argv, *both_ends(lab), stdout=slave, stderr=slave, env=env)
    os.close(slave)
    abort(lab)
    knock(lab, 8080)
    trace.process.send_signal(signal.SIGINT)
    seen = b""
    while select.select([master], [], [], PATIENCE)[0]:
        try:
            more = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        seen += more
    os.close(master)
    assert trace.process.wait(PATIENCE) == 0
    return seen.decode()


def plain(text: str) -> list[str]:
    """Lines without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("form", [(), ("-v",)], ids=["brief", "verbose"])
def test_width(start: Starter, lab: Lab, columns: int, form: tuple[str, ...]) -> None:
    """No line is longer than the terminal is wide, and the width is used."""
    text = terminal(start, lab, columns, *form)
    lines = plain(text)
    end = next(i for i, line in enumerate(lines) if re.match(r"\d+ resets", line))
    assert sum("fix" in line for line in lines[:end]) >= 4
    assert "\x1b[" in text
    assert [line for line in lines[:end] if len(line) > columns] == []
    assert max(map(len, lines)) > columns - 20


def test_width_of_the_summary(start: Starter, lab: Lab) -> None:
    """The table at the end as well."""
    lines = plain(terminal(start, lab, 60))
    end = next(i for i, line in enumerate(lines) if re.match(r"\d+ resets", line))
    assert [line for line in lines[end:] if len(line) > 60] == []


def test_no_colour(start: Starter, lab: Lab) -> None:
    """--color never; NO_COLOR has its unit test."""
    assert "\x1b[" not in terminal(start, lab, 80, "--color", "never")


# -- several at once


def test_two_traces(start: Starter, lab: Lab) -> None:
    """Each sees all; when one ends the other goes on."""
    first, second = (start.trace("-j", *both_ends(lab)) for _ in range(2))
    knock(lab, 8080)
    first.wait_resets(2)
    done = first.stop().clean()
    knock(lab, 8081)
    second.wait_resets(4)
    both = second.stop().clean()
    assert [r["cause"] for r in done.resets] == ["closed-port", "connection-refused"]
    assert [r["cause"] for r in both.resets] == ["closed-port", "connection-refused"] * 2


# -- labs cut short: whenever the signal comes, nothing stays behind


def left_behind(pid: int) -> list[str]:
    """Namespaces of a lab run, processes of its session, devices in this namespace."""
    spaces = [p.name for p in RUN_NETNS.glob(f"rsttrace-{pid}-*")] if RUN_NETNS.exists() else []
    processes = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":  # its session
            processes.append(stat.parent.name)
    return spaces + processes


def devices() -> set[str]:
    """Of this namespace: a lab's own are in namespaces of their own."""
    with IPRoute() as ip:
        return {str(link.get_attr("IFLA_IFNAME")) for link in ip.get_links()}


def namespaces(running: Running) -> int:
    """How many the run has right now."""
    return len(list(RUN_NETNS.glob(f"rsttrace-{running.pid}-*")))


def children(running: Running) -> int:
    """How many processes the run has started that live."""
    return len(Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split())


def finished(running: Running) -> int:
    """How many labs it has judged."""
    return running.text("err").count("== ")


MOMENTS: dict[str, Callable[[Running], bool]] = {
    "compiling": lambda r: has_open(r, "kallsyms"),
    "first namespace": lambda r: namespaces(r) == 1,
    "both namespaces": lambda r: namespaces(r) == 2,
    "a child or command runs": lambda r: children(r) > 0,
    "after three labs": lambda r: finished(r) >= 3,
    "namespaces after five labs": lambda r: finished(r) >= 5 and namespaces(r) > 0,
    "child after ten labs": lambda r: finished(r) >= 10 and children(r) > 0,
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_labs_interrupted(start: Starter, moment: str, number: int) -> None:
    """Ctrl-C goes to all processes of the terminal, also to a nft or ss that a lab runs."""
    before = devices()
    running = start(command("lab", "run", "all", "-1"), start_new_session=True)
    running.wait_for(lambda: MOMENTS[moment](running), moment)
    os.killpg(running.pid, number)
    done = running.end().clean()
    assert done.code == 130
    assert "WRONG" not in done.err or "records were lost" in done.err  # somebody else's flood
    assert re.search(r"stopped before the end of \d+\.$", done.err)
    assert left_behind(running.pid) == []
    assert devices() == before
