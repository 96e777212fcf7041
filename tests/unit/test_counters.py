"""The resets that were told, held against the kernel's own TcpOutRsts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsttrace import completeness
from rsttrace.completeness import (
    NOT_EXPLAINED,
    Completeness,
    Reading,
    Readings,
    Tally,
    increments,
)
from rsttrace.explain import Explained
from rsttrace.packet import SYN
from rsttrace.sinks.summary import summary_text
from rsttrace.sinks.totals import Totals

from .build import (
    FIREWALL,
    FLOW,
    MS,
    NETNS,
    OTHER_NETNS,
    SECOND,
    XMIT,
    T,
    answered,
    arrived,
    decided,
    dropped,
    left,
    rst,
    segment,
)
from .told import told

THERE = replace(FLOW, netns=OTHER_NETNS)
ACTIVE: dict[str, Any] = {"decided": decided()}
PASSIVE: dict[str, Any] = {"decided": answered(segment(SYN))}
BY_FIREWALL: dict[str, Any] = {"wire": left(frames=FIREWALL)}
BY_TOOL: dict[str, Any] = {"wire": left(frames=(*XMIT, "raw_sendmsg"))}
START, END = T - SECOND, T + SECOND


def sent(cause: str = "linger-zero", time_ns: int = T, **changes: Any) -> Explained:
    return told(cause, 1, time_ns, **{**ACTIVE, **changes})


def readings(time_ns: int, **namespaces: int) -> Readings:
    """The counters of ``host`` and ``there`` at this time."""
    inodes = {"host": NETNS, "there": OTHER_NETNS}
    return {inodes[name]: Reading(number, time_ns) for name, number in namespaces.items()}


def first(**namespaces: int) -> Readings:
    return readings(START, **namespaces)


def last(**namespaces: int) -> Readings:
    return readings(END, **namespaces)


def compare(before: Readings, after: Readings, *explained: Explained) -> Completeness:
    tally = Tally()
    tally.start(before)
    tally.stop(after)
    for one in explained:
        tally.add(one)
    return tally.compare(0)


def counted(done: Completeness) -> tuple[int | None, int | None]:
    return done.counted, done.told


# -- what is counted -------------------------------------------------------------------------------


def test_every_reset_was_told() -> None:
    done = compare(first(host=40), last(host=42), sent(), sent(**PASSIVE))
    assert done == Completeness(explained=2, counted=2, told=2, namespaces=1)
    assert not done.differs


def test_nothing_happened() -> None:
    done = compare(first(host=40, there=0), last(host=40, there=0))
    assert done == Completeness(counted=0, told=0, namespaces=2)
    assert not done.differs


def test_an_echo_that_stands_for_several_counts_for_all() -> None:
    echoes = sent("late-segment", count=7, **PASSIVE)
    done = compare(first(host=0), last(host=8), sent(), echoes)
    assert (done.explained, counted(done)) == (8, (8, 8))
    made = sent("firewall-reject", count=3, **{"decided": None, **BY_FIREWALL})
    assert compare({}, {}, made).outside_tcp == 3


def test_not_seen() -> None:
    done = compare(first(host=40), last(host=45), sent(), sent())
    assert (counted(done), done.differs) == ((5, 2), True)


def test_seen_but_not_counted() -> None:
    done = compare(first(host=40), last(host=41), sent(), sent())
    assert (counted(done), done.differs) == ((1, 2), True)


@pytest.mark.parametrize("cause", ["unknown", "insufficient-data"])
def test_unexplained_ones_are_told_all_the_same(cause: str) -> None:
    assert cause in NOT_EXPLAINED
    done = compare(first(host=0), last(host=3), sent(), sent(cause, count=2))
    assert (done.explained, done.unexplained, counted(done)) == (1, 2, (3, 3))


@pytest.mark.parametrize("parts", [BY_FIREWALL, BY_TOOL], ids=["firewall", "tool"])
def test_what_is_made_outside_tcp_is_not_in_the_counter(parts: dict[str, Any]) -> None:
    outside = sent("firewall-reject", decided=None, **parts)
    done = compare(first(host=0), last(host=1), sent(), outside)
    assert done == Completeness(explained=1, outside_tcp=1, counted=1, told=1, namespaces=1)


def test_suppressed_ones_were_counted_as_tcp_made_them() -> None:
    """TCP counts, then the firewall drops."""
    gone = sent(direction="suppressed", judged=dropped(rst(), "NETFILTER_DROP"))
    done = compare(first(host=0), last(host=1), gone)
    assert (done.explained, counted(done)) == (1, (1, 1))


@pytest.mark.parametrize("direction", ["received", "rejected", "forwarded", "none"])
def test_what_this_host_did_not_send_is_not_counted(direction: str) -> None:
    other = told("peer-reset", direction=direction, wire=arrived())
    assert compare(first(host=4), last(host=4), other) == Completeness(
        counted=0, told=0, namespaces=1
    )


# -- time ------------------------------------------------------------------------------------------


def test_told_but_in_the_first_reading_already() -> None:
    """The programs run before the counters are read."""
    early, late = sent(time_ns=START - 1), sent(time_ns=START)
    done = compare(first(host=41), last(host=42), early, late)
    assert (done.explained, counted(done)) == (2, (1, 1))
    assert not done.differs


def test_each_namespace_was_read_at_its_own_time() -> None:
    before = {NETNS: Reading(1, T), OTHER_NETNS: Reading(0, T + 2 * MS)}
    here, there = sent(time_ns=T + MS), sent(time_ns=T + MS, flow=THERE)
    assert counted(compare(before, last(host=2, there=0), here, there)) == (1, 1)


def test_told_but_after_the_last_reading() -> None:
    """The trace goes on until all that was there is read."""
    done = compare(first(host=0), last(host=1), sent(time_ns=END), sent(time_ns=END + 1))
    assert (done.explained, counted(done)) == (2, (1, 1))
    after = {NETNS: Reading(0, T), OTHER_NETNS: Reading(1, T + 2 * MS)}
    here, there = sent(time_ns=T + MS), sent(time_ns=T + MS, flow=THERE)
    assert counted(compare(first(), after, here, there)) == (1, 1)


def test_early_ones_of_a_namespace_that_ended_do_not_count_twice() -> None:
    early = sent(time_ns=START - 1, flow=THERE)
    done = compare(first(host=5, there=5), last(host=6), early, sent())
    assert (counted(done), done.gone) == ((1, 1), 1)


def test_resets_that_are_told_before_the_first_reading_is_there() -> None:
    """The reading is taken in the background."""
    tally = Tally()
    tally.add(sent(time_ns=START - 1))
    tally.add(sent("unknown", time_ns=START + 1))
    tally.start(first(host=10))
    tally.add(sent())
    tally.stop(last(host=12))
    done = tally.compare(0)
    assert (done.explained, done.unexplained, counted(done)) == (2, 1, (2, 2))


def test_told_before_and_after_the_last_reading() -> None:
    tally = Tally()
    tally.start(first(host=0))
    tally.add(sent())
    tally.stop(last(host=2))
    tally.add(sent())  # it had waited for a part of it
    assert counted(tally.compare(0)) == (2, 2)
    assert counted(tally.compare(0)) == (2, 2)


# -- namespaces ------------------------------------------------------------------------------------


def test_a_namespace_that_appears_begins_at_zero() -> None:
    done = compare(first(host=5), last(host=5, there=2), *[sent(flow=THERE)] * 2)
    assert (counted(done), done.namespaces, done.gone) == ((2, 2), 2, 0)


def test_a_namespace_that_ends_takes_its_counter_along() -> None:
    done = compare(first(host=5, there=3), last(host=6), sent(), sent(flow=THERE))
    assert (done.explained, counted(done)) == (2, (1, 1))
    assert (done.namespaces, done.gone) == (1, 1)


def test_a_namespace_that_comes_and_goes() -> None:
    """Nobody could ask it: what it sent is explained but not held against anything."""
    done = compare(first(host=5), last(host=5), sent(flow=THERE))
    assert (done.explained, counted(done), done.gone) == (1, (0, 0), 1)
    assert not done.differs


# -- not compared ----------------------------------------------------------------------------------


def test_not_compared_and_why() -> None:
    tally = Tally()
    tally.start(first(host=0))
    tally.add(sent())
    tally.add(sent("unknown"))
    tally.stop(last(host=9))
    done = tally.compare(4, "a filter was set")
    assert done == Completeness(explained=1, unexplained=1, lost=4, why_not="a filter was set")
    assert not done.differs


@pytest.mark.parametrize("read", ["first", "last", "neither"])
def test_counters_that_could_not_be_read(read: str) -> None:
    tally = Tally()
    if read == "first":
        tally.start(first(host=0))
    tally.add(sent())
    if read == "last":
        tally.stop(last(host=1))
    tally.add(sent("unknown"))
    assert tally.compare(0) == Completeness(
        explained=1, unexplained=1, why_not="the counters could not be read"
    )


def test_lost_records_are_passed_on() -> None:
    tally = Tally()
    tally.start({})
    tally.stop({})
    assert tally.compare(17) == Completeness(lost=17, counted=0, told=0)


def test_one_too_many_and_one_too_few_do_not_cancel_out() -> None:
    done = compare(first(host=4, there=4), last(host=5, there=4), sent(flow=THERE))
    assert (done.counted, done.told, done.missing, done.surplus) == (1, 1, 1, 1)
    assert done.differs


def test_a_new_namespace_with_the_number_of_an_old_one() -> None:
    done = compare(first(host=9), last(host=1), sent())
    assert (done.counted, done.told, done.differs) == (1, 1, False)


# -- all counters ----------------------------------------------------------------------------------

ROWS = {
    "names": ["TcpOutRsts", "TcpExtListenOverflows"],
    "rows": {str(NETNS): [START, 7, 3], str(OTHER_NETNS): [END, 0, 1]},
}


def test_answer_of_the_helper() -> None:
    assert completeness.readings(ROWS) == {
        NETNS: Reading(7, START, {"TcpOutRsts": 7, "TcpExtListenOverflows": 3}),
        OTHER_NETNS: Reading(0, END, {"TcpOutRsts": 0, "TcpExtListenOverflows": 1}),
    }
    assert completeness.readings({**ROWS, "rows": {}}) == {}


@pytest.mark.parametrize(
    "odd",
    [
        None, 7, "x", [], {}, {"names": []}, {"rows": {}}, {**ROWS, "rows": []},
        {**ROWS, "rows": {"x": [1, 2, 3]}}, {**ROWS, "rows": {"1": []}},
        {**ROWS, "rows": {"1": [1, 2]}}, {**ROWS, "rows": {"1": [1, 2, 3, 4]}},
        {**ROWS, "rows": {"1": ["x", 2, 3]}}, {**ROWS, "rows": {"1": 7}},
        {"names": ["Other"], "rows": {"1": [1, 2]}},
    ],
    ids=repr,
)  # fmt: skip
def test_answer_that_makes_no_sense(odd: Any) -> None:
    assert completeness.readings(odd) is None


def counters(**namespaces: dict[str, int]) -> Readings:
    inodes = {"host": NETNS, "there": OTHER_NETNS}
    return {inodes[n]: Reading(c.get("a", 0), T, c) for n, c in namespaces.items()}


def test_increments() -> None:
    before = counters(host={"a": 5, "b": 2, "c": 1}, there={"a": 1})
    after = counters(host={"a": 8, "b": 2, "c": 2}, there={"a": 3})
    assert increments(before, after) == {"a": 5, "c": 1}
    assert increments(before, after, (NETNS,)) == {"a": 3, "c": 1}
    assert increments(before, after, (OTHER_NETNS, 1)) == {"a": 2}
    assert increments(before, before) == {}


def test_increments_of_what_came_and_went() -> None:
    """A new namespace counted from zero; what one counted that ended is not known."""
    one, both = counters(host={"a": 5}), counters(host={"a": 5}, there={"a": 2})
    assert increments(one, both) == {"a": 2}
    assert increments(both, one) == {}


def test_increments_of_a_namespace_with_the_number_of_an_old_one() -> None:
    """It takes nothing from the others' counts, whichever of its counters shows it."""
    before = counters(host={"a": 5, "b": 5}, there={"a": 0, "b": 9})
    after = counters(host={"a": 7, "b": 8}, there={"a": 1, "b": 1})
    assert increments(before, after) == {"a": 3, "b": 4}


