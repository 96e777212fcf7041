"""Benchmarks of rsttrace: ``sudo make bench``, or ``ARGS="--quick --json"``.

Prints a table; exit code 1 if a limit is broken (start-up, memory, enrichment).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import enrichment
import measures
import procs
import timeline

READY_LIMIT_S = 0.6
MEMORY_LIMIT = 60e6
MB = 1e6


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class Report:
    """Rows of a table, kept as numbers as well."""

    def __init__(self, quiet: bool) -> None:
        self.numbers: dict[str, Any] = {}
        self.broken: list[str] = []
        self._quiet = quiet

    def row(self, name: str, text: str) -> None:
        """One line of the table."""
        if not self._quiet:
            print(f"  {name:34} {text}", flush=True)

    def section(self, title: str) -> None:
        """A heading."""
        if not self._quiet:
            print(title, flush=True)

    def limit(self, name: str, value: float, limit: float, word: str = "TOO MUCH") -> str:
        """``ok`` or the word for a table row."""
        if value <= limit:
            return "ok"
        self.broken.append(name)
        return word


def _span(spread: dict[str, float], scale: float, unit: str, digits: int = 0) -> str:
    low, middle, high = (spread[k] / scale for k in ("min", "median", "max"))
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"


def start_up(report: Report, place: Path, quick: bool) -> None:
    """(a) to (c): start and memory, and the same of the peer."""
    own = measures.start_up(lambda: procs.rsttrace(place), 3 if quick else 10)
    report.numbers["rsttrace"] = own
    ready, memory = own["ready_s"], own["private_bytes"]
    report.section(f"start-up, median of {own['rounds']} fresh processes (least to greatest)")
    judged = report.limit("start to ready", ready["median"], READY_LIMIT_S)
    report.row("rsttrace, start to ready", f"{_span(ready, 1e-3, 'ms')}, limit 600 ms: {judged}")
    judged = report.limit("private memory", memory["median"], MEMORY_LIMIT)
    report.row("rsttrace, private memory", f"{_span(memory, MB, 'MB', 1)}, limit 60 MB: {judged}")
    if not procs.bpftrace_installed():
        report.numbers["bpftrace"] = None
        report.row("bpftrace (the peer)", "not installed")
        return
    try:
        peer = measures.start_up(lambda: procs.bpftrace(place), 3 if quick else 10)
    except procs.BenchError as err:
        report.numbers["bpftrace"] = {"error": str(err)}
        report.row("bpftrace (the peer)", f"does not run here: {err}")
        return
    peer["ready_ratio"] = ready["median"] / peer["ready_s"]["median"]
    peer["private_ratio"] = memory["median"] / peer["private_bytes"]["median"]
    report.numbers["bpftrace"] = peer
    report.row("bpftrace, start to attached", _span(peer["ready_s"], 1e-3, "ms"))
    report.row("bpftrace, private memory", _span(peer["private_bytes"], MB, "MB", 1))
    report.row("rsttrace / bpftrace, time", f"{peer['ready_ratio']:.2f}")
    report.row("rsttrace / bpftrace, memory", f"{peer['private_ratio']:.2f}")


def throughput(report: Report, place: Path, quick: bool) -> None:
    """(d): what ordinary traffic pays."""
    rounds, seconds = (3, 0.5) if quick else (9, 1.0)
    report.section(f"ordinary traffic on loopback, {rounds} rounds without and with, in turns")
    found: dict[str, Any] = {}
    for kind, unit in (("bulk", "MB"), ("ping", "round trips")):
        one = found[kind] = measures.throughput(place, kind, seconds, rounds)
        for key, per in (("rate", "s"), ("per_cpu_s", "CPU second")):
            report.row(f"{kind}, without", _span(one[key]["without"], 1, f"{unit}/{per}"))
            report.row(f"{kind}, with", _span(one[key]["with"], 1, f"{unit}/{per}"))
            report.row(f"{kind}, with / without", _span(one[key]["ratio"], 1, f"per {per}", 3))
    report.numbers["throughput"] = found


def hook_costs(report: Report, place: Path, quick: bool) -> None:
    """(d): what the kernel counts for each hook."""
    report.section("time in the kernel for each run of a hook (BPF_ENABLE_STATS)")
    found: dict[str, Any] = {}
    amounts = (("bulk", 0.5), ("ping", 0.5), ("refused", 500 if quick else 2000))
    for kind, amount in amounts:
        try:
            found[kind] = measures.hook_costs(place, kind, amount)
        except OSError as err:
            report.row(kind, f"not known: {err}")
            break
        for hook, one in found[kind].items():
            report.row(f"{kind}, {hook}", f"{one['ns_per_run']:,.0f} ns, {one['runs']:,} runs")
    report.numbers["hooks"] = found


def flood(report: Report, place: Path, quick: bool) -> None:
    """(e): resets as fast as they come."""
    resets, processes = (2000 if quick else 20000), 4
    one = measures.flood(place, resets, processes)
    report.numbers["flood"] = one
    report.section(f"flood: {one['made']:,} refused connects from {processes} processes")
    report.row("resets per second", f"{one['per_s']:,.0f}")
    share = one["explained"] / one["expected"] if one["expected"] else 0
    text = f"{one['explained']:,} of {one['expected']:,} ({share:.1%})"
    report.row("explained (sent and received)", text)
    report.row("records lost", f"{one['records_lost']:,}")
    cost = one["cpu_us_per_reset"]
    report.row("CPU time for each explained", "-" if cost is None else f"{cost:,.0f} us")
    report.row("private memory afterwards", f"{one['private_bytes_after'] / MB:,.1f} MB")
    for name, count in one["causes"].items():
        report.row(f"  {name}", f"{count:,}")


def enriched(report: Report, place: Path, quick: bool) -> None:
    """(f): what looking things up costs where there is much to look through."""
    found = report.numbers["enrichment"] = enrichment.measure(place, quick)
    report.section(
        f"enrichment: {enrichment.CONNECTIONS:,} connections, {enrichment.PROCESSES} processes "
        f"with {enrichment.DESCRIPTORS} descriptors each"
    )
    for name, one in found.items():
        live, added = one["with"], one["added_s"]
        report.row(f"{name}, resets", f"{live['made']:,.0f}, {live['per_s']:,.0f} per second")
        limit = enrichment.ADDED_LIMIT_S
        judged = report.limit(f"enrichment, {name}", added, limit, "TOO SLOW")
        text = f"{added * 1e3:,.1f} ms, x {one['ratio']:,.1f}, limit {limit * 1e3:.0f} ms: {judged}"
        report.row(f"{name}, added to each reset", text)
        longest = (one[which]["worst_explain_s"] * 1e3 for which in ("with", "without"))
        text = "{:,.0f} ms, without enrichment {:,.0f} ms".format(*longest)
        report.row(f"{name}, longest for one reset", text)
        gap, limit = live["longest_gap_inside_s"], enrichment.STALL_LIMIT_S
        judged = report.limit(f"reader, {name}", gap, limit, "TOO SLOW")
        text = f"{gap * 1e3:,.0f} ms, limit {limit * 1e3:.0f} ms: {judged}"
        report.row(f"{name}, reader held up", text)
        oldest = (one[which]["oldest_record_s"] * 1e3 for which in ("with", "without"))
        text = "{:,.0f} ms, without enrichment {:,.0f} ms".format(*oldest)
        report.row(f"{name}, oldest unread record", text)
        judged = report.limit(f"lost records, {name}", live["lost"], 0)
        report.row(f"{name}, records lost", f"{live['lost']:,} of {live['records']:,}: {judged}")
        for what, look_ups in live["look_ups"].items():
            text = f"{look_ups['calls']:,} calls, {look_ups['wall_s'] * 1e3:,.0f} ms"
            report.row(f"  {what}", text)
        for what, count in live["found"].items():
            report.row(f"  {what}", f"{count:,}")


def profile(report: Report, place: Path, quick: bool) -> None:
    """Where the start-up time goes."""
    steps = timeline.median_steps(place, 3 if quick else 7)
    report.numbers["profile"] = steps
    report.section("start-up step by step (an instrumented run is some ms slower)")
    for step in steps:
        text = f"{step['at_ms']:6.0f} ms, took {step['wall_ms']:5.0f} ms, CPU {step['cpu_ms']:5.0f}"
        report.row(step["name"], text)


PARTS: dict[str, Callable[[Report, Path, bool], None]] = {
    "startup": start_up,
    "profile": profile,
    "throughput": throughput,
    "hooks": hook_costs,
    "flood": flood,
    "enrichment": enriched,
}


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description="Benchmarks of rsttrace.")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {' '.join(PARTS)}")
    options = parser.parse_args()
    if unknown := [p for p in options.parts if p not in PARTS]:
        parser.error(f"no such part: {' '.join(unknown)}; there are {' '.join(PARTS)}")
    if os.geteuid() != 0:
        print("the benchmarks need root: sudo make bench", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _interrupt)
    report = Report(quiet=options.json)
    load = measures.load_average()
    report.numbers["host"] = {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load_before": load,
    }
    report.section(f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load:.2f} before")
    try:
        with tempfile.TemporaryDirectory(prefix="rsttrace-bench-") as place:
            os.chmod(place, 0o755)
            for name in options.parts or PARTS:
                PARTS[name](report, Path(place), options.quick)
    except KeyboardInterrupt:
        print("interrupted; everything is cleaned up", file=sys.stderr)
        return 130
    except procs.BenchError as err:
        print(f"the benchmark failed: {err}", file=sys.stderr)
        return 1
    report.numbers["broken_limits"] = report.broken
    if options.json:
        print(json.dumps(report.numbers, indent=2))
    elif report.broken:
        print(f"Limits broken: {', '.join(report.broken)}.")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
