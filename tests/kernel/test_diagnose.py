"""``rsttrace diagnose`` as a user meets it: commands, targets, processes, a time; real resets."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsttrace.diagnose.proctree import read_stat
from rsttrace.lab import tcp
from rsttrace.lab.net import Lab

from .conftest import (
    NOBODY,
    PATIENCE,
    ROOT,
    Done,
    Running,
    Starter,
    abort,
    both_ends,
    command,
    environment,
    inode,
    knock,
    rsttrace,
    wait_for,
)

pytestmark = pytest.mark.kernel

CLOSED = 8080
ONE_CONNECT = (
    "import socket, sys; print(socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))))"
)
# a grandchild for each connection, which ends at once; nobody waits for it
GRANDCHILDREN = f"""
import os, sys
for _ in range(int(sys.argv[3])):
    if os.fork() == 0:
        if os.fork() == 0:
            {ONE_CONNECT}
        os._exit(0)
    os.wait()
"""
READ_UNTIL_RESET = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
try:
    s.recv(1)
except ConnectionResetError:
    sys.exit(56)
"""


def diagnose(*argv: str, **options: Any) -> Done:
    """To its end; the report as JSON."""
    return rsttrace("diagnose", "-j", *argv, **options).clean()


def report(done: Done) -> dict[str, Any]:
    """The one document on stdout."""
    found: dict[str, Any] = json.loads(done.out)
    return found


def causes(found: dict[str, Any]) -> dict[str, int]:
    """Counts by cause, of findings and of what is harmless."""
    rows = [*found["findings"], *found["harmless"]]
    return {row["cause"]: row["count"] for row in rows}


def in_netns(lab: Lab, *argv: str, end: str = "client") -> tuple[str, ...]:
    """A command line that runs inside that namespace."""
    name = f"rsttrace-{os.getpid()}-{end}"
    assert Path("/run/netns", name).stat().st_ino == lab.netns[end]
    return ("ip", "netns", "exec", name, *argv)


def python(lab: Lab, script: str, port: int, *argv: str) -> tuple[str, ...]:
    """A script that connects from the client to that port of the server."""
    return in_netns(lab, sys.executable, "-c", script, lab.address["server"], str(port), *argv)


