"""What enrichment costs on a crowded host: the same resets with it and without it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import procs

PROCESSES, CONNECTIONS, DESCRIPTORS = 500, 10_000, 100
# name: resets per second (0: as fast as they go), and how many
PHASES = {"rare": (4.0, 32), "steady": (50.0, 300), "burst": (0.0, 1500)}
QUICK = {"steady": (50.0, 100), "burst": (0.0, 500)}
END_SECONDS = 120.0

ADDED_LIMIT_S = 0.005  # each reset, on average
STALL_LIMIT_S = 0.05  # the longest time in which the reader did not empty the perf buffer


class Crowd:
    """A crowd.py that is ready."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.netns = self._line().strip()

    def _line(self) -> str:
        line = self._out.readline().decode()
        if not line:
            raise procs.BenchError("the crowd ended too early")
        return line

    def make(self, rate: float, count: int) -> dict[str, float]:
        """Resets, and what the kernel counted."""
        self._in.write(f"{rate} {count}\n".encode())
        self._in.flush()
        made: dict[str, float] = json.loads(self._line())
        if made["resets"] < count:
            raise procs.BenchError(f"{made['resets']} of {count} resets were made")
        return made


@contextlib.contextmanager
def crowd() -> Iterator[Crowd]:
    """The processes and their connections, for the length of the body."""
    argv = [procs.SYSTEM_PYTHON, Path(__file__).with_name("crowd.py")]
    argv += [str(number) for number in (PROCESSES, CONNECTIONS, DESCRIPTORS)]
    with procs.running(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Crowd(process)
        finally:
            assert process.stdin
            process.stdin.close()  # it ends them all
            process.wait(END_SECONDS)


def watched(place: Path, kind: str, host: Crowd, rate: float, count: int) -> dict[str, Any]:
    """One run of the watcher while these resets are made."""
    argv = [procs.SYSTEM_PYTHON, Path(__file__).with_name("watcher.py"), kind, host.netns]
    ready = place / "watcher.ready"
    with procs.started([*argv, ready], ready, stdout=subprocess.PIPE) as (process, _):
        made = host.make(rate, count)
        procs.until_idle(process.pid)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=END_SECONDS)[0]
    if process.returncode:
        raise procs.BenchError("the watcher failed")
    found: dict[str, Any] = json.loads(output)
    return {**found, "made": made["resets"], "per_s": made["resets"] / made["seconds"]}


def measure(place: Path, quick: bool) -> dict[str, Any]:
    """Each phase without and with enrichment, and the difference for each reset."""
    result: dict[str, Any] = {}
    with crowd() as host:
        for name, (rate, count) in (QUICK if quick else PHASES).items():
            without = watched(place, "null", host, rate, count)
            live = watched(place, "live", host, rate, count)
            result[name] = {
                "without": without,
                "with": live,
                "added_s": _each(live) - _each(without),
                "ratio": _each(live) / _each(without),
            }
    return result


def _each(run: dict[str, Any]) -> float:
    """Wall time to look up and explain one reset, in s: sent and received together."""
    if run["explained"] < run["made"]:
        raise procs.BenchError(f"{run['explained']} of {run['made']} resets were explained")
    each: float = run["explain_s"] / run["made"]
    return each
