"""argv of ``diagnose``: what it means, and what means nothing."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click
import pytest

from rsttrace.cli import COMMANDS, run
from rsttrace.cli.hints import hint
from rsttrace.cli.params import Duration, Pid
from rsttrace.diagnose.request import Request, what_of, words_of
from rsttrace.errors import EXIT_OK, EXIT_USAGE
from rsttrace.kernel import loader
from rsttrace.kernel.filters import Filter

CaptureFixture = pytest.CaptureFixture[str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that argv led to; nothing is watched."""
    from rsttrace.diagnose import run as wiring

    found: list[Request] = []

    def diagnose(request: Request) -> int:
        found.append(request)
        return EXIT_OK

    monkeypatch.setattr(wiring, "diagnose", diagnose)
    return found


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A usage error must be seen before anything else is."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a usage error went unnoticed")

    monkeypatch.setattr(loader, "check_rights", refuse)
    monkeypatch.setattr(loader, "import_bcc", refuse)


def request_of(asked: list[Request], *argv: str) -> Request:
    assert run(["diagnose", *argv]) == EXIT_OK
    (request,) = asked
    asked.clear()
    return request


def words(text: str) -> list[str]:
    return text.split()


def changes(request: Request) -> dict[str, Any]:
    """What differs from a request for the whole host."""
    plain = Request()
    names = [field.name for field in dataclasses.fields(plain)]
    return {n: getattr(request, n) for n in names if getattr(request, n) != getattr(plain, n)}


# -- what it means


def test_the_whole_host(asked: list[Request]) -> None:
    request = request_of(asked)
    assert changes(request) == {}
    assert not request.scoped
    assert not request.filtered


def test_a_command(asked: list[Request]) -> None:
    """Everything after the first -- is its own, also what looks like an option of ours."""
    request = request_of(asked, "-j", "--", "curl", "-v", "--", "--for", "x:1")
    assert changes(request) == {
        "as_json": True,
        "command": ("curl", "-v", "--", "--for", "x:1"),
    }
    assert request.scoped


def test_a_target(asked: list[Request]) -> None:
    request = request_of(asked, "[fd00::7]:8443", "--tls", "--timeout", "500ms", "--wait", "1m")
    assert (request.target.host, request.target.port) == ("fd00::7", 8443)  # type: ignore[union-attr]
    assert (request.tls, request.timeout_s, request.wait_s) == (True, 0.5, 60.0)
    assert request.scoped


@pytest.mark.parametrize(
    ("url", "port", "tls"),
    [("https://web/x?y", 443, True), ("http://web", 80, False), ("https://web:8443", 8443, True)],
)
def test_a_url(asked: list[Request], url: str, port: int, tls: bool) -> None:
    request = request_of(asked, url)
    assert request.target
    assert (request.target.host, request.target.port, request.tls) == ("web", port, tls)


def test_filters(asked: list[Request]) -> None:
    own = Path("/proc/self/ns/net").stat().st_ino
    request = request_of(
        asked, *words("-P 80,443 -4 -a 10.0.0.7 -L 1 -D 2-3 -N"), str(own), "-p", str(os.getpid())
    )
    ports, address = ((80, 80), (443, 443)), ("10.0.0.7",)
    # a namespace is no filter of packets: its resets have other ends elsewhere
    assert changes(request) == {
        "packets": Filter(address, ports, ((1, 1),), ((2, 3),), 4),
        "netns": (own,),
        "pids": (os.getpid(),),
    }
    assert request.filtered
    assert request_of(asked, "-N", str(own)).scoped
    assert not request_of(asked, "-N", str(own)).filtered


def test_fail_on(asked: list[Request]) -> None:
    """Repeatable; a cause also as people write it."""
    request = request_of(asked, *words("--fail-on harmful --fail-on ANY --fail-on linger_zero"))
    assert request.fail_on == ("harmful", "any", "linger-zero")


def test_the_rest(asked: list[Request], tmp_path: Path) -> None:
    record, ready = str(tmp_path / "rec"), str(tmp_path / "ready")
    files = ("--record", record, "--ready-file", ready)
    request = request_of(asked, *words("-q -v --strict --color never --container web"), *files)
    assert changes(request) == {
        "quiet": True,
        "verbose": True,
        "strict": True,
        "colour": "never",
        "container": "web",
        "record": Path(record),
        "ready_file": Path(ready),
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        (" 7 ", 7.0),
    ],
)
def test_durations(asked: list[Request], text: str, seconds: float) -> None:
    assert request_of(asked, "--for", text).seconds == pytest.approx(seconds)
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "3x", "-1", "0", "0ms", "1 s s", "1e3", "inf", "nan", "1h30m", "30 seconds", "9999h"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


