#!/usr/bin/python3
"""Record every lab on this kernel into tests/data/labs, for the tests that need no root.

Run by hand, as root, from the checkout, with the interpreter that has bcc:

    sudo /usr/bin/python3 tools/record-fixtures.py              # all labs, both families
    sudo /usr/bin/python3 tools/record-fixtures.py closed-port  # one cause, or one variant
    /usr/bin/python3 tools/record-fixtures.py --layout          # tests/data/record-layout.json only
    tools/record-older.sh IMAGE KERNEL                          # on another kernel, see there

A lab that changes a limit of the whole host is passed over without ``--change-global-limits``: say
that in a virtual machine, see tools/vm.

Each file is an ordinary recording (``rsttrace explain FILE`` reads it), cut down to what the
lab's own two namespaces need, plus one line that the reader passes over: ``"type": "lab"``
with the lab's name, its family, the inode numbers of both namespaces, and how many RSTs the
kernel counted. A file is only kept if it replays to exactly what the lab promises. Run it
again after a change of bpf/, of the labs, or of what enrichment looks up, and commit the result.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rsttrace.kernel.loader import bpf_dir  # noqa: E402
from rsttrace.lab import find, labs  # noqa: E402
from rsttrace.lab.base import LabSpec  # noqa: E402
from rsttrace.lab.errors import LabSkip  # noqa: E402
from rsttrace.lab.net import Lab  # noqa: E402
from rsttrace.lab.runner import Outcome, judge, refusal, settle  # noqa: E402
from rsttrace.layout import Layout  # noqa: E402
from rsttrace.recording import Recorder, Recording  # noqa: E402
from rsttrace.replay import replay  # noqa: E402
from rsttrace.session import Session  # noqa: E402

DATA = ROOT / "tests" / "data"
FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}
HOSTNAME = "lab-host"
CHANGE = "--change-global-limits"
INTO = "--into="  # a directory, in place of tests/data/labs
# facts of the host that a replay, or a reader of the file, has a use for; without started_ns
# the trace counts as older than the lab, as it does in ``rsttrace lab run``
HOST_FACTS = (
    *("version", "kernel", "machine", "hooks", "missing_hooks", "gaps", "wall_offset_ns"),
    "symbols",
)


def main(names: list[str]) -> int:
    """Record what is asked for; 1 if a lab was wrong."""
    write_layout()
    if names == ["--layout"]:
        return 0
    change_global_limits = CHANGE in names
    into = next((Path(n[len(INTO) :]) for n in names if n.startswith(INTO)), DATA / "labs")
    names = [name for name in names if name != CHANGE and not name.startswith(INTO)]
    specs = [spec for name in names for spec in find(name)] if names else list(labs())
    into.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for spec in specs:
        if not change_global_limits and refusal(spec):
            print(f"{spec.name}: skipped: {refusal(spec)}")
            continue
        for family in spec.families:
            problems = make(spec, family, into)
            wrong += bool(problems)
            print(f"{spec.name} IPv{FAMILIES[family]}: {'; '.join(problems) or 'recorded'}")
    return 1 if wrong or not specs else 0


def write_layout() -> None:
    """The record's fields and their places, for people and for test_records.py."""
    layout = Layout.parse((bpf_dir() / "record.h").read_text())
    path = DATA / "record-layout.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in field_places(layout))
    path.write_text(f'{{\n  "size": {layout.size},\n  "fields": [\n{rows}\n  ]\n}}\n')


def field_places(layout: Layout) -> list[tuple[str, int, str]]:
    """Name, offset and struct code of each field."""
    done = [Layout(layout.fields[:i], layout.numbers).size for i in range(len(layout.fields))]
    return [(name, at, code) for (name, code), at in zip(layout.fields, done)]


def make(spec: LabSpec, family: int, into: Path) -> list[str]:
    """One file; the problems if the lab or its replay is wrong."""
    name = f"{spec.name.replace('/', '-')}-v{FAMILIES[family]}.rec"
    with tempfile.TemporaryDirectory() as directory:
        raw, small = Path(directory, "raw"), Path(directory, "small")
        try:
            netns, out_rsts = run(spec, family, raw)
        except LabSkip as err:
            return [f"skipped: {err.message}"]
        about = {
            "type": "lab",
            "name": spec.name,
            "family": FAMILIES[family],
            "netns": netns,
            "out_rsts": out_rsts,
        }
        cut_down(raw, small, about)
        recording = Recording(small)
        gaps = tuple(recording.host["gaps"])
        outcome = Outcome(spec, family, replay(recording), gaps=gaps, out_rsts=out_rsts)
        problems = judge(outcome, {inode: end for end, inode in netns.items()})
        if not problems:
            (into / name).write_bytes(small.read_bytes())
        return problems


def run(spec: LabSpec, family: int, path: Path) -> tuple[dict[str, int], int]:
    """Run the lab under a trace of its own; its namespaces and the RSTs the kernel counted."""
    with Session(record=path) as session:
        session.learn_host()
        session.pipeline.since_ns = None
        with Lab(family, spec.topology) as lab:
            before = lab.tcp_out_rsts()
            spec.run(lab)
            out_rsts = lab.tcp_out_rsts() - before
            settle(session)  # explains, so that the recording has what enrichment was asked for
            return dict(lab.netns), out_rsts


def cut_down(source: Path, target: Path, about: dict[str, Any]) -> None:
    """Copy what the two namespaces need: their records, and the names these refer to."""
    recording = Recording(source)
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    spaces = set(about["netns"].values())
    kept = [r for r in records_of(lines, recording.layout.size) if netns_of(recording, r) in spaces]
    values = [recording.layout.unpack(r) for r in kept]
    host = {key: recording.host[key] for key in HOST_FACTS} | {"hostname": HOSTNAME}
    recorder = Recorder(target)
    recorder.header(
        recording.layout,
        {name: dict(recording.enum(name)) for name in lines[0]["enums"]},
        host,
        [x for x in recording.listeners if x.netns in spaces],
    )
    addresses = sorted({a for v in values for a in (*v["kstack"], v["location"]) if a})
    recorder.names({a: recording.symbol(a) for a in addresses})
    pids = {str(v[key]) for v in values for key in ("pid", "h_pid", "h_close_pid")}
    inodes = {str(v["inode"]) for v in values}
    names = {str(x) for x in spaces}
    wanted = {"process": pids, "owner": inodes, "netns": names, "firewall": names}
    for line in unique(x for x in lines if x.get("type") == "context"):
        if line["key"] in wanted.get(line["kind"], ()):
            recorder.context(line["kind"], line["key"], line["value"])
    recorder.records(kept)
    recorder.end(recording.lost)
    # before the end line, as every other kind of line
    *body, end = target.read_text().splitlines()
    target.write_text("\n".join([*body, json.dumps(about), end]) + "\n")


def records_of(lines: list[dict[str, Any]], size: int) -> list[bytes]:
    """All records, without what the perf buffer puts behind each to align the next."""
    found = []
    for line in lines:
        if line.get("type") == "records":
            raw = zlib.decompress(base64.b64decode(line["data"]))
            step = len(raw) // line["count"]
            found += [raw[i : i + size] for i in range(0, len(raw), step)]
    return found


def netns_of(recording: Recording, record: bytes) -> int:
    """The namespace a record belongs to."""
    inode: int = recording.layout.unpack(record)["netns"]
    return inode


def unique(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without repetitions, in the order of the first."""
    return [json.loads(text) for text in dict.fromkeys(map(json.dumps, lines))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
