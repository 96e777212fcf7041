"""Records that do not fit into the buffer: counted, shown in every output, and never an excuse
for a wrong verdict. The trace is stopped by SIGSTOP during the flood, so that it must lose."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from rsttrace.lab.net import Lab

from .conftest import PATIENCE, Running, Starter, both_ends, knock, rsttrace

pytestmark = pytest.mark.kernel

# the command line with a small buffer for each CPU; eight pages hold some 50 records
SMALL = """
import functools, sys
import rsttrace.session as session
session.Reader = functools.partial(session.Reader, pages=int(sys.argv.pop(1)))
from rsttrace.cli import run
sys.exit(run(sys.argv[1:]))
"""
FLOOD = 100  # resets, of about six records each


def small(start: Starter, lab: Lab, *argv: str, pages: int = 8) -> Running:
    """A trace with that buffer."""
    ready = str(start.directory / f"run{len(start.started)}" / "ready")
    options = (*argv, "--ready-file", ready, *both_ends(lab))
    running = start([sys.executable, "-c", SMALL, str(pages), *options])
    running.wait_ready()
    return running


def flood(trace: Running, lab: Lab) -> None:
    """More than fits while it cannot read; then one that it can see in peace."""
    trace.process.send_signal(signal.SIGSTOP)
    trace.wait_for(lambda: state(trace.pid) == "T", "the trace stopped")
    for _ in range(FLOOD):
        knock(lab, 8080)
    trace.process.send_signal(signal.SIGCONT)


def state(pid: int) -> str:
    """T: stopped, Z: ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_json(start: Starter, lab: Lab, tmp_path: Path) -> None:
    """`lost` objects that add up to the summary's count; --strict exits with 4. What is left is
    told as it is, and a recording of it says the same."""
    file = tmp_path / "lost.rec"
    trace = small(start, lab, "-j", "--strict", "--record", str(file))
    flood(trace, lab)
    trace.wait_for(lambda: '"type": "lost"' in trace.text("out"), "the loss")
    done = trace.stop().clean()
    assert done.code == 4
    lost = [o for o in done.objects if o["type"] == "lost"]
    assert lost[0]["count"] > 0
    assert sum(o["count"] for o in lost) == done.objects[-1]["lost"]
    assert len(done.resets) < 2 * FLOOD
    allowed = {"closed-port", "connection-refused", "insufficient-data", "unknown"}
    assert {r["cause"] for r in done.resets} <= allowed
    for one in done.resets:
        assert (one["confidence"] == "unknown") == (
            one["cause"] in ("insufficient-data", "unknown")
        )
    again = rsttrace("explain", "-j", str(file)).clean()
    assert again.objects[-1]["lost"] == done.objects[-1]["lost"]
    assert [r["cause"] for r in again.resets] == [r["cause"] for r in done.resets]


@pytest.mark.parametrize("form", [(), ("-1",)], ids=["block", "oneline"])
def test_for_people(start: Starter, lab: Lab, form: tuple[str, ...]) -> None:
    """A line when it happens and in the summary; without --strict the exit code is 0."""
    trace = small(start, lab, *form)
    flood(trace, lab)
    trace.wait_for(lambda: "records lost" in trace.text("out"), "the loss")
    done = trace.stop().clean()
    assert done.code == 0
    told = [int(n) for n in re.findall(r"^\((\d+) records lost", done.out, re.MULTILINE)]
    summary = re.search(r"^\d+ resets?.*; (\d+) records lost\.", done.out, re.MULTILINE)
    assert summary
    assert sum(told) == int(summary[1]) > 0


def test_it_recovers(start: Starter, lab: Lab) -> None:
    """After the loss it is as good as new: the next reset is explained, for certain."""
    trace = small(start, lab, "-j")
    flood(trace, lab)
    trace.wait_for(lambda: '"type": "lost"' in trace.text("out"), "the loss")
    knock(lab, 8081)
    trace.wait_for(lambda: trace.text("out").count('"port": 8081') >= 2, "the next one")
    done = trace.stop().clean()
    after = [r for r in done.resets if 8081 in (r["local"]["port"], r["remote"]["port"])]
    assert {(r["cause"], r["confidence"]) for r in after} == {
        ("closed-port", "certain"),
        ("connection-refused", "certain"),
    }


def knock_for(seconds: float, address: tuple[str, int]) -> None:
    """Refused connections as fast as they go, until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as sock:
            sock.connect_ex(address)


def test_ends_in_the_middle_of_a_flood(start: Starter, lab: Lab) -> None:
    """Resets that come faster than they can be told: Ctrl-C still ends it, before the flood
    does, and what was lost is counted."""
    trace = small(start, lab, "-j", pages=256)
    address = (lab.address["server"], 8080)
    pid = lab.spawn("client", lambda: knock_for(PATIENCE / 2, address))
    trace.wait_resets(100)
    done = trace.stop().clean()
    assert state(pid) != "Z", "it ended after the flood"
    assert done.code == 0
    assert done.objects[-1]["resets"] == len(done.resets)


def test_nothing_lost_is_said_too(start: Starter, lab: Lab) -> None:
    """--strict with a good trace: exit 0, and the summary says that nothing was lost."""
    trace = start.trace("-1", "--strict", *both_ends(lab))
    knock(lab, 8080)
    trace.wait_for(lambda: "closed-port" in trace.text("out"), "a reset")
    done = trace.stop().clean()
    assert done.code == 0
    assert "no records lost." in done.out
