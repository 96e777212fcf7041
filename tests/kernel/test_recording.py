"""Recordings: what a live trace wrote, cut off, damaged, unreadable, or on a full disk."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsttrace.cli import run
from rsttrace.lab import late_segment, unread_data_on_close
from rsttrace.lab.net import Lab

from .conftest import Done, Starter, abort, both_ends, in_private_mounts, inode, knock, rsttrace

pytestmark = pytest.mark.kernel

AsNobody = Callable[..., Done]
Line = dict[str, Any]


def play(lab: Lab) -> None:
    """Four directions' worth of resets, two processes' and both namespaces'."""
    abort(lab)
    knock(lab, 8080)
    late_segment.closed_port(lab)
    unread_data_on_close.plain(lab)


RESETS = 10


def without(one: Line, *fields: str) -> Line:
    """A copy that lacks what may differ."""
    return {key: value for key, value in one.items() if key not in fields}


@pytest.fixture(scope="module")
def made(
    public_copy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Done]]:
    """A recording and what the live trace said."""
    starter = Starter(tmp_path_factory.mktemp("made"))
    file = public_copy / "made.rec"
    try:
        with Lab(socket.AF_INET) as lab:
            trace = starter.trace("-j", "--record", str(file), *both_ends(lab))
            play(lab)
            trace.wait_resets(RESETS)
            live = trace.stop().clean()
        yield file, live
    finally:
        starter.kill_all()


def test_explained_again_by_nobody(made: tuple[Path, Done], as_nobody: AsNobody) -> None:
    """`explain FILE` without root says word for word what the live trace said.

    But for the end: a recording does not hold how long the trace went on after the last reset, nor
    the kernel's counters.
    """
    file, live = made
    again = as_nobody("explain", "-j", str(file)).clean()
    assert again.code == 0, again.err
    assert len(live.resets) == RESETS
    names = ("netns",)  # see the next test
    assert [without(r, *names) for r in again.resets] == [without(r, *names) for r in live.resets]
    assert again.objects[0] == live.objects[0]
    live_only = ("duration_s", "completeness")
    assert without(again.objects[-1], *live_only) == without(live.objects[-1], *live_only)


def test_namespaces_keep_their_names(made: tuple[Path, Done], as_nobody: AsNobody) -> None:
    """The rest of that promise."""
    file, live = made
    again = as_nobody("explain", "-j", str(file)).clean()
    assert [r["netns"] for r in again.resets] == [r["netns"] for r in live.resets]


@pytest.mark.parametrize("form", [(), ("-1",), ("-v",), ("-1", "-w"), ("-t",)], ids=" ".join)
def test_explained_in_every_form(made: tuple[Path, Done], form: tuple[str, ...]) -> None:
    """The output options of a live trace work on a recording as well."""
    done = rsttrace("explain", *form, str(made[0])).clean()
    assert done.code == 0
    for cause in {r["cause"] for r in made[1].resets}:
        assert cause in done.out
    assert f"{RESETS} resets" in done.out


# -- cut off, damaged, not readable


def test_cut_off(made: tuple[Path, Done], tmp_path: Path) -> None:
    """Wherever it breaks off: explained as far as it goes, exit 1, and it says so."""
    whole = made[0].read_bytes()
    lines = whole.splitlines(keepends=True)
    header = len(lines[0])
    file = tmp_path / "cut.rec"
    found = []
    for end in (header, header + 100, len(whole) * 3 // 4, len(whole) - len(lines[-1]), -5):
        file.write_bytes(whole[:end])
        done = rsttrace("explain", "-j", str(file))
        done.failed(1, str(file), "was cut off")
        found.append(len(done.resets))
        assert done.objects[-1]["type"] == "summary"
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == RESETS


def test_killed_trace_leaves_a_recording(start: Starter, lab: Lab, tmp_path: Path) -> None:
    """SIGKILL, the OOM killer, a power cut: what was seen before is in the file."""
    file = tmp_path / "killed.rec"
    trace = start.trace("-j", "--record", str(file), *both_ends(lab))
    knock(lab, 8080)
    trace.wait_resets(2)
    trace.process.kill()
    live = trace.end()
    again = rsttrace("explain", "-j", str(file))
    again.failed(1, "was cut off")
    assert [r["cause"] for r in again.resets] == [r["cause"] for r in live.resets]


def test_unreadable(made: tuple[Path, Done], as_nobody: AsNobody, public_copy: Path) -> None:
    """No permission, a directory, no such file."""
    secret = public_copy / "secret.rec"
    shutil.copy(made[0], secret)
    secret.chmod(0o600)
    as_nobody("explain", str(secret)).failed(1, f"cannot read {secret}: Permission denied")
    as_nobody("explain", str(public_copy)).failed(1, f"{public_copy}: Is a directory")
    as_nobody("explain", "/no/such.rec").failed(2, "'/no/such.rec'", "no file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 1000,
        os.urandom(5000),
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1, 2]\n",
        b'{"some": "json"}\n',
        b'{"rsttrace": 1}\n',
        "\u00e9t\u00e9".encode("latin-1"),
    ],
    ids=["empty", "zeros", "random", "text", "list", "json", "no header", "latin-1"],
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    """Any other file: exit 1 and a line that names it."""
    file = tmp_path / "garbage"
    file.write_bytes(content)
    rsttrace("explain", str(file)).failed(1, str(file))