@contextlib.contextmanager
def serving(listener: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept one connection and do that with it; closes without a word when the test is over."""
    over = threading.Event()

    def live() -> None:
        with contextlib.suppress(OSError):
            connection = listener.accept()[0]
            serve(connection)
            over.wait()
            tcp.close_quietly(connection)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def reset(connection: socket.socket) -> None:
    tcp.linger_zero(connection)
    connection.close()


def begin(start: Starter, *argv: str, **options: Any) -> Running:
    """A diagnosis in the background; returns once it traces."""
    ready = str(start.directory / f"run{len(start.started)}" / "ready")
    running = start(command("diagnose", "-j", "--ready-file", ready, *argv), **options)
    running.wait_ready()
    return running


def runs(pid: int) -> bool:
    """Does this process run?"""
    stat = read_stat(pid)
    return bool(stat and stat.alive)


# -- a command


def test_command_that_is_refused(lab: Lab) -> None:
    """Both ends of it, as one incident; its exit status, and not as our own."""
    script = f"{ONE_CONNECT}; sys.exit(7)"
    done = diagnose("--", *python(lab, script, CLOSED))
    assert done.code == 0
    assert f"{errno.ECONNREFUSED}\n" in done.err  # its stdout: ours is one document
    found = report(done)
    assert causes(found) == {"closed-port": 1}
    assert found["findings"][0]["received"] == 1
    assert found["command"]["status"] == 7
    assert found["command"]["signal"] is None
    assert found["command"]["processes"] == 1
    assert found["command"]["argv"][:3] == ["ip", "netns", "exec"]
    assert found["problems"] == []
    pids = {top["process"] for top in found["findings"][0]["who"]["receivers"]}
    assert any(f"[{found['command']['pid']}]" in name for name in pids)


def test_text_report(lab: Lab) -> None:
    """For people: its own output first, then the report with its exit status."""
    script = f"{ONE_CONNECT}; sys.exit(7)"
    done = rsttrace("diagnose", "--", *python(lab, script, CLOSED)).clean()
    assert done.code == 0
    assert done.out.startswith(f"{errno.ECONNREFUSED}\n")
    assert "closed-port" in done.out
    assert re.search(r"ended\s+with\s+status\s+7", done.out)
    assert max(map(len, done.out.splitlines())) <= 80
    assert re.fullmatch(r"rsttrace: watching .* and its children; Ctrl-C: report now\.\n", done.err)


def test_a_child_of_a_child_that_is_reset(lab: Lab) -> None:
    """The server closed with SO_LINGER 0: its end is told as well, for it is on this host."""
    argv = python(lab, READ_UNTIL_RESET, 0)[:-1]
    with serving(lab.listen(), reset) as port:
        line = 'sh -c \'"$@"\' inner "$@"; echo $?'
        done = diagnose("--", "sh", "-c", line, "outer", *argv, str(port))
    found = report(done)
    assert "56\n" in done.err
    assert causes(found) == {"linger-zero": 1}
    assert found["findings"][0]["received"] == 1
    assert found["command"]["processes"] >= 3
    owners = [top["process"] for top in found["findings"][0]["who"]["owners"]]
    assert any(f"[{os.getpid()}]" in name for name in owners)  # the server, this very process


def test_grandchildren_that_live_for_a_moment(lab: Lab) -> None:
    """Nobody finds these in /proc; the kernel told of each."""
    found = report(diagnose("--", *python(lab, GRANDCHILDREN, CLOSED, "40")))
    assert causes(found) == {"closed-port": 40}
    assert found["incidents"] == 40
    assert found["command"]["processes"] == 81


def test_others_are_counted(start: Starter, lab: Lab) -> None:
    """What happens meanwhile on the same port, but is not the command's."""
    reader, writer = os.pipe()
    script = f"sys = __import__('sys'); sys.stdin.read(); {ONE_CONNECT}"
    running = begin(start, "--", *python(lab, script, CLOSED), stdin=reader)
    os.close(reader)
    for _ in range(3):
        knock(lab, CLOSED)
    os.close(writer)
    found = report(running.end().clean())
    assert causes(found) == {"closed-port": 1}
    assert found["watched"]["scoped"]
    assert found["watched"]["others"] >= 6  # both ends of each


def test_stdin_environment_and_directory(tmp_path: Path) -> None:
    """All of it as it was given."""
    done = rsttrace(
        *("diagnose", "-q", "--", "sh", "-c", 'cat; pwd; echo "$GREETING"; echo oops >&2'),
        input="hello\n",
        cwd=tmp_path,
        env=environment(GREETING="good day", PYTHONPATH=str(ROOT)),
    ).clean()
    assert done.code == 0
    assert done.out.startswith(f"hello\n{tmp_path}\ngood day\n")
    assert done.err == "oops\n"
    assert "none of its connections was reset" in done.out


RIGHTS = "id -u; id -g; echo $HOME; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status"


def rights(*argv: str, **sudo: str) -> list[str]:
    """uid, gid, home, CapEff, CapBnd, NoNewPrivs of a command."""
    done = rsttrace(
        *("diagnose", "-q", *argv, "--", "sh", "-c", RIGHTS), env=environment(**sudo)
    ).clean()
    assert done.code == 0, done.err
    return [line.split()[-1] for line in done.out.splitlines()[:6]]


def own_capabilities() -> list[str]:
    status = Path("/proc/self/status").read_text()
    return re.findall(r"^Cap(?:Eff|Bnd):\s*(\w+)", status, re.MULTILINE)


def test_it_runs_as_the_caller_of_sudo() -> None:
    """Without our rights, and without what we gave up (no_new_privs)."""
    sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody"}
    uid, gid, home, effective, bounding, no_new = rights(**sudo)
    assert (uid, gid) == (str(NOBODY), str(NOBODY))
    assert home == "/nonexistent"
    assert int(effective, 16) == 0
    assert bounding == own_capabilities()[1]
    assert no_new == "0"


@pytest.mark.parametrize("argv", [(), ("--as-root",)])
def test_it_runs_as_root(argv: tuple[str, ...]) -> None:
    """Root that did not come by sudo, or is asked for."""
    sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)} if argv else {}
    uid, gid, _, effective, bounding, no_new = rights(*argv, **sudo)
    assert (uid, gid, no_new) == ("0", "0", "0")
    assert [effective, bounding] == own_capabilities()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-command-at-all", "-x"], "there is no command no-such-command-at-all"),
        (["/etc/passwd"], "/etc/passwd cannot be executed"),
        (["./x"], "there is no command ./x"),
    ],
)
def test_no_such_command(tmp_path: Path, argv: list[str], words: str) -> None:
    """One line, before anything is watched."""
    ready = tmp_path / "ready"
    done = rsttrace("diagnose", "--ready-file", str(ready), "--", *argv)
    done.failed(2, words)
    assert not ready.exists()
    assert done.out == ""


