"""One table row for each reset."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.enrich import Facts, Process
from rsttrace.sinks.oneline import OneLineSink
from rsttrace.sinks.words import relative_clock

from .build import A1, FLOW6, NGINX, T, arrived, decided, explained, reset, sent_reset, sock
from .labfiles import LabFile, lab_files
from .told import told

CLOCK = relative_clock(T)
UNREAD = sock(rcv_nxt=1312, copied_seq=1000)


def row(one: Any, wide: bool = False) -> str:
    return OneLineSink(CLOCK, wide).reset(one)


# IPv6 needs the wide columns
NARROW = [pytest.param(f, False, id=f"{f.name}-narrow") for f in lab_files() if "v4" in f.name]
WIDE = [pytest.param(f, True, id=f"{f.name}-wide") for f in lab_files()]


@pytest.mark.parametrize(("file", "wide"), [*NARROW, *WIDE])
def test_columns_stand_below_their_names(file: LabFile, wide: bool) -> None:
    header = OneLineSink(CLOCK, wide).start({})
    for one in file.explained:
        line = row(one, wide)
        assert "\n" not in line
        assert line == line.rstrip()
        for name, value in (
            ("LOCAL", one.reset.flow.local),
            ("REMOTE", one.reset.flow.remote),
            ("CAUSE", one.verdict.cause),
        ):
            place = header.index(name)
            assert line[place:].lstrip("[").startswith(value), line
            assert line[place - 1] == " "


def test_row() -> None:
    one = explained(sent_reset(decided(A1, sock=UNREAD)), Facts(owner=NGINX))
    assert row(one).split() == [
        "0.000000",
        "SENT",
        "10.0.0.5:8080",
        ">",
        "10.0.0.9:51234",
        "nginx[1432]",
        "unread-data-on-close",
    ]


def test_unsure_cause_has_a_question_mark() -> None:
    unsure = explained(sent_reset(decided(A1)))
    assert unsure.verdict.confidence == "likely"
    assert row(unsure).endswith(" unread-data-on-close?")


def test_wide_adds_confidence_and_reason() -> None:
    one = explained(sent_reset(decided(A1, sock=UNREAD, reason="TCP_ABORT_ON_CLOSE")))
    assert row(one, wide=True).endswith("unread-data-on-close  certain    TCP_ABORT_ON_CLOSE")
    unnamed = explained(sent_reset(decided(A1, sock=UNREAD)))
    assert row(unnamed, wide=True).endswith("certain    -")


def test_number_of_equal_ones() -> None:
    echoes = told("late-segment", count=3)
    assert row(echoes).endswith(" late-segment x 3")
    assert row(told("late-segment", count=3, confidence="likely")).endswith(" late-segment? x 3")
    assert row(echoes, wide=True).endswith(" late-segment x 3  certain    -")
    assert " x " not in row(told("late-segment"))


def test_an_abort_without_a_reset() -> None:
    columns = row(told("retransmit-timeout", direction="none", error=decided(A1))).split()
    assert columns[1:5] == ["ABORT", "10.0.0.5:8080", "-", "10.0.0.9:51234"]


def test_process() -> None:
    closer = explained(sent_reset(decided(A1, sock=UNREAD)), Facts(closer=Process(5, "java")))
    assert " java[5] " in row(closer)
    nobody = explained(sent_reset(decided(A1, sock=UNREAD)))
    assert " -  " in row(nobody)


def test_ipv6_wide() -> None:
    one = explained(reset(direction="received", wire=arrived(), flow=FLOW6))
    assert "[fd00::5]:8080" in row(one, wide=True)
    assert "<" in row(one)


def test_header_lost_and_summary() -> None:
    columns = ["TIME", "DIR", "LOCAL", "REMOTE", "PROCESS", "CAUSE"]
    assert OneLineSink(CLOCK).start({}).split() == columns
    assert OneLineSink(CLOCK, True).start({}).split()[-2:] == ["CONFIDENCE", "REASON"]
    assert OneLineSink(CLOCK, header=False).start({}) == ""
    assert "7 records lost" in OneLineSink(CLOCK).lost(7)
