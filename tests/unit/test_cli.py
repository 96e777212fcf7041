"""argv in, exit code out: whatever the user can mistype is one clear line, never a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from rsttrace import __version__, cli
from rsttrace.causes import catalogue, words
from rsttrace.cli import causes, run
from rsttrace.cli.params import Address, Netns, Ports
from rsttrace.errors import (
    EXIT_CANNOT_TRACE,
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_USAGE,
    CannotTrace,
    RsttraceError,
)
from rsttrace.kernel import loader
from rsttrace.output import ReaderGone

from .labfiles import lab_file

CaptureFixture = pytest.CaptureFixture[str]
LAB = str(lab_file("linger-zero-established-v4").path)


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may come so far as to ask the kernel."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a usage error went unnoticed")

    monkeypatch.setattr(loader, "check_rights", refuse)
    monkeypatch.setattr(loader, "import_bcc", refuse)


def fails(capsys: CaptureFixture, code: int, *argv: str) -> str:
    """The complaint of a command line that cannot work."""
    assert run(list(argv)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "fault in rsttrace" not in err
    (line,) = (x for x in err.splitlines() if x.startswith(("Error: ", "rsttrace: ")))
    return f"{line}\n{err}"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nosuch"], "No such option"),
        (["trace", "--nosuch"], "No such option"),
        (["nosuch"], "No such command 'nosuch'"),
        (["trace", "extra"], "unexpected extra argument"),
        (["-P", "http"], "no port"),
        (["-P", ""], "no port"),
        (["-P", "80,"], "no port"),
        (["-P", "0"], "within 1-65535"),
        (["-P", "65536"], "within 1-65535"),
        (["-P", "443-80"], "within 1-65535"),
        (["-P", "-80"], "-P"),
        (["-L", "1-2-3"], "no port"),
        (["-D", "80;443"], "no port"),
        (["-a", "example.org"], "no IP address"),
        (["-a", "10.0.0.256"], "no IP address"),
        (["-a", "10.0.0.0/8"], "no IP address"),
        (["-N", "no-such-namespace"], "no network namespace 'no-such-namespace'"),
        (["-N", "pid:0"], "no network namespace"),
        (["-N", "pid:"], "no network namespace"),
        (["-N", "./none"], "no network namespace"),
        (["-p", "0"], "not in the range"),
        (["-p", "nginx"], "not a valid integer"),
        (["-c", "0"], "not in the range"),
        (["-d", "0"], "not in the range"),
        (["-d", "-1"], "not in the range"),
        (["-d", "soon"], "not a valid float"),
        (["--color", "blue"], "not one of"),
        (["-P"], "requires an argument"),
        (["explain"], "Missing argument"),
        (["explain", "a", "b"], "unexpected extra argument"),
        (["explain", "no-such-thing-at-all"], "is no cause"),
        (["lab"], ""),
        (["lab", "nosuch"], "No such command"),
        (["lab", "run"], "Missing argument"),
        (["lab", "run", "nosuch"], "there is no lab 'nosuch'"),
        (["causes", "extra"], "unexpected extra argument"),
        (["doctor", "--nosuch"], "No such option"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_usage_errors(argv: list[str], words: str, capsys: CaptureFixture) -> None:
    if argv == ["lab"]:  # click shows the help of a group that needs a command
        assert run(argv) == EXIT_USAGE
        assert "Traceback" not in capsys.readouterr().err
        return
    assert words in fails(capsys, EXIT_USAGE, *argv)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("linger-zro", "linger-zero"),
        ("unread-data", "unread-data-on-close"),
        ("closed_port", "closed-port"),
        ("ECONNRESETT", "ECONNRESET"),
    ],
)
def test_did_you_mean(typed: str, meant: str, capsys: CaptureFixture) -> None:
    text = fails(capsys, EXIT_USAGE, "explain", typed)
    assert f"{typed!r} is no cause" in text
    assert "Did you mean" in text
    assert meant in text


def test_nothing_like_it(capsys: CaptureFixture) -> None:
    assert "rsttrace causes" in fails(capsys, EXIT_USAGE, "explain", "zzzzzz")


# -- parameter types -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("80", ((80, 80),)),
        ("80,443", ((80, 80), (443, 443))),
        ("8000-8010,9000", ((8000, 8010), (9000, 9000))),
        ("1-65535", ((1, 65535),)),
    ],
)
def test_ports(text: str, ranges: Any) -> None:
    assert Ports().convert(text, None, None) == ranges
    assert Ports().convert(ranges, None, None) == ranges


@pytest.mark.parametrize("text", ["80-", "80-90-", "0x50", "80.0"])
def test_what_only_looks_like_a_port(text: str) -> None:
    """Half a range must not quietly become one port."""
    with pytest.raises(click.BadParameter):
        Ports().convert(text, None, None)


def test_address() -> None:
    assert Address().convert("2001:DB8::0:1", None, None) == "2001:db8::1"
    assert Address().convert("10.0.0.1", None, None) == "10.0.0.1"


def test_netns(tmp_path: Path) -> None:
    own = Path("/proc/self/ns/net").stat().st_ino
    assert Netns().convert("4026531840", None, None) == 4026531840
    assert Netns().convert("pid:self", None, None) == own
    assert Netns().convert("/proc/self/ns/net", None, None) == own
    assert Netns().convert(own, None, None) == own


@pytest.mark.parametrize("text", ["/etc/passwd", "/", "/proc/self/ns/mnt", "²"])
def test_what_is_no_namespace(text: str) -> None:
    """A file that is no network namespace would match nothing, and nobody would know why."""
    with pytest.raises(click.BadParameter):
        Netns().convert(text, None, None)


# -- what works without the kernel -----------------------------------------------------------------


def says(capsys: CaptureFixture, *argv: str) -> str:
    assert run(list(argv)) == EXIT_OK
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_version(capsys: CaptureFixture) -> None:
    assert says(capsys, "--version") == f"rsttrace, version {__version__}\n"
    assert says(capsys, "-V") == f"rsttrace, version {__version__}\n"


@pytest.mark.parametrize("command", ["", "trace", "explain", "causes", "doctor", "lab run"])
def test_help(command: str, capsys: CaptureFixture) -> None:
    out = says(capsys, *command.split(), "-h")
    assert "Usage: rsttrace" in out
    assert max(map(len, out.splitlines())) <= 100


def test_help_lists_every_command(capsys: CaptureFixture) -> None:
    out = says(capsys, "--help")
    for name in cli.COMMANDS:
        assert f"  {name} " in out


def test_causes(capsys: CaptureFixture) -> None:
    out = says(capsys, "causes")
    assert all(cause in out for cause in catalogue())
    objects = [json.loads(line) for line in says(capsys, "causes", "-j").splitlines()]
    assert [o["id"] for o in objects] == list(catalogue())
    assert all(o["schema"] == 1 and o["type"] == "cause" for o in objects)


@pytest.mark.parametrize("cause", catalogue())
def test_explain_cause(cause: str, capsys: CaptureFixture) -> None:
    assert says(capsys, "explain", cause).startswith(f"{cause}: ")


@pytest.mark.parametrize("word", words())
def test_explain_word(word: str, capsys: CaptureFixture) -> None:
    assert word in says(capsys, "explain", word)


@pytest.mark.parametrize(
    "word",
    ["econnreset", "SKB_DROP_REASON_NO_SOCKET", "SK_RST_REASON_NO_SOCKET", "TcpExtTCPAbortOnClose"],
)
def test_explain_word_as_people_write_it(word: str, capsys: CaptureFixture) -> None:
    assert "MEANING" in says(capsys, "explain", word)


@pytest.mark.parametrize("name", [n for n in catalogue() if n in words()])
def test_cause_comes_before_a_word_of_the_same_name(name: str, capsys: CaptureFixture) -> None:
    assert says(capsys, "explain", name).startswith(f"{name}: ")


def test_explain_file(capsys: CaptureFixture) -> None:
    out = says(capsys, "explain", LAB)
    assert "linger-zero  (certain)" in out
    assert "2 resets, 0 of them harmless; no records lost." in out
    assert "because" in says(capsys, "explain", LAB, "-v")
    assert says(capsys, "explain", LAB, "-1").splitlines()[0].startswith("TIME")
    assert "CONFIDENCE" in says(capsys, "explain", LAB, "-1w")
    first = says(capsys, "explain", LAB, "-1t").splitlines()[1]
    assert first.split()[0] == "0.000000"
    kinds = [json.loads(x)["type"] for x in says(capsys, "explain", LAB, "-j").splitlines()]
    assert kinds == ["start", "reset", "reset", "summary"]


@pytest.mark.parametrize(
    ("options", "colour"),
    [([], False), (["--color", "always"], True), (["--color", "never"], False)],
)
def test_colour(options: list[str], colour: bool, capsys: CaptureFixture) -> None:
    assert ("\x1b[" in says(capsys, "explain", LAB, *options)) is colour


def test_explain_what_is_no_recording(tmp_path: Path, capsys: CaptureFixture) -> None:
    path = tmp_path / "text"
    path.write_text("hello\n")
    assert "is not a recording" in fails(capsys, EXIT_FAILURE, "explain", str(path))
    assert "Is a directory" in fails(capsys, EXIT_FAILURE, "explain", str(tmp_path))


def test_lab_list(capsys: CaptureFixture) -> None:
    listed = says(capsys, "lab", "list")
    assert "closed-port/listener-just-left" in listed
    assert max(map(len, listed.splitlines())) <= 80
    said = " ".join(listed.split())
    assert "fill socketserver's queue of 5, and tcp_abort_on_overflow is 1. servers/" in said


@pytest.mark.parametrize("option", ["-1", "-w", "-t"])
def test_a_report_lists_no_resets(option: str, capsys: CaptureFixture) -> None:
    problem = fails(capsys, EXIT_USAGE, "explain", LAB, "--report", option)
    assert f"{option} has no place with --report" in problem
    assert says(capsys, "explain", LAB, "--report", "-T").count("Watched: ") == 1


# -- failures --------------------------------------------------------------------------------------


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let ``rsttrace causes`` fail in this way; stdout stays as it is."""

    def callback(**_: object) -> None:
        raise error

    monkeypatch.setattr(causes.command, "callback", callback)
    monkeypatch.setattr(cli, "silence_stdout", lambda: None)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RsttraceError("it broke.", "Mend it."), EXIT_FAILURE, "rsttrace: it broke."),
        (CannotTrace("no root.", "Run: sudo"), EXIT_CANNOT_TRACE, "rsttrace: no root."),
        (RsttraceError("bad.", "", EXIT_USAGE), EXIT_USAGE, "rsttrace: bad."),
        (PermissionError(13, "Permission denied", "/x"), EXIT_FAILURE, "/x: Permission denied."),
        (OSError(28, "No space left on device"), EXIT_FAILURE, "No space left on device."),
    ],
)
def test_errors_become_one_line(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: CaptureFixture,
) -> None:
    raising(monkeypatch, error)
    assert run(["causes"]) == code
    err = capsys.readouterr().err
    assert words in err
    hint = getattr(error, "hint", "")
    assert err.splitlines()[1:] == ([f"  {hint}"] if hint else [])