# -- what means nothing


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--", "A command is missing after --"),
        ("web", "'web' is no HOST:PORT"),
        ("sh", "To watch a command: rsttrace diagnose -- sh"),
        ("web:80 other:80", "unexpected extra argument"),
        ("sh -c true", "No such option"),
        ("10.0.0.7", "has no port: write 10.0.0.7:443"),
        ("fd00::7", "has no port: write [fd00::7]:443"),
        ("web:0", "not within 1-65535"),
        ("web:65536", "not within 1-65535"),
        ("web:http", "is no HOST:PORT"),
        (":80", "is no HOST:PORT"),
        ("[10.0.0.7]:80", "is no IPv6 address"),
        ("ftp://web/", "'ftp' has no port that rsttrace knows"),
        ("https://", "names no host"),
        ("https://web:x/", "is no URL"),
        ("web:80 -- true", "One thing at a time"),
        ("--pid 1 -- true", "--pid has no place with CMD"),
        ("web:80 --pid 1", "--pid has no place with HOST:PORT"),
        ("-N 4026531840 -- true", "ip netns exec NAME CMD"),
        ("--container web -- true", "ip netns exec NAME CMD"),
        ("--container web -N 4026531840", "--netns or --container"),
        ("web:80 -P 80", "--port has no place with it"),
        ("web:80 -L 80", "--local-port has no place with it"),
        ("web:80 -a 10.0.0.1", "--address has no place with it"),
        ("web:80 -N 1 -N 2", "from one namespace only"),
        ("--tls", "--tls is for HOST:PORT only"),
        ("--timeout 1", "--timeout is for HOST:PORT only"),
        ("--wait 1 -- true", "--wait is for HOST:PORT only"),
        ("--as-root", "--as-root is for a command"),
        ("web:80 --as-root", "--as-root is for a command"),
        ("--for soon", "is no time"),
        ("--for 0", "is not between"),
        ("--pid 0", "not in the range"),
        ("--pid 4194305", "there is no process 4194305"),  # more than the kernel can have
        ("--pid nginx", "not a valid integer"),
        ("--fail-on lingerzero", "did you mean linger-zero"),
        ("--fail-on zzzzzz", "see: rsttrace causes"),
        ("-P http", "no port"),
        ("-N no-such-namespace", "no network namespace"),
        ("-1", "No such option"),
    ],
)
def test_usage_errors(argv: str, words: str, capsys: CaptureFixture) -> None:
    assert run(["diagnose", *argv.split()]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert words in err.splitlines()[-1]


def test_a_thread_is_no_process() -> None:
    """Sockets belong to processes; top and ps -L show numbers of threads."""
    leave, numbers = threading.Event(), []

    def live() -> None:
        numbers.append(threading.get_native_id())
        leave.wait()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        while not numbers:
            pass
        with pytest.raises(click.BadParameter, match=f"is a thread of process {os.getpid()}"):
            Pid().convert(str(numbers[0]), None, None)
    finally:
        leave.set()
        thread.join()
    assert Pid().convert(str(os.getpid()), None, None) == os.getpid()


@pytest.mark.usefixtures("no_kernel")
def test_trace_says_that_a_process_does_not_exist(capsys: CaptureFixture) -> None:
    """It would wait for ever for resets of nobody."""
    assert run(["-p", "4194305"]) == EXIT_USAGE
    assert "there is no process 4194305" in capsys.readouterr().err


def test_help(capsys: CaptureFixture) -> None:
    assert run(["diagnose", "-h"]) == EXIT_OK
    out = capsys.readouterr().out
    assert "Usage: rsttrace diagnose [OPTIONS] [HOST:PORT | -- CMD ARGS...]" in out
    assert max(map(len, out.splitlines())) <= 100
    for word in ("Exit codes:", "10 what --fail-on", "left alone", "-- curl"):
        assert word in out


def test_argv_is_judged_before_the_compiler_is_imported() -> None:
    """Where bcc, pyroute2 and ssl are not needed they cost nothing."""
    script = (
        "import sys; from rsttrace.cli import run; assert run(['diagnose', '--for', 'x']) == 2; "
        "print([m for m in ('bcc', 'pyroute2', 'ssl', 'rsttrace.session') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# -- in words


def test_words_of_what_is_watched() -> None:
    everything = Filter(("10.0.0.7", "fd00::7"), ((80, 80), (8000, 8010)), family=6)
    assert words_of(everything) == [
        "port 80,8000-8010",
        "address 10.0.0.7 or fd00::7",
        "IPv6 only",
    ]
    assert words_of(Filter(local_ports=((1, 1),), remote_ports=((2, 2),))) == [
        "local port 1",
        "remote port 2",
    ]
    assert what_of("", "", [], Filter()) == "this host"
    assert what_of("nginx[1] and its children", "", ["blue", "red"], Filter(family=4)) == (
        "nginx[1] and its children, IPv4 only, namespace blue or red"
    )


# -- words that are no command


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("diagnos", "Did you mean: rsttrace diagnose?"),
        ("443", "rsttrace -P 443"),
        ("443", "rsttrace diagnose --pid 443"),
        ("10.0.0.7", "rsttrace -a 10.0.0.7"),
        ("fd00::7", "rsttrace -a fd00::7"),
        ("web:443", "rsttrace diagnose web:443"),
        ("https://web/", "rsttrace diagnose https://web/"),
        ("linger-zero", "rsttrace explain linger-zero"),
        ("ECONNRESET", "rsttrace explain ECONNRESET"),
        ("true", "rsttrace diagnose -- true ..."),
        ("zzzzzz", "See: rsttrace --help"),
    ],
)
def test_hints(word: str, says: str, capsys: CaptureFixture) -> None:
    assert says in hint(word, COMMANDS)
    assert run([word]) == EXIT_USAGE
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"No such command '{word}'" in last
    assert says in last


def test_a_number_that_is_no_port() -> None:
    assert "-P" not in hint("70000", COMMANDS)


def test_hint_of_a_program_that_runs() -> None:
    comm = Path("/proc/self/comm").read_text().strip()
    assert "rsttrace diagnose --pid " in hint(comm, ())
