"""The counts and the summary."""

from __future__ import annotations

from rsttrace.sinks.summary import summary_text
from rsttrace.sinks.totals import Totals

from .build import A1, decided, explained, judged, received_reset, sent_reset, sock
from .labfiles import lab_file
from .told import told

HARMLESS = explained(received_reset(judged("FIN_WAIT2", sock=sock(has_socket=False))))


def test_totals() -> None:
    totals = Totals()
    for one in lab_file("late-segment-closed-port-v4").explained:
        totals.add(one)
    assert (totals.resets, totals.benign) == (4, 2)
    assert totals.directions == {"sent": 2, "received": 1, "rejected": 1}
    assert totals.causes[("late-segment", "sent")] == 1
    assert sum(totals.causes.values()) == totals.resets


def test_one_that_stands_for_several_counts_for_all() -> None:
    totals = Totals()
    totals.add(told("late-segment", count=5, benign=True))
    totals.add(told("linger-zero", count=2))
    totals.add(told("late-segment"))
    assert (totals.resets, totals.benign) == (8, 5)
    assert totals.directions == {"sent": 8}
    assert totals.causes == {("late-segment", "sent"): 6, ("linger-zero", "sent"): 2}


def test_nothing_happened() -> None:
    assert summary_text(Totals()) == "0 resets, 0 of them harmless; no records lost."


def test_one_is_not_many() -> None:
    totals = Totals(duration_s=61)
    totals.add(HARMLESS)
    assert summary_text(totals).startswith("1 reset in 61 s, 1 of them harmless; no records lost.")


def test_losses_are_said() -> None:
    assert "17 records lost" in summary_text(Totals(lost=17))


def test_table_has_the_most_frequent_first() -> None:
    totals = Totals()
    totals.add(HARMLESS)
    for _ in range(3):
        totals.add(explained(sent_reset(decided(A1))))
    rows = summary_text(totals).splitlines()[3:]
    assert rows[0].split()[:3] == ["3", "sent", "unread-data-on-close"]
    assert rows[1].split()[:3] == ["1", "received", "reset-after-fin"]
    assert len(rows) == 2
