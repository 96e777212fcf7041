"""The report of every recorded lab: nothing breaks, everything fits, everything is counted."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes import catalogue
from rsttrace.report.model import Watch
from rsttrace.report.sink import ReportSink
from rsttrace.sinks.totals import Totals

from .labfiles import LabFile, lab_file, lab_files

OFFSET = 1_763_700_000_000_000_000
BUCKETS = ("count", "received", "forwarded", "echoes", "effects", "ends")
NOT_WORDS = re.compile(r"\bNone\b|\{[a-z]|\bTops\(|[a-z]\}")

files = pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)


def told(file: LabFile, **options: Any) -> str:
    """The report of one recording."""
    sink = ReportSink(wall_offset_ns=OFFSET, **options)
    totals = Totals()
    for one in file.explained:
        totals.add(one)
        assert sink.reset(one) == ""
    return sink.report(totals, Watch("this host", file.recording.host, 30.0))


@files
def test_text_fits_and_says_something(file: LabFile) -> None:
    lines = told(file).splitlines()
    assert lines[0].strip()
    assert not NOT_WORDS.search(lines[0])
    assert [line for line in lines if len(line) > 80] == []
    assert not any(line != line.rstrip() for line in lines)
    assert "\x1b" not in "\n".join(lines)


@files
def test_document_counts_everything_once(file: LabFile) -> None:
    document = json.loads(told(file, as_json=True))
    groups = [*document["findings"], *document["harmless"]]
    everything = sum(one.count for one in file.explained)
    assert sum(group[name] for group in groups for name in BUCKETS) == everything
    assert sum(group["count"] for group in groups) == document["incidents"]
    assert document["rest"] == {"count": 0, "harmless": 0}
    assert [f["rank"] for f in document["findings"]] == list(
        range(1, len(document["findings"]) + 1)
    )
    for finding in document["findings"]:
        assert finding["cause"] in catalogue()
        assert finding["example"]["cause"] == finding["cause"]
        assert sum(finding["confidences"].values()) == finding["count"]
        assert not NOT_WORDS.search(finding["headline"])
    harmful = any(not one.verdict.benign and not one.reset.origin for one in file.explained)
    # what a program did is harmless where the other end says so
    assert document["harmful"] is bool(document["findings"])
    assert harmful or not document["harmful"]
    assert all(group["benign"] for group in document["harmless"])


@files
def test_a_lab_is_about_its_own_cause(file: LabFile) -> None:
    """Both ends are on this host: a RST is told once, by the cause at the end that made it."""
    document = json.loads(told(file, as_json=True))
    found = {group["cause"] for group in (*document["findings"], *document["harmless"])}
    senders = {
        one.verdict.cause
        for one in file.explained
        if not one.reset.peer or one.reset.direction not in ("received", "rejected")
    }
    assert found <= senders
    for group in document["findings"]:
        ends = group["received"] + group["forwarded"]
        assert ends or group["who"]["receivers"] == []


@pytest.mark.parametrize("width", [40, 60, 120])
def test_any_width(width: int) -> None:
    for file in lab_files()[::12]:
        text = told(file, width=width)
        too_long = [line for line in text.splitlines() if len(line) > width]
        # what cannot be broken: a word of a command
        assert all(len(shlex.split(line.rstrip("\\"))) == 1 for line in too_long), too_long


def test_verbose_tells_more_and_fits() -> None:
    for file in lab_files()[::12]:
        text = told(file, verbose=True)
        assert len(text) >= len(told(file))
        assert max(map(len, text.splitlines())) <= 80


def test_both_ends_in_any_order() -> None:
    """The groups do not depend on which end is told first."""
    for name in ("listener-closed-closed-v4", "forwarded-reset-routed-v6", "idle-expired-v4"):
        file = lab_file(name)
        there, back = ReportSink(as_json=True), ReportSink(as_json=True)
        for one in file.explained:
            there.reset(one)
        for one in reversed(file.explained):
            back.reset(one)
        watch = Watch("this host", {}, 1.0)
        first, second = (json.loads(s.report(Totals(), watch)) for s in (there, back))
        for document in (first, second):
            for finding in document["findings"]:
                finding.pop("example")  # of equals, the first
        assert first == second


def test_only_the_received_end_is_in_scope() -> None:
    """The sender's record is not in the report: the received one stands for itself."""
    received = [e for e in lab_file("linger-zero-established-v4").explained if e.reset.peer]
    received = [one for one in received if one.reset.direction == "received"]
    sink = ReportSink(as_json=True)
    for one in received:
        sink.reset(one)
    document = json.loads(sink.report(Totals(), Watch("this host", {}, 1.0)))
    assert [f["cause"] for f in document["findings"]] == ["peer-reset"]
    assert document["findings"][0]["count"] == len(received) == 1


def test_what_did_no_harm_at_the_other_end_is_harmless() -> None:
    """A health check that ends with SO_LINGER 0, beside an aborted connection."""
    sink = ReportSink(as_json=True)
    for number, name in enumerate(("connect-and-abort-accepted-v4", "linger-zero-established-v4")):
        for one in lab_file(name).explained:
            peer = one.reset.peer
            assert peer
            shifted = replace(one.reset, id=one.reset.id + 100 * number)
            shifted.peer = replace(peer, id=peer.id + 100 * number)
            sink.reset(replace(one, reset=shifted))
    document = json.loads(sink.report(Totals(), Watch("this host", {}, 1.0)))
    (finding,), (harmless,) = document["findings"], document["harmless"]
    assert finding["cause"] == harmless["cause"] == "linger-zero"
    assert finding["who"]["there"].startswith("client")
    assert (finding["benign"], harmless["benign"]) == (False, True)
