"""What can be wrong with a machine or a command line: a clear line, the right exit code, and
never a traceback. Whatever a test takes away, it takes away in a mount namespace of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rsttrace.lab.net import Lab

from .conftest import (
    ROOT,
    Done,
    Starter,
    both_ends,
    environment,
    in_private_mounts,
    knock,
    python,
    rsttrace,
)

pytestmark = pytest.mark.kernel

UNMOUNT_TRACEFS = "awk '$3 == \"tracefs\" {print $2}' /proc/mounts | xargs -r -n 1 umount"
AsNobody = Callable[..., Done]


# -- not root


def test_not_root(as_nobody: AsNobody) -> None:
    """Exit 3, and the line to type: with the same options."""
    done = as_nobody("-P", "80", "-j")
    done.failed(3, "needs root")
    done.failed(3, "Run: sudo rsttrace -P 80 -j")


def test_not_root_lab(as_nobody: AsNobody) -> None:
    """The labs as well."""
    as_nobody("lab", "run", "closed-port").failed(3, "Run: sudo rsttrace lab run closed-port")


def test_not_root_doctor(as_nobody: AsNobody) -> None:
    """doctor works: it says what is missing, and looks at all the rest."""
    done = as_nobody("doctor").clean()
    assert done.code == 3
    assert re.search(r"^  MISSING rights: .*\n +Run: sudo rsttrace doctor$", done.out, re.MULTILINE)
    assert re.search(r"^  ok +bcc: ", done.out, re.MULTILINE)
    assert re.search(r"^  ok +hooks: ", done.out, re.MULTILINE)
    last = done.out.splitlines()[-1]
    assert last == "This host cannot trace yet: rights. Run: sudo rsttrace doctor"


def test_not_root_catalogue(as_nobody: AsNobody) -> None:
    """Knowledge needs no rights."""
    assert as_nobody("causes").clean().code == 0
    assert as_nobody("explain", "linger-zero").clean().code == 0
    assert as_nobody("lab", "list").clean().code == 0
    assert as_nobody("--help").clean().code == 0


# -- a machine that lacks something


def test_without_tracefs(start: Starter, lab: Lab) -> None:
    """Not needed: where it is not mounted a trace shows the same."""
    prefix = in_private_mounts(UNMOUNT_TRACEFS)
    trace = start.trace("-j", *both_ends(lab), prefix=prefix)
    assert "tracefs" not in Path(f"/proc/{trace.pid}/mounts").read_text()
    knock(lab, 8080)
    trace.wait_resets(2)
    done = trace.stop().clean()
    assert [r["cause"] for r in done.resets] == ["closed-port", "connection-refused"]
    doctor = rsttrace("doctor", prefix=prefix).clean()
    assert doctor.code == 0
    assert "note    tracefs: not mounted" in doctor.out


def test_with_tracefs() -> None:
    """Where it is mounted doctor says where."""
    prefix = in_private_mounts(f"{UNMOUNT_TRACEFS}; mount -t tracefs none /sys/kernel/tracing")
    assert (
        "ok      tracefs: mounted at /sys/kernel/tracing" in rsttrace("doctor", prefix=prefix).out
    )


def fake_bcc(directory: Path, source: str) -> dict[str, str]:
    """An environment in which ``import bcc`` runs this source."""
    (directory / "bcc").mkdir()
    (directory / "bcc" / "__init__.py").write_text(source)
    return environment(PYTHONPATH=f"{directory}:{ROOT}")


def test_without_bcc(tmp_path: Path) -> None:
    """Exit 3 and the packages to install."""
    env = fake_bcc(tmp_path, "raise ImportError('No module named bcc')")
    done = rsttrace("-d", "1", env=env)
    done.failed(3, "Python module bcc is missing", sys.executable)
    done.failed(3, "apt install python3-bpfcc", "/usr/bin/python3")
    doctor = rsttrace("doctor", env=env).clean()
    assert doctor.code == 3
    assert "MISSING bcc: " in doctor.out


def test_wrong_bcc(tmp_path: Path) -> None:
    """PyPI's bcc is about crystals."""
    env = fake_bcc(tmp_path, "__version__ = '0.1'\nclass Lattice: pass\n")
    done = rsttrace("-d", "1", env=env)
    done.failed(3, str(tmp_path / "bcc"), "is not BCC")
    done.failed(3, "pip uninstall bcc", "apt install python3-bpfcc")


def test_broken_bcc(tmp_path: Path) -> None:
    """The distribution's bcc for another Python: its C library does not load."""
    env = fake_bcc(tmp_path, "raise OSError('libbcc.so.0: cannot open shared object file')")
    rsttrace("-d", "1", env=env).failed(3, "libbcc.so.0: cannot open shared object file")


@pytest.mark.parametrize(
    "what",
    [
        "directory",
        "garbage",
        "empty",
        "truncated",
    ],
)
def test_without_btf(tmp_path: Path, what: str) -> None:
    """A kernel without BTF, or with one that makes no sense: it traces what it can, and says so."""
    target = "/sys/kernel/btf"
    source = tmp_path / "btf"
    if what == "directory":
        source.mkdir()
    else:
        target += "/vmlinux"
        whole = Path(target).read_bytes()
        source.write_bytes({"empty": b"", "garbage": b"x" * 4096, "truncated": whole[:5000]}[what])
    prefix = in_private_mounts(f"mount --bind {source} {target}")
    done = rsttrace("-d", "1", prefix=prefix).clean()
    assert done.code == 0
    assert "It has no BTF" in done.err
    doctor = rsttrace("doctor", prefix=prefix).clean()
    assert doctor.code == 0
    assert "MISSING BTF: " in doctor.out


