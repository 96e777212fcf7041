"""Every recorded lab replays to what the lab promises, without root and on any machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from rsttrace.lab import labs
from rsttrace.lab.base import Expect
from rsttrace.lab.runner import Outcome, judge
from rsttrace.recording import Recording
from rsttrace.replay import replay

from .labfiles import DATA, FAMILIES, LabFile, lab_file, lab_files

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
NAMES: dict[int, int] = {f: n for n, f in FAMILIES.items()}

files = pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)


@files
def test_replays_to_what_the_lab_promises(file: LabFile) -> None:
    assert file.problems(file.explained) == []
    assert len(file.explained) == len(file.spec.expect)


@files
def test_says_the_same_every_time(file: LabFile) -> None:
    again = replay(Recording(file.path))
    assert [astuple(e.verdict) for e in again] == [astuple(e.verdict) for e in file.explained]
    assert [e.reset.id for e in again] == [e.reset.id for e in file.explained]


@files
def test_file_is_small_and_whole(file: LabFile) -> None:
    assert file.path.stat().st_size < 15_000
    assert file.recording.complete
    assert file.recording.lost == 0
    stem = f"{file.about['name'].replace('/', '-')}-v{file.about['family']}"
    assert file.name == stem


def test_every_lab_was_recorded() -> None:
    """A new lab needs its fixture: sudo /usr/bin/python3 tools/record-fixtures.py NAME."""
    wanted = {f"{s.name.replace('/', '-')}-v{NAMES[f]}" for s in labs() for f in s.families}
    assert {file.name for file in lab_files()} == wanted
    assert len(wanted) >= 90


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cause": "linger-zero"}, "cause is 'unread-data-on-close'"),
        ({"end": "client"}, "at the server"),
        ({"facts": {"socket.unread_bytes": 1}}, "socket.unread_bytes is 312, not 1"),
        ({"confidence": "likely"}, "confidence is 'certain'"),
    ],
)
def test_judge_finds_what_is_wrong(change: dict[str, object], problem: str) -> None:
    """The judge of this test and of the live labs must be able to say no."""
    file = lab_file("unread-data-on-close-plain-v4")
    sent, *others = file.spec.expect
    wrong = Expect(**{**{k: getattr(sent, k) for k in sent.__dataclass_fields__}, **change})
    spec = type(file.spec)(**{**vars(file.spec), "expect": (wrong, *others)})
    outcome = Outcome(spec, FAMILIES[4], file.explained, out_rsts=file.about["out_rsts"])
    ends = {inode: end for end, inode in file.about["netns"].items()}
    problems = judge(outcome, ends)
    assert len(problems) == 2
    assert any(problem in p for p in problems)


def test_judge_counts() -> None:
    """A reset too few is noticed by its absence and by the kernel's counter."""
    file = lab_file("unread-data-on-close-plain-v4")
    assert len(file.problems(file.explained[1:])) == 2
    assert len(file.problems([*file.explained, file.explained[0]])) == 2


# -- as a command, without rights --------------------------------------------------------------


@pytest.fixture(scope="module")
def public_copy() -> Iterator[Path]:
    """Program and one recording where user nobody can read them."""
    with tempfile.TemporaryDirectory(prefix="rsttrace-test-") as name:
        place = Path(name)
        for part in ("rsttrace", "bpf"):
            shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("*.pyc"))
        shutil.copy(DATA / "labs" / "linger-zero-established-v4.rec", place / "lab.rec")
        for path in (place, *place.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        yield place


def test_explains_a_file_without_root(public_copy: Path) -> None:
    user: Any = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-m", "rsttrace", "explain", "lab.rec", "-j"],
        cwd=public_copy,
        env={**os.environ, "PYTHONPATH": str(public_copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **user,
    )
    assert (done.returncode, done.stderr) == (0, "")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [o["type"] for o in objects] == ["start", "reset", "reset", "summary"]
    assert [o["cause"] for o in objects[1:3]] == ["linger-zero", "peer-reset"]
    assert objects[0]["hostname"] == "lab-host"
    assert objects[3]["resets"] == 2
