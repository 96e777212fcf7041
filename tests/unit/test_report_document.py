"""The report as a JSON document: schema 1 is a promise (docs/report.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsttrace.completeness import Completeness
from rsttrace.enrich import Facts
from rsttrace.output import printable
from rsttrace.report.model import Attempt, Command, Probe, Watch
from rsttrace.report.sink import ReportSink
from rsttrace.sinks.jsonl import completeness_object, reset_object
from rsttrace.sinks.totals import Totals

from .build import FLOW, NGINX, T, decided, history, left
from .told import told

DOCS = Path(__file__).resolve().parents[2] / "docs"
# told elsewhere, or by names that are not the report's
ELSEWHERE = {"example", "completeness", "counters", "settings"}
COMMAND = Command(("curl", "x"), 2001, -15, 1.23456, 2)
ATTEMPT = Attempt("10.0.0.9", 443, "10.0.0.5", 0, "refused", "connect", "ECONNREFUSED", None, 0.1)
WATCH = Watch(
    "curl and its children",
    {"hostname": "web1", "kernel": "6.1.0", "started_ns": T},
    30.12345,
    scoped=True,
    others=4,
    command=COMMAND,
    probe=Probe("web:443", True, (ATTEMPT,)),
    counters={"TcpOutRsts": 3},
    problems=("No reset reasons.",),
)
ONE = told(
    "unread-data-on-close",
    facts=Facts(owner=NGINX, actor=NGINX, netns_name="blue"),
    decided=decided(history=history(flags=2)),
    wire=left(),
    settings=(("net.core.somaxconn", "128"),),
    missing="the trigger",
    confidence="likely",
)
LATE = told("late-segment", 2, benign=True, decided=decided())


def document(*told: Any, watch: Watch = WATCH, totals: Totals | None = None) -> dict[str, Any]:
    sink = ReportSink(as_json=True, wall_offset_ns=10**18)
    for one in told:
        sink.reset(one)
    found: dict[str, Any] = json.loads(sink.report(totals or Totals(), watch))
    return found


def keys(value: Any, below: str = "") -> Iterator[str]:
    """All keys of the report's own objects."""
    if isinstance(value, list):
        for one in value:
            yield from keys(one, below)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            if key not in ELSEWHERE:
                yield from keys(one, key)


def shape(value: Any) -> Any:
    """Keys without values: what must be there in every document."""
    if not isinstance(value, dict):
        return None
    return {key: shape(one) if key not in ELSEWHERE else None for key, one in value.items()}


def test_the_page_names_every_key_and_no_other() -> None:
    page = (DOCS / "report.md").read_text()
    cells = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    named = set(re.findall(r"`([a-z_]+)`", " ".join(cells)))
    inline = set(re.findall(r"`([a-z_]+)`", page))
    used = set(keys(document(ONE, LATE)))
    assert used <= inline, used - inline
    assert named <= used, named - used
    assert len(used) > 70


def test_what_does_not_apply_is_null_never_absent() -> None:
    full, bare = document(ONE, LATE), document(LATE, watch=Watch("this host", {}, 0.0))
    for key in ("command", "probe", "counters", "completeness"):
        assert bare[key] is None
    assert set(bare) == set(full)
    assert shape(bare["watched"]) == shape(full["watched"])
    sparse = document(told("closed-port", decided=decided(sock=None, history=None)))
    assert (
        shape(sparse["findings"][0].pop("evidence")).keys()
        == full["findings"][0]["evidence"].keys()
    )
    assert set(sparse["findings"][0]) | {"evidence"} == set(full["findings"][0])
    assert set(bare["harmless"][0]) < set(full["findings"][0])


def test_values() -> None:
    done = Completeness(explained=3, counted=3, told=3)
    found = document(ONE, LATE, totals=Totals(resets=2, lost=7, completeness=done))
    assert (found["schema"], found["type"], found["lost"]) == (1, "report", 7)
    assert found["incidents"] == 2
    assert found["completeness"] == completeness_object(done)
    assert found["counters"] == {"TcpOutRsts": 3}
    assert found["problems"] == ["No reset reasons."]
    assert found["watched"] == {
        "what": "curl and its children",
        "hostname": "web1",
        "kernel": "6.1.0",
        "started": "2001-09-09T02:03:20.000000000Z",
        "seconds": 30.123,
        "scoped": True,
        "others": 4,
    }
    assert found["command"] == {
        "argv": ["curl", "x"],
        "pid": 2001,
        "status": None,
        "signal": 15,
        "seconds": 1.235,
        "processes": 2,
    }
    assert found["probe"]["attempts"][0]["errno"] == "ECONNREFUSED"
    assert found["probe"]["attempts"][0]["local_port"] is None
    (harmless,) = found["harmless"]
    assert (harmless["cause"], harmless["count"]) == ("late-segment", 1)


def test_a_finding() -> None:
    found = document(ONE, replace(ONE, reset=replace(ONE.reset, id=3, time_ns=T + 5)))
    (finding,) = found["findings"]
    assert found["verdict"] == finding["headline"]
    assert finding["headline"] == (
        "Probably nginx[1432] resets client 10.0.0.9: 2 of 2 resets, unread data on close"
    )
    assert (finding["rank"], finding["count"], finding["benign"]) == (1, 2, False)
    assert finding["confidences"] == {"certain": 0, "likely": 2, "possible": 0, "unknown": 0}
    assert finding["first"].endswith("00Z")
    assert finding["last"].endswith("05Z")
    assert finding["who"]["owners"] == [{"process": "nginx[1432]", "count": 2}]
    assert finding["who"]["netns"] == {"inode": FLOW.netns, "name": "blue"}
    assert finding["endpoints"]["service"] == "10.0.0.5:8080"
    assert finding["endpoints"]["remotes"] == [{"address": "10.0.0.9", "count": 2}]
    assert finding["evidence"]["age_s"] == {"min": 2.0, "max": 2.000000005}
    assert finding["evidence"]["queue_used"] is None
    assert finding["settings"] == {"net.core.somaxconn": "128"}
    assert finding["missing"] == ["the trigger"]
    assert found["missing"] == [{"fact": "the trigger", "count": 2}]
    assert finding["example"] == json.loads(json.dumps(reset_object(ONE, 10**18)))


@pytest.mark.parametrize(("status", "signal"), [(0, None), (7, None), (None, None)])
def test_command_status(status: int | None, signal: int | None) -> None:
    watch = replace(WATCH, command=replace(COMMAND, status=status))
    command = document(watch=watch)["command"]
    assert (command["status"], command["signal"]) == (status, signal)


def test_texts_of_others_are_only_text() -> None:
    """Bytes that are no text would end the report, others command a terminal."""
    evil = "\udcff\x1b[31m"
    probe = Probe(evil, False, (replace(ATTEMPT, text=evil),), problem=evil)
    watch = replace(
        WATCH, what=evil, command=replace(COMMAND, argv=(evil, "y")), probe=probe, problems=(evil,)
    )
    for as_json in (True, False):
        text = ReportSink(as_json=as_json).report(Totals(), watch)
        text.encode()
        assert text.replace("\n", "").isprintable()
    found = document(watch=watch)
    assert found["command"]["argv"] == [printable(evil), "y"]
    assert found["probe"]["target"] == found["probe"]["problem"] == printable(evil)


def test_harmful_agrees_with_fail_on() -> None:
    for resets in ((), (LATE,), (ONE,), (LATE, ONE)):
        sink = ReportSink(as_json=True)
        for one in resets:
            sink.reset(one)
        harmful = json.loads(sink.report(Totals(), WATCH))["harmful"]
        assert harmful is sink.matches(["harmful"])