def test_increments_of_what_could_not_be_read() -> None:
    known = counters(host={"a": 5})
    assert increments(None, known) is increments(known, None) is None


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (
            Completeness(explained=3, counted=3, told=3, namespaces=1),
            "Sent by this host: 3 explained; the kernel counted 3 (TcpOutRsts).",
        ),
        (
            Completeness(explained=2, unexplained=1, outside_tcp=4, counted=3, told=3),
            "Sent by this host: 2 explained, 1 not understood, 4 made outside TCP; "
            "the kernel counted 3 (TcpOutRsts).",
        ),
        (
            Completeness(explained=1, counted=3, told=1, missing=2),
            "Sent by this host: 1 explained; the kernel counted 3 (TcpOutRsts). NOT seen: 2.",
        ),
        (
            Completeness(explained=3, counted=1, told=3, surplus=2),
            "Sent by this host: 3 explained; the kernel counted 1 (TcpOutRsts). "
            "Seen but not counted: 2.",
        ),
        (
            Completeness(explained=3, counted=2, told=2, gone=1),
            "Sent by this host: 3 explained; the kernel counted 2 (TcpOutRsts), "
            "without 1 namespace that ended meanwhile.",
        ),
        (
            Completeness(counted=1, told=0, missing=1, gone=2),
            "Sent by this host: 0 explained; the kernel counted 1 (TcpOutRsts), "
            "without 2 namespaces that ended meanwhile. NOT seen: 1.",
        ),
        (
            Completeness(explained=1, outside_tcp=1, why_not="a filter was set"),
            "Sent by this host: 1 explained, 1 made outside TCP. "
            "Not held against TcpOutRsts: a filter was set.",
        ),
    ],
)
def test_sentence(done: Completeness, text: str) -> None:
    assert done.sentence == text


