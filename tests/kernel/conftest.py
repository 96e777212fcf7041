"""What the tests on the running kernel share: rsttrace as a real process, and acts that reset.

Nothing here sleeps and hopes: a test waits for a file, a line or a state, with a limit far
beyond what a busy machine needs. Every process and namespace is one the test made itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rsttrace.lab import tcp
from rsttrace.lab.net import Lab
from rsttrace.session import Session

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
PATIENCE = 60.0  # seconds; reached only when something is broken
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """All of this ring loads BPF programs or makes namespaces."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


def environment(**more: str) -> dict[str, str]:
    """The environment of a plain root shell: no sudo, no colours, no width of our terminal."""
    dropped = ("SUDO_", "COLUMNS", "LINES", "NO_COLOR", "RSTTRACE", "PYTHON")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}


def in_private_mounts(script: str) -> tuple[str, ...]:
    """A command prefix: run ``script`` (mounts) in a mount namespace of its own, then exec."""
    unshare = ("unshare", "--mount", "--propagation", "private")
    return (*unshare, "sh", "-e", "-c", f'{script}\nexec "$@"', "sh")


@dataclass(frozen=True)
class Done:
    """What a finished run of rsttrace said."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """stdout as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def resets(self) -> list[dict[str, Any]]:
        """The ``reset`` objects of a ``-j`` run."""
        return [o for o in self.objects if o["type"] == "reset"]

    def clean(self) -> Done:
        """Assert that nothing looks like a crash."""
        assert "Traceback" not in self.err
        assert "fault in rsttrace" not in self.err
        assert "Exception ignored" not in self.err
        return self

    def failed(self, code: int, *words: str) -> None:
        """Assert this exit code, and one clear line that has these words."""
        self.clean()
        assert self.code == code, self.err
        assert any(all(w in line for w in words) for line in self.err.splitlines()), self.err


def command(*argv: str, prefix: tuple[str, ...] = ()) -> list[str]:
    """The argv of a run of this checkout."""
    return [*prefix, sys.executable, "-m", "rsttrace", *argv]


def run(argv: list[str], **options: Any) -> Done:
    """Run any command to its end. Options go to subprocess.run()."""
    options = {"env": environment(), "cwd": ROOT, "capture_output": True, **options}
    done = subprocess.run(argv, text=True, timeout=PATIENCE, check=False, **options)
    return Done(done.returncode, done.stdout or "", done.stderr or "")


def rsttrace(*argv: str, prefix: tuple[str, ...] = (), **options: Any) -> Done:
    """Run this checkout's rsttrace to its end."""
    return run(command(*argv, prefix=prefix), **options)


def python(script: str, *argv: str, prefix: tuple[str, ...] = (), **options: Any) -> Done:
    """Run a script that has this checkout's package."""
    return run([*prefix, sys.executable, "-c", script, *argv], **options)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until the condition holds."""
    tcp.wait_for(condition, what, PATIENCE)


@dataclass
class Running:
    """A process of rsttrace whose output goes to files, so that no pipe can fill up."""

    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self, name: str) -> str:
        """What it has written so far to ``out`` or ``err``: whole lines only."""
        raw = (self.directory / name).read_bytes()
        return raw[: raw.rfind(b"\n") + 1].decode()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Poll until the condition holds; fail at once if the process ended before."""
        held = False

        def held_or_ended() -> bool:
            nonlocal held
            held = condition()  # asked once: it may hold for a moment only
            return held or self.process.poll() is not None

        wait_for(held_or_ended, what)
        assert held, f"{what}: ended with {self.process.poll()}: {self.text('err')}"

    def wait_ready(self) -> None:
        """Wait until it traces."""
        self.wait_for((self.directory / "ready").exists, "the ready file")

    def wait_resets(self, count: int) -> None:
        """Wait for so many resets in the output of ``-j``."""
        self.wait_for(lambda: self.text("out").count('"type": "reset"') >= count, f"{count} resets")

    def end(self) -> Done:
        """Wait for the end."""
        code = self.process.wait(PATIENCE)
        out, err = ((self.directory / name).read_text() for name in ("out", "err"))
        return Done(code, out, err)

    def stop(self, number: int = signal.SIGINT) -> Done:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.end()