def test_newer_format(made: tuple[Path, Done], tmp_path: Path) -> None:
    """A recording of a later rsttrace: says so and does not guess."""
    lines = made[0].read_text().splitlines()
    newer = json.dumps({**json.loads(lines[0]), "rsttrace": 99})
    file = tmp_path / "newer.rec"
    file.write_text("\n".join([newer, *lines[1:]]))
    rsttrace("explain", str(file)).failed(1, "another version", "99")


WRONG_VALUES: tuple[object, ...] = (None, 7, -1, "x", [], [7], {}, {"x": 7}, [["time_ns", "9Z"]])


def test_damaged_anywhere(made: tuple[Path, Done], tmp_path: Path) -> None:
    """Every field of every kind of line, lost or with a value that makes no sense there: a clear
    line or an explanation of the rest, never a crash."""
    lines = [json.loads(line) for line in made[0].read_text().splitlines()]
    first = {str(line.get("type")): i for i, line in reversed(list(enumerate(lines)))}
    bad = []
    for place in first.values():
        for field in lines[place]:
            for value in WRONG_VALUES:
                damaged = {**lines[place], field: value}
                text = [*lines[:place], damaged, *lines[place + 1 :]]
                if not survives(text, tmp_path / "damaged.rec"):
                    bad.append((field, value))
            text = [*lines[:place], without(lines[place], field), *lines[place + 1 :]]
            if not survives(text, tmp_path / "damaged.rec"):
                bad.append((field, "absent"))
    assert not bad


def test_older_layout(made: tuple[Path, Done], tmp_path: Path) -> None:
    """A recording of a version without some fields and bits, and with one that is gone since."""
    lines = [json.loads(line) for line in made[0].read_text().splitlines()]
    layout = [
        ["gone", code] if name == "tcp_srtt_us" else [name, code]
        for name, code in lines[0]["layout"]
    ]
    numbers = without(lines[0]["numbers"], "HAVE_SYN")
    file = tmp_path / "older.rec"
    older = {**lines[0], "layout": layout, "numbers": numbers}
    file.write_text("".join(json.dumps(line) + "\n" for line in (older, *lines[1:])))
    done = rsttrace("explain", "-j", str(file)).clean()
    assert done.code == 0
    assert [r["cause"] for r in done.resets] == [r["cause"] for r in made[1].resets]


def survives(lines: list[Line], file: Path) -> bool:
    """Explain it in this process: exit 0 or 1, and no fault."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["explain", "-j", str(file)])
    return code in (0, 1) and "fault in rsttrace" not in err.getvalue()


# -- where it is written


@pytest.mark.parametrize("where", ["/no/such/directory/x.rec", "/proc/x.rec", "/"])
def test_cannot_be_made(where: str) -> None:
    """Exit 1 before anything is traced."""
    rsttrace("--record", where, "-d", "9").failed(1, f"cannot write {where}")


def test_disk_full_at_once() -> None:
    """The header does not fit."""
    rsttrace("--record", "/dev/full", "-d", "9").failed(1, "/dev/full", "No space left on device")


def test_disk_full_later(start: Starter, lab: Lab, tmp_path: Path) -> None:
    """The recording is what the user asked for: when it cannot go on the trace stops at once,
    says so, and still shows what it saw. What is on the disk can be explained."""
    disk = tmp_path / "disk"
    disk.mkdir()
    keep = tmp_path / "keep.rec"
    script = f"mount -t tmpfs -o size=256k none {disk}"
    # the mount goes with the process, so a copy is kept
    after = f'"$@"; code=$?; cp {disk}/x.rec {keep}; exit $code'
    prefix = (*in_private_mounts(script), "sh", "-c", after, "sh")
    trace = start.trace("-j", "--record", f"{disk}/x.rec", "-N", inode(lab), prefix=prefix)
    made = 0
    while trace.process.poll() is None and made < 2000:
        knock(lab, 8080)
        made += 1
    done = trace.end()
    done.failed(1, f"cannot write {disk}/x.rec: No space left on device")
    assert done.err.count("cannot write") == 1
    assert done.resets
    assert done.objects[-1]["type"] == "summary"
    assert done.objects[-1]["resets"] == len(done.resets)
    again = rsttrace("explain", "-j", str(keep))
    again.failed(1, "was cut off")
    causes = [r["cause"] for r in again.resets]
    assert causes == [r["cause"] for r in done.resets][: len(causes)]
    assert causes
