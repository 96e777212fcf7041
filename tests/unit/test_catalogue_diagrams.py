"""One style for all diagrams of the catalogue, that of sinks/diagram.py: this host on the right.

    peer                              this host
      |                                   |
      | ------------- data -------------> |  a note
      |                                   |
    what the application sees

An arrow ends one column from the lane and has its label in the middle (``sinks.diagram.arrow``);
one that is dropped on its way to the left ends in an x.
"""

from __future__ import annotations

import re
import textwrap

import pytest

from rsttrace.causes import catalogue
from rsttrace.sinks.diagram import arrow
from rsttrace.sinks.pages import WIDTH, cause_page

MAX_WIDTH = 72
TWO_LANES = [2, 38]
# what is no event on the wire has no lanes to draw
NO_DIAGRAM = {"unknown", "insufficient-data"}

_LABELLED = re.compile(r"(?P<head>[<x]?)-+ (?P<label>\S.*\S|\S) -+(?P<tail>>?)")
_PLAIN = re.compile(r"(?P<head>[<x]?)-+(?P<tail>>?)(?P<label>)")
_CROSSING = re.compile(r"[-<>'.+ ]*[-'.+]{2}[^|]*")  # one segment passes another

each = pytest.mark.parametrize("cause", sorted(set(catalogue()) - NO_DIAGRAM))


def rows_of(cause: str) -> list[str]:
    return catalogue()[cause].diagram.strip("\n").splitlines()


def lanes_of(rows: list[str]) -> list[int]:
    """Columns of the lanes, by the first row that has nothing else."""
    bare = next(row for row in rows if row.strip() and not row.strip("| "))
    return [column for column, sign in enumerate(bare) if sign == "|"]


def drawn(cause: str) -> list[str]:
    """The rows with lanes, without one that only names a lane anew."""
    return [row for row in rows_of(cause) if "|" in row and not row[0].isalnum()]


def between(row: str, lanes: list[int]) -> list[str]:
    """What stands between each two lanes; an arrow may pass a lane in the middle."""
    there = [lane for lane in lanes if row[lane] == "|"]
    return [row[a + 1 : b] for a, b in zip(there, there[1:])]


def test_which_have_one() -> None:
    without = {name for name, entry in catalogue().items() if not entry.diagram.strip()}
    assert without == NO_DIAGRAM


@each
def test_characters_and_width(cause: str) -> None:
    for row in rows_of(cause):
        assert len(row) <= MAX_WIDTH, row
        assert row.isascii(), row
        assert row.isprintable(), row
        assert row == row.rstrip(), row


@each
def test_lanes_are_straight(cause: str) -> None:
    rows = rows_of(cause)
    lanes = lanes_of(rows)
    assert lanes == TWO_LANES or (len(lanes) == 3 and lanes[0] == TWO_LANES[0])
    with_lanes = [row for row in rows if "|" in row]
    assert with_lanes == rows[1 : 1 + len(with_lanes)], "in one piece, below the labels"
    for row in drawn(cause):
        assert len(row) > lanes[-1], row
        assert row[: lanes[0]].strip() == "", row
        assert (row[lanes[0]], row[lanes[-1]]) == ("|", "|"), row
        note = row[lanes[-1] + 1 :]
        assert not note or re.match(r"  \S", note), f"two columns before a note: {row}"
    last = with_lanes[-1]
    assert not "".join(between(last, lanes)).strip(), "the lanes go on below the last arrow"


@each
def test_labels_stand_above_their_lanes(cause: str) -> None:
    labels, *rows = rows_of(cause)
    lanes = lanes_of(rows)
    found = [(m.start(), m.end(), m.group()) for m in re.finditer(r"\S+( \S+)*", labels)]
    assert len(found) == len(lanes), labels
    for (start, end, label), lane in zip(found, lanes):
        assert start <= lane < end, label
    if len(lanes) == 2:
        assert found[1][2].split(" (")[0] == "this host", "this host is on the right"


@each
def test_arrows(cause: str) -> None:
    """The message says how the arrow should be."""
    lanes = lanes_of(rows_of(cause))
    for row in drawn(cause):
        for body in between(row, lanes):
            assert not body.strip() or (body[0] == " " and body[-1] == " "), row
            text = body.strip()
            found = _LABELLED.fullmatch(text) or _PLAIN.fullmatch(text)
            if found:
                way = found["head"] + found["tail"]
                assert way, f"an arrow without a head: {row}"
                assert body[1:-1] == arrow(way, found["label"], len(body) - 2), row
            elif re.search(r"--|[<>]", text):
                assert _CROSSING.fullmatch(text), f"neither an arrow nor a crossing: {row}"


@each
def test_page_shows_it_below_what_happened(cause: str) -> None:
    page = cause_page(catalogue()[cause])
    shown = textwrap.indent("\n".join(rows_of(cause)), "  ").splitlines()
    rows = page.splitlines()
    start = rows.index("DIAGRAM")
    assert rows.index("WHAT HAPPENED") < start < rows.index("WHAT TO CHANGE")
    assert rows[start + 1 : start + 1 + len(shown)] == shown
    assert all(len(row) <= WIDTH for row in shown)
