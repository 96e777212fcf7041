"""tools/vm/guest_runs.py: which guests run, when, and what is kept of them."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "vm"))

import guest_runs
from guest_runs import HOST, Result, Runs, chosen, has_time, read, stored, summary, table, versions

ROW = {"row": "lab", "lab": "closed-port/plain", "family": "IPv4", "verdict": "right"}
COMMAND = {"row": "command", "argv": ["doctor"], "code": 0}


def keep(results: Path, guest: str, *rows: dict[str, object], problem: str = "") -> None:
    first = {"row": "guest", "image": {"libllvm14": "14.0.6"}, "problem": problem}
    lines = "".join(json.dumps(row) + "\n" for row in (first, *rows))
    (results / f"{guest}.jsonl").write_text(lines)


def test_table_covers_what_the_project_promises() -> None:
    """Every userland on its own kernel, and Debian 12's on those of others."""
    guests = table()
    assert {"bullseye", "bookworm", "trixie", "sid"} <= set(guests)
    assert all(guests[name] == name for name in ("bullseye", "bookworm", "trixie", "sid"))
    assert sum(userland == "bookworm" for userland in guests.values()) >= 4


def test_table_skips_comments_and_keeps_the_order() -> None:
    text = "# GUEST USERLAND\nb  bookworm  sid  linux-image\n\na  a  a  linux-image\n"
    assert list(table(text).items()) == [("b", "bookworm"), ("a", "a")]


def test_chosen_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen("sid bookworm") == ("sid", "bookworm")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert chosen("") == tuple(table())
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert chosen(" ") == (HOST, *table())


def test_unknown_guest_is_named() -> None:
    with pytest.raises(ValueError, match=r"no such guest: wheezy\. There are: host, "):
        chosen("sid wheezy")


def test_result_is_read_back(tmp_path: Path) -> None:
    keep(
        tmp_path,
        "sid",
        {"row": "facts", "kernel": "7.2"},
        ROW,
        COMMAND,
        {"row": "end", "seconds": 9.5},
    )
    found = read("sid", tmp_path)
    assert found
    assert (found.facts["kernel"], found.seconds, found.problem) == ("7.2", 9.5, "")
    assert found.image == {"libllvm14": "14.0.6"}
    assert found.lab("closed-port/plain", "IPv4") == ROW
    assert found.lab("closed-port/plain", "IPv6") is None
    assert found.command("doctor") == COMMAND
    assert found.command("trace") is None


def test_result_of_a_guest_that_died(tmp_path: Path) -> None:
    keep(tmp_path, "sid", ROW, problem="exit status 125")
    found = read("sid", tmp_path)
    assert found
    assert (found.problem, found.labs) == ("exit status 125", (ROW,))


def test_stored_are_those_that_ran(tmp_path: Path) -> None:
    keep(tmp_path, "sid")
    assert [result.guest for result in stored(["bookworm", "sid"], tmp_path)] == ["sid"]


def test_versions_leave_out_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("python3 3.9.2-3\nkernel bullseye meta linux-image-5.10=1\n")
    assert versions(tmp_path) == {"python3": "3.9.2-3"}


def test_has_time() -> None:
    assert has_time(100, 300, 0)  # no limit
    assert has_time(100, 300, 400)
    assert not has_time(101, 300, 400)


class Clock:
    """Each run takes 100 s."""

    now = 0.0

    def run(self, guest: str) -> Result:
        self.now += 100
        return Result(guest)


def test_guests_without_time_are_left_out_unless_required() -> None:
    clock = Clock()
    runs = Runs(("a", "b", "c", "d"), 1, 2, 150.0, clock.run, lambda: clock.now)
    left_out = [runs.result(guest).left_out for guest in ("a", "b", "c", "d")]
    assert left_out == ["", "", "no time left of 150 s", "no time left of 150 s"]
    runs.close()


def test_host_runs_alone_and_first() -> None:
    """The others begin when it has ended: labs on this machine are timed."""
    running: list[str] = []
    beside: list[str] = []

    def run(guest: str) -> Result:
        running.append(guest)
        if HOST in running and len(running) > 1:
            beside.append(guest)
        running.remove(guest)
        return Result(guest)

    runs = Runs((HOST, "a", "b"), jobs=3, run=run)
    assert [runs.result(guest).guest for guest in (HOST, "a", "b")] == [HOST, "a", "b"]
    assert not beside
    runs.close()


def test_two_at_a_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def run(guest: str) -> Result:
        both.wait()
        return Result(guest)

    runs = Runs(("a", "b"), jobs=2, run=run)
    assert runs.result("b").guest == "b"
    runs.close()


def test_summary_has_a_line_for_each(tmp_path: Path) -> None:
    keep(tmp_path, "sid", {"row": "facts", "kernel": "7.2", "bcc": "0.37", "python": "3.14"}, ROW)
    found = read("sid", tmp_path)
    assert found
    lines = summary([found, Result("bullseye", left_out="no time left of 150 s")])
    assert lines[2].split() == ["sid", "7.2", "0.37", "3.14", "1", "0", "0", "0"]
    assert lines[3].startswith("bullseye")
    assert lines[3].endswith("no time left of 150 s")


def test_a_failed_build_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network and image: the tests of this guest fail, with what build.sh said."""
    script = tmp_path / "build.sh"
    script.write_text("#!/bin/sh\necho 'rsttrace: mmdebstrap is missing' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(guest_runs, "HERE", tmp_path)
    found = guest_runs.run("sid", {}, tmp_path / "results")
    assert "exit status 1" in found.problem
    assert "mmdebstrap is missing" in found.problem
    assert not found.labs


@pytest.mark.parametrize(("said", "boots"), [("", 3), ("the guest is up", 1)])
def test_a_guest_that_dies_before_it_is_up_is_booted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, boots: int
) -> None:
    """What dies later, under the labs, is a result."""
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "versions").write_text("python3 3.9.2-3\n")
    for name, text in (
        ("build.sh", f"echo sid {tmp_path / 'image'} 7.2"),
        ("run.sh", f"echo x >>{tmp_path / 'boots'}; echo {said}; exit 125"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(guest_runs, "HERE", tmp_path)
    found = guest_runs.run("sid", {}, tmp_path / "results")
    assert found.problem.startswith("exit status 125")
    assert (tmp_path / "boots").read_text() == "x\n" * boots
    assert found.image == {"python3": "3.9.2-3"}
