"""Run all labs on this machine, a test guest, and rsttrace as a user would: JSON Lines.

    PYTHONPATH=. python3 tools/vm/in_guest.py [--gently] [--half] FILE [LAB...]

FILE gets one object per line: ``{"row": "facts"}`` (kernel, bcc, Python, hooks), ``"lab"`` for
each lab and family, ``"command"`` for each run of a command, and ``"end"`` last. stdout shows the
progress. ``--gently``: this is no throw-away guest, so no limit of the whole host is changed.
``--half``: each lab in one family only, every other one in the other, for want of time. LAB:
only these, and no command. Must run on every Python that rsttrace runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rsttrace.explain import Explained
from rsttrace.kernel.filters import c_expression
from rsttrace.kernel.loader import load_in_background, prepare
from rsttrace.lab import find, labs, server_labs
from rsttrace.lab.base import LabSpec
from rsttrace.lab.net import Lab
from rsttrace.lab.runner import FAMILY_NAMES, Outcome, only_labs, run_lab
from rsttrace.model import BY_TCP, SENT, SUPPRESSED
from rsttrace.session import Session

PATIENCE_S = 120.0
LOOK_UP_S = 10.0  # for all firewall commands of one reset: a guest without KVM is ten times slower
CLOSED_PORT = 1

Write = Callable[..., None]


class WatchedLab(Lab):
    """A lab that tells afterwards whose namespace was which, and how often TCP repeated itself."""

    ends_by_inode: dict[int, str] = {}  # noqa: RUF012 - of the last lab
    repeated = 0  # segments

    def __enter__(self) -> Lab:
        lab = super().__enter__()
        WatchedLab.ends_by_inode = {inode: end for end, inode in lab.netns.items()}
        return lab

    def __exit__(self, *args: object) -> None:
        WatchedLab.repeated = sum(self.counter(end, "RetransSegs") for end in self.ends)
        super().__exit__(*args)


def facts(session: Session) -> dict[str, Any]:
    """What the table's head and column say of this machine."""
    import bcc

    host = session.host_facts()
    return {
        "kernel": host["kernel"],
        "bcc": getattr(bcc, "__version__", "unknown"),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        **{k: host[k] for k in ("version", "hooks", "missing_hooks", "missing_members", "gaps")},
    }


def lab_row(outcome: Outcome, ends: dict[int, str], seconds: float) -> dict[str, Any]:
    """One lab in one family: what was expected, what was told, and is it right."""
    told = [explained_row(e, ends.get(e.reset.flow.netns, "")) for e in outcome.explained]
    return {
        "lab": outcome.spec.name,
        "cause": outcome.spec.cause,
        "family": FAMILY_NAMES[outcome.family],
        "verdict": outcome.verdict,
        "skipped": outcome.skipped,
        "problems": list(outcome.problems),
        "weaker": list(outcome.weaker),
        "expected": [
            {"direction": e.direction, "end": e.end, "cause": e.cause, "confidence": e.confidence}
            for e in outcome.spec.expect
        ],
        "explained": told,
        "out_rsts": outcome.out_rsts,
        "told_rsts": sum(row["count"] for row in told if row["by_tcp"]),
        "seconds": round(seconds, 1),
    }


def explained_row(explained: Explained, end: str) -> dict[str, Any]:
    """One reset as it was told. ``by_tcp``: the kernel counts it in TcpOutRsts."""
    reset, verdict = explained.reset, explained.verdict
    return {
        "direction": reset.direction,
        "end": end,
        "cause": verdict.cause,
        "confidence": verdict.confidence,
        "missing": verdict.missing,
        "summary": verdict.summary,
        "count": explained.count,
        "by_tcp": reset.direction in (SENT, SUPPRESSED) and reset.maker in BY_TCP,
    }


def pairs(specs: Sequence[LabSpec], half: bool = False) -> list[tuple[LabSpec, int]]:
    """What is run: labs with a family, or alternating families if only half of it."""
    if half:
        return [(spec, spec.families[i % len(spec.families)]) for i, spec in enumerate(specs)]
    return [(spec, family) for spec in specs for family in spec.families]