@dataclass
class Starter:
    """Starts rsttrace in the background; what still runs at the end of the test is killed."""

    directory: Path
    started: list[Running] = field(default_factory=list)

    def __call__(self, argv: list[str], **options: Any) -> Running:
        """Any command line. Further options go to Popen."""
        directory = self.directory / f"run{len(self.started)}"
        directory.mkdir()
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            options = {"stdout": out, "stderr": err, "env": environment(), "cwd": ROOT, **options}
            process = subprocess.Popen(argv, **options)
        self.started.append(Running(process, directory))
        return self.started[-1]

    def soon(self, *argv: str, prefix: tuple[str, ...] = (), **options: Any) -> Running:
        """A live trace that may not trace yet: see ``Running.wait_ready``."""
        ready = str(self.directory / f"run{len(self.started)}" / "ready")
        return self(command(*argv, "--ready-file", ready, prefix=prefix), **options)

    def trace(self, *argv: str, prefix: tuple[str, ...] = (), **options: Any) -> Running:
        """A live trace; returns once it traces."""
        running = self.soon(*argv, prefix=prefix, **options)
        running.wait_ready()
        return running

    def kill_all(self) -> None:
        """End what a failed test left behind."""
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """A Starter for one test."""
    starter = Starter(tmp_path)
    yield starter
    starter.kill_all()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two namespaces joined by IPv4; their loopback devices have both families."""
    with Lab(socket.AF_INET) as made:
        yield made


@pytest.fixture(scope="session")
def public_copy() -> Iterator[Path]:
    """The program where user nobody can read it; a checkout may be in a private directory."""
    with tempfile.TemporaryDirectory(prefix="rsttrace-test-") as name:
        for part in ("rsttrace", "bpf"):
            shutil.copytree(ROOT / part, Path(name, part), ignore=shutil.ignore_patterns("*.pyc"))
        subprocess.run(["chmod", "-R", "a+rX", name], check=True)
        yield Path(name)


@pytest.fixture
def as_nobody(public_copy: Path) -> Callable[..., Done]:
    """Run rsttrace as user nobody, with the interpreter this one was made from."""
    python = os.path.realpath(sys.executable)

    def start(*argv: str) -> Done:
        env = environment(PYTHONPATH=str(public_copy))
        return run([*AS_NOBODY, python, "-m", "rsttrace", *argv], env=env, cwd="/")

    return start


@contextlib.contextmanager
def live_session(**options: Any) -> Iterator[Session]:
    """A trace inside this process."""
    with Session(**options) as session:
        session.learn_host()
        session.pipeline.since_ns = None  # the labs' namespaces are younger than the trace
        yield session
    # Session.close() leaves this file to the garbage collector, which is a warning here
    kallsyms = session.names._symbols._file
    if kallsyms:
        kallsyms.close()


# -- acts that reset ---------------------------------------------------------------------------


def knock(lab: Lab, port: int, address: str = "", end: str = "client") -> None:
    """Connect to a closed port: one RST, sent there and received here."""
    address = address or lab.address["server"]
    client = lab.socket(end, socket.AF_INET6 if ":" in address else socket.AF_INET)
    tcp.must_fail(errno.ECONNREFUSED, client.connect, (address, port))


def abort(lab: Lab) -> None:
    """A connected pair; the server closes with SO_LINGER 0: one RST from server to client."""
    client, server = lab.pair()
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)


def inode(lab: Lab, end: str = "server") -> str:
    """For ``-N``: only this namespace, whatever else happens on the machine."""
    return str(lab.netns[end])


def both_ends(lab: Lab) -> tuple[str, ...]:
    """``-N`` for both namespaces of the lab."""
    return ("-N", inode(lab, "client"), "-N", inode(lab, "server"))