def test_killed_command() -> None:
    found = report(diagnose("--", "sh", "-c", "kill -KILL $$"))
    assert (found["command"]["status"], found["command"]["signal"]) == (None, signal.SIGKILL)
    assert found["problems"] == []


def test_it_waits_for_children(lab: Lab) -> None:
    """They outlive the shell that started them; what they do belongs to the report."""
    script = f"sys = __import__('sys'); sys.stdin.read(); {ONE_CONNECT}"
    reader, writer = os.pipe()
    argv = ("sh", "-c", 'exec 3<&0; "$@" <&3 & exit 3', "sh", *python(lab, script, CLOSED))
    with subprocess.Popen(
        command("diagnose", "-j", "--", *argv),
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
    ) as process:
        os.close(reader)
        assert process.stderr
        assert b"watching" in process.stderr.readline()
        assert process.stderr.readline() == (
            b"rsttrace: the command has ended; waiting for the process it left. "
            b"Ctrl-C: report now.\n"
        )
        os.close(writer)
        out, _ = process.communicate(timeout=PATIENCE)
    found = json.loads(out)
    assert causes(found) == {"closed-port": 1}
    assert found["command"]["status"] == 3


def test_it_does_not_wait_for_services(tmp_path: Path) -> None:
    """A daemon in a session of its own may live for years."""
    note = tmp_path / "pid"
    daemon = f"setsid sh -c 'echo $$ > {note}; exec sleep 600' >/dev/null 2>&1 </dev/null &"
    done = diagnose("--", "sh", "-c", f"{daemon} until test -s {note}; do :; done")
    pid = int(note.read_text())
    try:
        assert report(done)["command"]["status"] == 0
        assert runs(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_command_outlives_its_time() -> None:
    """A diagnosis must not kill what it watches; it says that it goes on."""
    line = "exec sleep 600 >/dev/null 2>&1"  # or our reader would wait for it
    done = diagnose("--for", "300ms", "--", "sh", "-c", line)
    found = report(done)
    pid = found["command"]["pid"]
    try:
        assert done.code == 0
        assert found["command"]["status"] is None
        assert found["problems"] == [f"The command still runs (process {pid}); it was left alone."]
        assert runs(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_ctrl_c_with_a_command(start: Starter, lab: Lab) -> None:
    """The terminal sends it to both: the report comes, with how the command ended."""
    plain = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)"  # no traceback of its own
    script = f"{plain}; {ONE_CONNECT}; sys.stdout.flush(); sys.stdin.read()"
    reader, writer = os.pipe()
    argv = python(lab, script, CLOSED)
    running = begin(start, "--", *argv, stdin=reader, start_new_session=True)
    os.close(reader)
    running.wait_for(lambda: f"{errno.ECONNREFUSED}\n" in running.text("err"), "a refusal")
    os.killpg(running.pid, signal.SIGINT)
    done = running.end().clean()
    os.close(writer)
    assert done.code == 0
    assert causes(report(done)) == {"closed-port": 1}
    assert report(done)["command"]["signal"] == signal.SIGINT


# -- a time


def test_for_a_time(start: Starter, lab: Lab) -> None:
    running = begin(start, "--for", "1s", *both_ends(lab))
    knock(lab, CLOSED)
    done = running.end().clean()
    found = report(done)
    assert done.code == 0
    assert causes(found) == {"closed-port": 1}
    assert 1 <= found["watched"]["seconds"] < PATIENCE / 2
    assert done.err.startswith("rsttrace: watching namespace ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_report_now(start: Starter, lab: Lab, number: int) -> None:
    """What happened just before is in it, whole."""
    running = begin(start, "-q", "--for", "1h", "-N", inode(lab))
    abort(lab)
    done = running.stop(number).clean()
    assert done.code == 0
    assert done.err == ""
    found = report(done)
    assert causes(found) == {"linger-zero": 1}
    # only the server's namespace was asked for, and the other end of what happened there
    assert found["findings"][0]["received"] == 1


def test_namespace_has_its_counters(start: Starter, lab: Lab) -> None:
    running = begin(start, "--for", "1h", "-N", inode(lab))
    knock(lab, CLOSED)
    found = report(running.stop().clean())
    assert found["counters"]["TcpOutRsts"] == 1
    assert "TcpAttemptFails" not in found["counters"]  # the client's


def test_a_filter_of_packets(start: Starter, lab: Lab) -> None:
    running = begin(start, "-P", str(CLOSED), *both_ends(lab))
    knock(lab, CLOSED)
    knock(lab, CLOSED + 1)
    found = report(running.stop().clean())
    assert found["incidents"] == 1
    assert found["watched"]["what"].startswith(f"port {CLOSED}, namespace ")


def test_progress_on_a_terminal(start: Starter, lab: Lab) -> None:
    """One line, written again, and gone before the report comes."""
    master, slave = pty.openpty()
    env = environment(TERM="xterm")
    running = begin(start, "--for", "1h", *both_ends(lab), stderr=slave, env=env)
    os.close(slave)
    knock(lab, CLOSED)
    seen = read_until(master, b" of 3600, 2 resets; Ctrl-C: report now")
    running.process.send_signal(signal.SIGINT)
    seen += read_until(master, None)
    os.close(master)
    assert running.process.wait(PATIENCE) == 0
    assert seen.endswith(b"\r\x1b[K")
    assert b"\n" not in seen.replace(b"\r\n", b"")
    assert json.loads((running.directory / "out").read_text())["incidents"] == 1


def read_until(descriptor: int, words: bytes | None) -> bytes:
    """Until these words came, or the end."""
    seen = b""
    while not words or words not in seen:
        assert select.select([descriptor], [], [], PATIENCE)[0], seen
        try:
            seen += os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            break
    return seen


# -- processes


def test_processes_and_their_children(start: Starter, lab: Lab) -> None:
    """A child that is there, one that comes later, and a process that is another one's."""
    listeners = [lab.listen() for _ in range(3)]

    def serve(listener: socket.socket) -> None:
        while True:
            connection = listener.accept()[0]
            connection.recv(1)
            reset(connection)

    def parent() -> None:
        if os.fork() == 0:
            serve(listeners[0])
        connection = listeners[1].accept()[0]
        if os.fork() == 0:
            connection.close()
            serve(listeners[1])
        connection.close()
        signal.pause()

    pid = lab.spawn("server", parent)
    other = lab.spawn("server", lambda: serve(listeners[2]))
    wait_for(lambda: runs(pid), "the server")
    wait_for(lambda: children(pid) == 1, "its child")
    running = begin(start, "--pid", str(pid))
    lab.connect(listeners[1]).recv(1)  # the end: then the second child is there
    ports = []
    for listener in listeners:
        client = lab.connect(listener)
        client.send(b"x")
        lab.wait_reset(client)
        ports.append(listener.getsockname()[1])
    lonely = children_of(pid)
    found = report(running.stop().clean())
    assert {f["cause"] for f in found["findings"]} == {"linger-zero"}
    services = {s["endpoint"] for f in found["findings"] for s in f["endpoints"]["services"]}
    assert {int(name.rpartition(":")[2]) for name in services} == set(ports[:2])
    assert found["watched"]["others"] >= 2
    assert f"[{pid}] and its children" in found["watched"]["what"]
    for child in (*lonely, other):
        os.kill(child, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def children(pid: int) -> int:
    return len(children_of(pid))


def test_no_such_process() -> None:
    rsttrace("diagnose", "--pid", "4194305").failed(2, "there is no process 4194305")
    rsttrace("-p", "4194305").failed(2, "there is no process 4194305")


def test_hooks_are_not_attached_where_nobody_asked(start: Starter, lab: Lab) -> None:
    """Every fork of the host would pay for it."""
    trace = start.trace("-j", *both_ends(lab))
    assert "sched_process_fork" not in trace.stop().clean().objects[0]["hooks"]


# -- one target


def probe(lab: Lab, port: int, *argv: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report, and the one attempt, from the client's namespace to the server's port."""
    target = f"{lab.address['server']}:{port}"
    options = ("-N", inode(lab, "client"), "--wait", "300ms", *argv)
    done = diagnose(target, *options)
    assert done.code == 0, done.err
    found = report(done)
    (attempt,) = found["probe"]["attempts"]
    assert (attempt["address"], attempt["port"]) == (lab.address["server"], port)
    assert attempt["local_address"] == lab.address["client"]
    assert found["probe"]["target"] == target
    return found, attempt


def test_target_that_refuses(lab: Lab) -> None:
    found, attempt = probe(lab, CLOSED)
    assert (attempt["outcome"], attempt["when"], attempt["errno"]) == (
        *("refused", "connect"),
        "ECONNREFUSED",
    )
    assert causes(found) == {"closed-port": 1}
    assert found["findings"][0]["received"] == 1
    remote = found["findings"][0]["example"]["remote"]
    assert remote == {"address": lab.address["client"], "port": attempt["local_port"]}


def test_target_that_resets_after_the_tls_hello(lab: Lab) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.close()  # with the rest of the hello unread

    with serving(lab.listen(), serve) as port:
        found, attempt = probe(lab, port, "--tls")
    assert (attempt["outcome"], attempt["when"], attempt["errno"]) == ("reset", "tls", "ECONNRESET")
    assert found["probe"]["tls"]
    assert causes(found) == {"unread-data-on-close": 1}


def test_silent_target(lab: Lab) -> None:
    with serving(lab.listen(), lambda connection: None) as port:
        found, attempt = probe(lab, port)
        assert (attempt["outcome"], attempt["errno"]) == ("connected", None)
        assert causes(found) == {}
        found, attempt = probe(lab, port, "--tls", "--timeout", "300ms")
    assert (attempt["outcome"], attempt["when"]) == ("timeout", "tls")
    assert causes(found) == {}


def test_target_that_answers(lab: Lab) -> None:
    with serving(lab.listen(), lambda connection: connection.sendall(b"220 hello\r\n")) as port:
        found, attempt = probe(lab, port)
    assert (attempt["outcome"], attempt["received"]) == ("answered", 11)
    assert causes(found) == {}


def test_unreachable_target(lab: Lab) -> None:
    """No route leads there from that namespace."""
    done = diagnose("192.0.2.1:80", "-N", inode(lab, "client"))
    (attempt,) = report(done)["probe"]["attempts"]
    assert (attempt["outcome"], attempt["errno"]) == ("unreachable", "ENETUNREACH")


def test_firewall_that_refuses(lab: Lab) -> None:
    """The RST is made by the server's rules; it names them."""
    lab.firewall("server", "input", f"tcp dport {CLOSED} reject with tcp reset")
    found, attempt = probe(lab, CLOSED)
    assert attempt["outcome"] == "refused"
    assert causes(found) == {"firewall-reject": 1}


def test_others_of_the_same_target(start: Starter, lab: Lab) -> None:
    """A client that somebody else runs against the same port is not ours."""
    with serving(lab.listen(), lambda connection: None) as port:
        options = ("-N", inode(lab, "client"), "--wait", "1h")
        running = begin(start, f"{lab.address['server']}:{port}", *options)
        wait_for(lambda: len(lab.connections("server", port)) == 1, "a visitor")
        other = lab.socket("client")
        other.connect((lab.address["server"], port))  # waits in the queue for ever
        tcp.linger_zero(other)
        other.close()
        wait_for(lambda: len(lab.connections("server", port)) == 1, "the other's end")
        found = report(running.stop().clean())
    assert causes(found) == {}
    assert found["watched"]["others"] >= 2
    assert found["probe"]["attempts"][0]["text"] == "Not finished: it was interrupted."


def test_probe_runs_with_the_callers_rights(start: Starter, lab: Lab) -> None:
    sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    with serving(lab.listen(), lambda connection: None) as port:
        options = ("-N", inode(lab, "client"), "--wait", "1h")
        target = f"{lab.address['server']}:{port}"
        running = begin(start, target, *options, env=environment(**sudo))
        wait_for(lambda: len(lab.connections("server", port)) == 1, "a visitor")
        (pid,) = [p for p in children_of(running.pid) if netns_of(p) == lab.netns["client"]]
        status = Path(f"/proc/{pid}/status").read_text()
        running.stop().clean()
    assert re.search(rf"^Uid:\s+{NOBODY}\s+{NOBODY}\s+{NOBODY}", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert not Path(f"/proc/{pid}").exists()


def netns_of(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def test_name_that_does_not_exist(lab: Lab) -> None:
    """There is no name server in that namespace."""
    done = diagnose("no-such-host.invalid:80", "-N", inode(lab, "client"), "--timeout", "20s")
    found = report(done)
    assert done.code == 0
    assert found["probe"]["attempts"] == []
    assert "no-such-host.invalid was not found" in found["probe"]["problem"]


# -- exit codes


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [
        (("harmful",), 10),
        (("any",), 10),
        (("closed-port",), 10),
        (("linger-zero",), 0),
        (("linger-zero", "closed-port"), 10),
        ((), 0),
    ],
)
def test_fail_on(lab: Lab, fail_on: tuple[str, ...], code: int) -> None:
    options = [word for cause in fail_on for word in ("--fail-on", cause)]
    done = diagnose(*options, "--", *python(lab, ONE_CONNECT, CLOSED))
    assert done.code == code
    assert causes(report(done)) == {"closed-port": 1}


def test_nothing_to_fail_on() -> None:
    done = diagnose("--fail-on", "any", "--fail-on", "harmful", "--strict", "--", "true")
    assert done.code == 0


def test_recording_of_a_diagnosis(lab: Lab, tmp_path: Path) -> None:
    """Keeps all that happened, whoever's it was; explain tells it again."""
    record = tmp_path / "out.rec"
    diagnose("--record", str(record), "--", *python(lab, ONE_CONNECT, CLOSED))
    again = rsttrace("explain", str(record), "-j").clean()
    mine = [r for r in again.resets if r["netns"]["inode"] in lab.netns.values()]
    assert sorted(r["cause"] for r in mine) == ["closed-port", "connection-refused"]