@pytest.mark.parametrize("width", [40, 80, 300])
def test_sentence_in_the_summary(width: int) -> None:
    done = Completeness(explained=2, counted=2, told=2)
    totals = Totals(completeness=done)
    totals.add(sent(count=2))
    lines = summary_text(totals, width).splitlines()
    assert all(len(line) <= width for line in lines)
    head = " ".join(lines[: next(i for i, line in enumerate(lines) if line.startswith("  count"))])
    assert head == f"2 resets, 0 of them harmless; no records lost. {done.sentence}"


def test_no_sentence_where_there_are_no_counters() -> None:
    """In a replay."""
    assert "TcpOutRsts" not in summary_text(Totals())


# -- any order -------------------------------------------------------------------------------------

AROUND = {"early": START - 1, "within": T, "late": END + 1}
acts = st.tuples(
    st.sampled_from((FLOW, THERE)),
    st.sampled_from(("linger-zero", "unknown", "insufficient-data")),
    st.sampled_from(list(AROUND)),
    st.integers(1, 5),  # equal ones
)


@given(st.lists(acts, max_size=20), st.data())
def test_a_kernel_that_counts_right_never_differs(done: list[Any], data: st.DataObject) -> None:
    """Whatever came when, and whichever namespaces are left at the end."""
    before, after = Counter({NETNS: 7, OTHER_NETNS: 0}), Counter({NETNS: 7, OTHER_NETNS: 0})
    for flow, _, when, count in done:
        before[flow.netns] += count * (when == "early")
        after[flow.netns] += count * (when != "late")
    left_over = data.draw(st.sets(st.sampled_from((NETNS, OTHER_NETNS))))
    learnt = data.draw(st.integers(0, len(done)))
    # what is late is never told before the last reading is there
    tally, done = Tally(), sorted(done, key=lambda act: act[2] == "late")
    for i, (flow, cause, when, count) in enumerate([*done, (FLOW, "", "", 0)]):
        if i == learnt:
            tally.start({n: Reading(before[n], START) for n in before})
        if when in ("late", "") and tally._after is None:
            tally.stop({n: Reading(after[n], END) for n in left_over})
        if count:
            tally.add(sent(cause, AROUND[when], flow=flow, count=count))
    result = tally.compare(0)
    assert result.counted == sum(after[n] - before[n] for n in left_over)
    assert not result.differs
    assert result.explained == sum(act[3] for act in done if act[1] == "linger-zero")
    assert result.explained + result.unexplained == sum(act[3] for act in done)
    assert (result.namespaces, result.gone) == (len(left_over), 2 - len(left_over))
