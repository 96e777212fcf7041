"""tools/vm/coverage_table.py: rows of guests as docs/coverage.md."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "vm"))

from coverage_table import (
    BY_NATURE,
    NO_LAB,
    UNREASONED,
    Answer,
    Notes,
    answers,
    by_kernel,
    cell,
    markdown,
    page,
)
from guest_runs import Result

FACTS = {
    "kernel": "5.10.0-32-cloud-amd64",
    "bcc": "0.18.0",
    "python": "3.9.2",
    "time": "2026-11-21 13:34",
    "gaps": ["reason"],
}


def expect(cause: str, end: str = "server", **more: str) -> dict[str, str]:
    return {"direction": "sent", "end": end, "cause": cause, "confidence": "certain", **more}


def told(cause: str, end: str = "server", **more: str) -> dict[str, str]:
    return {**expect(cause, end), "missing": "", "summary": "It did.", **more}


def row(expected: list[Any], explained: list[Any], **more: Any) -> dict[str, Any]:
    """A row of in_guest.py, as far as the table looks at it."""
    names = {"lab": "closed-port/plain", "cause": "closed-port", "family": "IPv4"}
    fixed = {"verdict": "right", "skipped": "", "problems": []}
    return {**names, **fixed, "expected": expected, "explained": explained, **more}


def levels(one: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(a.cause, a.level, a.why) for a in answers(one)]


def test_each_expected_reset_gets_its_answer() -> None:
    both = [expect("closed-port"), expect("connection-refused", "client")]
    said = [told("connection-refused", "client"), told("closed-port")]
    assert levels(row(both, said)) == [
        ("closed-port", "certain", ""),
        ("connection-refused", "certain", ""),
    ]


def test_one_answer_is_not_taken_twice() -> None:
    one = row([expect("late-segment"), expect("late-segment")], [told("late-segment")])
    assert levels(one) == [
        ("late-segment", "certain", ""),
        ("late-segment", "WRONG", "nothing was told"),
    ]


@pytest.mark.parametrize(
    ("said", "level", "why"),
    [
        (told("x", confidence="likely", missing="the reason"), "likely", "missing: the reason"),
        (told("x", confidence="likely"), "likely", UNREASONED),
        (
            told("insufficient-data", confidence="unknown", missing="the reason"),
            "insufficient",
            "missing: the reason",
        ),
    ],
)
def test_less_than_certain_says_why(said: dict[str, str], level: str, why: str) -> None:
    assert levels(row([expect("x")], [said], verdict="weaker")) == [("x", level, why)]


def test_what_is_never_more_than_likely() -> None:
    one = row([expect("x", confidence="likely")], [told("x", confidence="likely")])
    assert levels(one) == [("x", "likely", BY_NATURE)]


def test_another_cause_is_wrong_unless_the_lab_accepts_it() -> None:
    """Even where the right end and direction have another cause: that is what is shown."""
    said = [told("y", confidence="likely")]
    assert levels(row([expect("x")], said, verdict="WRONG")) == [
        ("x", "WRONG", "told as y, likely")
    ]
    assert levels(row([expect("x")], said, verdict="weaker")) == [("x", "likely", "told as y")]


def test_insufficient_data_is_preferred_to_a_strange_cause() -> None:
    said = [told("y"), told("insufficient-data", confidence="unknown", missing="why")]
    assert levels(row([expect("x")], said, verdict="WRONG")) == [
        ("x", "insufficient", "missing: why")
    ]


def test_a_skipped_lab_was_not_tried() -> None:
    one = row([expect("x"), expect("x", "client")], [], verdict="skipped", skipped="no module")
    assert levels(one) == [("x", "not tried", "no module")]


def test_cell_lists_levels_from_best_to_worst_with_their_notes() -> None:
    notes = Notes()
    found = [
        Answer("x", "insufficient", "missing: b", "x/two"),
        Answer("x", "certain", "", "x/one"),
        Answer("x", "likely", "missing: a", "x/three"),
        Answer("x", "likely", "missing: a", "x/four"),
    ]
    assert cell(found, notes) == "certain, likely [1], insufficient [2]"
    assert notes.lines() == ["1. missing: a (x/four, x/three)", "2. missing: b (x/two)"]


def test_same_reason_has_one_number() -> None:
    notes = Notes()
    assert cell([Answer("x", "likely", "missing: a", "x/one")], notes) == "likely [1]"
    assert cell([Answer("y", "likely", "missing: a", "y/one")], notes) == "likely [1]"
    assert notes.lines() == ["1. missing: a (x/one, y/one)"]


def test_cell_of_what_was_not_tried() -> None:
    notes = Notes()
    assert cell([], notes) == "not tried [1]"
    assert cell([Answer("x", "not tried", "no module", "x/one")], notes) == "not tried [2]"
    some = [Answer("x", "certain", "", "x/two"), Answer("x", "not tried", "no module", "x/one")]
    assert cell(some, notes) == "certain [2]"
    assert notes.lines() == [f"1. {NO_LAB}", "2. not tried: no module (x/one)"]


def test_markdown_cells_cannot_break_the_table() -> None:
    assert markdown(["a|b"], [["c"]]) == ["| a\\|b |", "| --- |", "| c |"]


@dataclass(frozen=True)
class Gap:
    text: str
    instead: str


GAPS = {
    "reason": Gap("no reason", "the stack"),
    "btf": Gap("no types", ""),
    "other": Gap("nobody lacks it", ""),
}


def test_page() -> None:
    """The oldest kernel first, causes in the order given, the whole thing the same each time."""
    good = row([expect("closed-port")], [told("closed-port")])
    weak = row(
        [expect("closed-port")],
        [told("closed-port", confidence="likely", missing="the reason")],
        verdict="weaker",
    )
    new = {**FACTS, "kernel": "7.2.13+deb14-cloud-amd64", "gaps": ["btf"]}
    results = [
        Result("sid", new, {}, (good,)),
        Result("bullseye", FACTS, {"libllvm11": "1:11.0.1-2"}, (weak,)),
    ]
    text = page(results, ["closed-port", "tls"], GAPS)
    assert text == page(results[::-1], ["closed-port", "tls"], GAPS)
    lines = text.splitlines()
    assert (
        "| bullseye | 5.10.0-32-cloud-amd64 | 0.18.0 | 11.0.1-2 | 3.9.2 | 2026-11-21 13:34 "
        "| 0 | 1 | 0 | 0 |  |"
    ) in lines
    assert "| cause | 5.10, bcc 0.18 (bullseye) | 7.2, bcc 0.18 (sid) |" in lines
    assert "| closed-port | likely [1] | certain |" in lines
    assert "| tls | not tried [2] | not tried [2] |" in lines
    assert "1. missing: the reason (closed-port/plain)" in lines
    assert "| no reason | the stack | 5.10, bcc 0.18 (bullseye) |" in lines
    assert "| no types | nothing | 7.2, bcc 0.18 (sid) |" in lines
    assert "nobody lacks it" not in text
    assert "wrong" not in lines[-1]


def test_kernels_are_sorted_as_numbers() -> None:
    releases = ("6.12.1", "6.2.9-a", "6.12.1")
    results = [
        Result(guest, {"kernel": kernel, "bcc": bcc})
        for guest, kernel, bcc in zip("abc", releases, ("0.31.0", "0.26", "0.4.0"))
    ]
    assert [result.guest for result in by_kernel(results)] == ["b", "c", "a"]


def test_wrong_labs_are_listed() -> None:
    one = row([expect("x")], [], verdict="WRONG", problems=["expected sent x", "and more"])
    text = page([Result("sid", FACTS, {}, (one,))], ["x"], {})
    assert text.endswith("- 5.10, bcc 0.18 (sid): closed-port/plain IPv4: expected sent x\n")


def test_a_guest_that_stopped_half_way_says_so() -> None:
    assert "did not come to its end" in page(
        [Result("sid", FACTS, problem="exit status 125")], [], {}
    )