@pytest.mark.parametrize(
    ("error", "code"),
    [(ReaderGone(), EXIT_OK), (BrokenPipeError(), EXIT_OK), (KeyboardInterrupt(), 130)],
)
def test_quiet_ends(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture
) -> None:
    raising(monkeypatch, error)
    assert run(["causes"]) == code
    assert capsys.readouterr().err == ""


def test_fault_of_ours(monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture) -> None:
    raising(monkeypatch, ZeroDivisionError("oops"))
    assert run(["causes"]) == EXIT_FAILURE
    err = capsys.readouterr().err
    assert "this is a fault in rsttrace: ZeroDivisionError: oops." in err
    assert "RSTTRACE_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("RSTTRACE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["causes"])


def test_default_command_is_trace(monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture) -> None:
    def refuse() -> None:
        raise CannotTrace("tracing the kernel needs root.", "Run: sudo rsttrace")

    monkeypatch.setattr(loader, "check_rights", refuse)
    for argv in ([], ["-P", "80"], ["trace"], ["--sent", "-j"]):
        text = fails(capsys, EXIT_CANNOT_TRACE, *argv)
        assert "needs root" in text
        assert "sudo" in text


def test_heavy_modules_are_not_imported_for_a_mistake(capsys: CaptureFixture) -> None:
    """bcc takes long to import; --help and typing errors should not wait for it."""
    assert run(["--nosuch"]) == EXIT_USAGE
    capsys.readouterr()
    assert "bcc" not in sys.modules or sys.modules["bcc"] is None