def all_specs() -> list[LabSpec]:
    """All labs that a guest can run: of the servers only Python's is there."""
    return [*labs(), *(spec for spec in server_labs() if spec.server == "python")]


def run_labs(names: list[str], gently: bool, half: bool, write: Write) -> None:
    """The labs under one live trace."""
    specs = [spec for name in names for spec in find(name)] or all_specs()
    with Session(load_in_background(prepare(), c_expression(only_labs()))) as session:
        session.learn_host()
        session.warm_up()
        session.context.be_patient(LOOK_UP_S)
        session.pipeline.since_ns = None  # the labs' namespaces are younger than the trace
        write("facts", **facts(session))
        for spec, family in pairs(specs, half):
            began = time.monotonic()
            outcome = run_one(session, spec, family, gently)
            first: list[str] = []
            if outcome.verdict == "WRONG" and WatchedLab.repeated:
                # the machine stood still for so long that TCP sent a segment twice: resets were
                # made that the lab does not promise, and rightly told
                first = outcome.problems
                outcome = run_one(session, spec, family, gently)
            row = lab_row(outcome, WatchedLab.ends_by_inode, time.monotonic() - began)
            write("lab", **row, first=first)
            for problem in first:
                print(f"        disturbed, run again: {problem}", flush=True)
            print(f"{row['verdict']:8}{outcome.name} {row['seconds']} s", flush=True)
            for problem in row["problems"]:
                print(f"        {problem}", flush=True)


def run_one(session: Session, spec: LabSpec, family: int, gently: bool) -> Outcome:
    """One lab in namespaces that are watched."""
    WatchedLab.repeated, WatchedLab.ends_by_inode = 0, {}
    return run_lab(session, spec, family, WatchedLab, change_global_limits=not gently)


def run_commands(write: Write) -> None:
    """What a user does first: ask doctor, then trace."""
    for argv, done in (doctor(), trace_one_reset()):
        print(f"rsttrace {' '.join(argv)}: exit {done.returncode}", flush=True)
        write("command", argv=argv, code=done.returncode, out=done.stdout, err=done.stderr)


Ran = tuple[list[str], "subprocess.CompletedProcess[str]"]


def doctor() -> Ran:
    """``rsttrace doctor`` to its end."""
    argv = ["doctor"]
    return argv, subprocess.run(
        command(argv), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def trace_one_reset() -> Ran:
    """``rsttrace trace``; once it is ready, a connection to a closed port: it tells that and ends.

    Both ends are here: one reset, told as sent and as received.
    """
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory, "ready")
        argv = ["trace", "-P", str(CLOSED_PORT), "-c", "2", "-d", str(int(PATIENCE_S / 2))]
        started = subprocess.Popen(
            command([*argv, "--ready-file", str(ready)]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while started.poll() is None and not ready.exists():
                time.sleep(0.05)
            with socket.socket() as client:
                client.connect_ex(("127.0.0.1", CLOSED_PORT))
            out, err = started.communicate(timeout=PATIENCE_S)
        finally:
            if started.poll() is None:
                started.kill()
    return argv, subprocess.CompletedProcess(argv, started.returncode, out, err)


def command(argv: list[str]) -> list[str]:
    """rsttrace of this checkout."""
    return [sys.executable, "-m", "rsttrace", *argv]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gently", action="store_true")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("file", type=Path)
    parser.add_argument("labs", nargs="*")
    return parser.parse_args()


def main() -> None:
    """Labs first, then commands: what they load must not be there twice."""
    options = arguments()
    os.environ["NO_COLOR"] = "1"
    with options.file.open("w") as out:

        def write(kind: str, **row: Any) -> None:
            json.dump({"row": kind, **row}, out)
            out.write("\n")
            out.flush()

        began = time.monotonic()
        run_labs(options.labs, options.gently, options.half, write)
        if not options.labs:
            run_commands(write)
        write("end", seconds=round(time.monotonic() - began, 1))


if __name__ == "__main__":
    main()
