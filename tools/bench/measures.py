"""The measurements. Each returns plain numbers; run.py prints and judges them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import hookcost
import procs

SETTLE_SECONDS = 0.5  # after the ready file: listeners, dropped privileges
TRAFFIC = Path(__file__).with_name("traffic.py")
DRAIN_SECONDS = 120.0

Start = Callable[[], AbstractContextManager[tuple[subprocess.Popen[bytes], float]]]


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def start_up(start: Start, rounds: int) -> dict[str, Any]:
    """Start to ready and private memory, of ``rounds`` fresh processes."""
    seconds, memory = [], []
    for _ in range(rounds):
        with start() as (process, took):
            time.sleep(SETTLE_SECONDS)
            seconds.append(took)
            memory.append(float(procs.private_bytes(process.pid)))
    return {"ready_s": spread(seconds), "private_bytes": spread(memory), "rounds": rounds}


class Traffic:
    """A traffic.py in a network namespace of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.netns = self._line().strip()

    def _line(self) -> str:
        line = self._out.readline().decode()
        if not line:
            raise procs.BenchError("the traffic process ended too early")
        return line

    def go(self) -> dict[str, float]:
        """Send once; the result."""
        self._in.write(b"go\n")
        self._in.flush()
        result: dict[str, float] = json.loads(self._line())
        return result


@contextlib.contextmanager
def traffic(kind: str, amount: float, processes: int = 1) -> Iterator[Traffic]:
    """Traffic of one kind, ready to go."""
    argv = [sys.executable, TRAFFIC, kind, str(amount), str(processes)]
    with procs.running(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Traffic(process)


def throughput(place: Path, kind: str, seconds: float, rounds: int) -> dict[str, Any]:
    """The rate without and with rsttrace attached, in turns; the ratio of each pair."""
    without, attached = [], []
    with traffic(kind, seconds) as sender:
        sender.go()  # warm up
        for i in range(rounds):
            for with_it in (False, True) if i % 2 else (True, False):
                if with_it:
                    with procs.rsttrace(place):
                        time.sleep(SETTLE_SECONDS)
                        attached.append(sender.go())
                else:
                    without.append(sender.go())
    found: dict[str, Any] = {"rounds": rounds}
    for key in ("rate", "per_cpu_s"):
        found[key] = {
            "without": spread([one[key] for one in without]),
            "with": spread([one[key] for one in attached]),
            "ratio": spread([a[key] / b[key] for a, b in zip(attached, without)]),
        }
    return found


def hook_costs(place: Path, kind: str, amount: float) -> dict[str, Any]:
    """What the kernel counts for each hook while such traffic flows."""
    with (
        traffic(kind, amount) as sender,
        procs.rsttrace(place) as (tracer, _),
        hookcost.statistics_on(),
    ):
        before = hookcost.runs_of(tracer.pid)
        sender.go()
        runs = hookcost.between(before, hookcost.runs_of(tracer.pid))
    return {
        name: {"runs": r.count, "ns_per_run": round(r.ns / r.count, 1)}
        for name, r in sorted(runs.items(), key=lambda item: -item[1].ns)
    }


def flood(place: Path, resets: int, processes: int) -> dict[str, Any]:
    """Resets as fast as they come: how many were explained, lost, and at what cost."""
    with ExitStack() as stack:
        sender = stack.enter_context(traffic("refused", resets, processes))
        output = stack.enter_context((place / "flood.json").open("w+b"))
        last = stack.enter_context(
            procs.running(["tail", "-n", "1"], stdin=subprocess.PIPE, stdout=output)
        )
        tracer, _ = stack.enter_context(
            procs.rsttrace(place, "-j", "-N", sender.netns, stdout=last.stdin)
        )
        assert last.stdin
        last.stdin.close()
        time.sleep(SETTLE_SECONDS)
        used = procs.cpu_seconds(tracer.pid)
        result = sender.go()
        procs.until_idle(tracer.pid)
        used = procs.cpu_seconds(tracer.pid) - used
        memory = procs.private_bytes(tracer.pid)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(DRAIN_SECONDS)
        last.wait(DRAIN_SECONDS)
        output.seek(0)
        summary = json.loads(output.read() or b"{}")
    if summary.get("type") != "summary":
        raise procs.BenchError("the flooded trace ended without a summary")
    explained = int(summary["resets"])
    return {
        "made": int(result["resets"]),
        "per_s": result["rate"],
        "expected": 2 * int(result["resets"]),  # sent and received: both ends are here
        "explained": explained,
        "records_lost": int(summary["lost"]),
        "cpu_us_per_reset": used / explained * 1e6 if explained else None,
        "private_bytes_after": memory,
        "causes": {f"{c['direction']} {c['cause']}": c["count"] for c in summary["causes"]},
    }


def load_average() -> float:
    """How busy the machine is with other things."""
    return os.getloadavg()[0]