# -- symbols hidden: kernel.kptr_restrict=2, made by a /proc/kallsyms full of zeros


@pytest.fixture
def hidden(tmp_path: Path) -> tuple[str, ...]:
    """A prefix that runs a command where the kernel shows no addresses."""
    text = Path("/proc/kallsyms").read_text()
    file = tmp_path / "kallsyms"
    file.write_text(re.sub(r"^[0-9a-f]{16}", "0" * 16, text, flags=re.MULTILINE))
    return in_private_mounts(f"mount --bind {file} /proc/kallsyms")


def test_hidden_symbols_are_told(start: Starter, lab: Lab, hidden: tuple[str, ...]) -> None:
    """In the banner, in the JSON, by doctor; and the trace goes on."""
    trace = start.trace("-j", *both_ends(lab), prefix=hidden)
    knock(lab, 8080)
    trace.wait_resets(2)
    done = trace.stop().clean()
    assert done.code == 0
    assert "Kernel symbols are hidden" in done.err
    assert done.objects[0]["symbols"] is False
    doctor = rsttrace("doctor", prefix=hidden).clean()
    assert "MISSING symbols: kernel addresses are hidden" in doctor.out
    assert doctor.code == 0


EVERY_LAB = """
import json, socket
from rsttrace.lab import labs
from rsttrace.lab.runner import run_lab
from rsttrace.session import Session
with Session() as session:
    session.learn_host()
    assert not session.symbols_available
    for spec in labs():
        if socket.AF_INET not in spec.families:
            continue
        outcome = run_lab(session, spec, socket.AF_INET)
        if outcome.skipped:
            continue
        promised = sorted(
            (e.direction, e.cause) for e in spec.expect for _ in range(e.facts.get("count", 1))
        )
        said = sorted(
            (e.reset.direction, e.verdict.cause, e.verdict.confidence)
            for e in outcome.explained
            for _ in range(e.count)
        )
        facts = {"lab": spec.name, "promised": promised, "said": said}
        print(json.dumps({**facts, "problems": outcome.problems, "lost": session.lost}))
"""


def test_hidden_symbols_make_no_certain_mistake(hidden: tuple[str, ...]) -> None:
    """Without the stack many verdicts are unknown. None may be wrong and call itself certain,
    and none may be missing or double."""
    done = python(EVERY_LAB, prefix=hidden).clean()
    assert done.code == 0, done.err
    certain = 0
    for lab in done.objects:
        sure = [said[:2] for said in lab["said"] if said[2] == "certain"]
        assert all(said in lab["promised"] for said in sure), lab
        certain += len(sure)
        if not lab["lost"]:  # somebody else's flood
            assert [s[0] for s in lab["said"]] == [p[0] for p in lab["promised"]], lab
    assert len(done.objects) >= 40
    assert certain > 40, "what needs no stack can be certain"


# -- a wrong command line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nonsense"], ["No such option", "--nonsense"]),
        (["nonsense"], ["No such command", "nonsense"]),
        (["-P", "99999"], ["99999", "1-65535"]),
        (["-P", "http"], ["http"]),
        (["-a", "example"], ["example", "no IP address"]),
        (["-N", "nonsense"], ["no network namespace", "nonsense"]),
        (["-N", "pid:999999999"], ["no network namespace"]),
        (["-c", "0"], ["'-c'", "0"]),
        (["-d", "0"], ["'-d'", "0"]),
        (["-d", "soon"], ["soon"]),
        (["--record"], ["--record"]),
        (["explain"], ["WHAT"]),
        (["lab", "run"], ["NAME"]),
        (["lab", "nonsense"], ["nonsense"]),
    ],
    ids=" ".join,
)
def test_usage(argv: list[str], words: list[str]) -> None:
    """Exit 2, and what was wrong with it."""
    rsttrace(*argv).failed(2, *words)


def test_unknown_cause() -> None:
    """Exit 2, with what was perhaps meant."""
    done = rsttrace("explain", "liner-zero")
    done.failed(2, "'liner-zero'")
    done.failed(2, "Did you mean linger-zero")
    rsttrace("explain", "qqqq").failed(2, "rsttrace causes")


def test_ready_file_in_no_directory(tmp_path: Path) -> None:
    """Exit 1 at once; the trace does not run on unseen."""
    missing = tmp_path / "no" / "ready"
    rsttrace("--ready-file", str(missing)).failed(1, str(missing), "No such file or directory")


# -- standard files that are closed or full


@pytest.mark.parametrize("argv", [["causes"], ["explain", "linger-zero"], ["doctor"], ["-d", "9"]])
def test_stdout_closed(argv: list[str]) -> None:
    """`>&-`: nowhere to write to is a failure, and no file of ours may become stdout."""
    prefix = ("sh", "-c", 'exec "$@" >&-', "sh")
    rsttrace(*argv, prefix=prefix).failed(1, "standard output is closed")


def test_stderr_and_stdin_closed() -> None:
    """`2>&- <&-`: the trace works, its talk goes nowhere."""
    done = rsttrace("-j", "-d", "0.1", prefix=("sh", "-c", 'exec "$@" 2>&- <&-', "sh")).clean()
    assert done.code == 0
    assert done.objects[-1]["type"] == "summary"


@pytest.mark.parametrize("argv", [["causes"], ["doctor"], ["-d", "9", "-j"]])
def test_stdout_full(argv: list[str]) -> None:
    """A full disk behind stdout."""
    with open("/dev/full", "wb") as full:
        rsttrace(*argv, capture_output=False, stdout=full, stderr=subprocess.PIPE).failed(
            1, "No space left on device"
        )
