"""The loop of a live trace, with a session that was made up."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsttrace.completeness import Reading, Readings
from rsttrace.enrich import Facts, Process
from rsttrace.errors import EXIT_INCOMPLETE, EXIT_OK, RsttraceError
from rsttrace.explain import Explained
from rsttrace.output import Output
from rsttrace.session import KernelNames, in_order
from rsttrace.sinks.jsonl import JsonSink
from rsttrace.sinks.totals import Totals
from rsttrace.tracing import Limits, Tracing, exit_code, write_ready_file

from .build import A1, NETNS, NGINX, T, arrived, decided, explained, reset, sent_reset


class FakeSession:
    """Gives one batch at each poll; ``lost`` grows by what the batch says."""

    def __init__(self, batches: list[list[Explained]], losses: list[int] | None = None) -> None:
        self.batches = list(batches)
        self.losses = list(losses or [])
        self.lost = 0
        self.polls: list[int] = []
        self.finished = False
        self.stopper = SimpleNamespace(asked=False)
        self.pipeline = SimpleNamespace(busy=False, flush=lambda: [one(99)])
        self.counters_before: Readings | None = {NETNS: Reading(100, 0)}
        self.counters_after: Readings | None = {NETNS: Reading(102, T + 10**9)}

    def counters(self) -> Readings | None:
        assert not self.finished, "what happened before the reading must still be told"
        return self.counters_after

    def host_facts(self) -> dict[str, Any]:
        return {"kernel": "6.18"}

    def poll(self, timeout_ms: int) -> list[Explained]:
        self.polls.append(timeout_ms)
        if self.losses:
            self.lost += self.losses.pop(0)
        batch = self.batches.pop(0)
        if not self.batches:
            self.stopper.asked = True
        return batch

    def finish(self) -> list[Explained]:
        self.finished = True
        return [one(50)]


def one(number: int, owner: Process | None = NGINX, **changes: Any) -> Explained:
    return explained(replace(sent_reset(decided(A1)), id=number, **changes), Facts(owner=owner))


def trace(session: Any, limits: Limits | None = None, summary: bool = True) -> tuple[str, Totals]:
    stream = io.StringIO()
    tracing = Tracing(session, JsonSink(0), Output(stream), limits or Limits(), session.stopper)
    tracing.run(summary)
    return stream.getvalue(), tracing.totals


def kinds(text: str) -> list[str]:
    return [line.split('"type": "')[1].split('"')[0] for line in text.splitlines()]


def test_until_asked_to_stop_then_the_rest() -> None:
    session = FakeSession([[one(1)], [], [one(2), one(3)]])
    text, totals = trace(session)
    assert kinds(text) == ["start", *["reset"] * 4, "summary"]
    assert (totals.resets, session.finished) == (4, True)
    assert totals.duration_s > 0


def test_quiet_has_no_summary() -> None:
    text, _ = trace(FakeSession([[one(1)]]), summary=False)
    assert kinds(text) == ["start", "reset", "reset"]


def test_count_stops_within_a_batch_and_reads_no_further() -> None:
    session = FakeSession([[one(1)], [one(2), one(3)], [one(4)]])
    _, totals = trace(session, Limits(count=2))
    assert (totals.resets, session.finished, len(session.polls)) == (2, False, 2)


def test_losses_are_told_before_the_resets_they_bear_on() -> None:
    text, totals = trace(FakeSession([[one(1)], [one(2)], [one(3)]], [0, 5, 2]))
    assert kinds(text) == ["start", "reset", "lost", "reset", "lost", *["reset"] * 2, "summary"]
    assert totals.lost == 7
    assert exit_code(totals, strict=True) == EXIT_INCOMPLETE
    assert exit_code(totals, strict=False) == EXIT_OK
    assert exit_code(Totals(), strict=True) == EXIT_OK


def test_pid_is_that_of_the_owner_or_the_closer() -> None:
    java = Process(7, "java")
    batch = [
        one(1),
        one(2, java),
        one(3, None),
        explained(sent_reset(decided(A1)), Facts(closer=java)),
    ]
    _, totals = trace(FakeSession([batch]), Limits(pid=7))
    assert totals.resets == 2


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ("sent", {"sent", "suppressed", "forwarded"}),
        ("received", {"received", "rejected"}),
        (None, {"sent", "suppressed", "forwarded", "received", "rejected"}),
    ],
)
def test_direction(wanted: str | None, shown: set[str]) -> None:
    ways = ("sent", "suppressed", "forwarded", "received", "rejected")
    batch = [explained(reset(direction=way, wire=arrived(), judged=arrived())) for way in ways]
    session = FakeSession([batch])
    session.finish = list  # type: ignore[method-assign]
    _, totals = trace(session, Limits(direction=wanted))
    assert set(totals.directions) == shown


def test_duration_is_no_longer_than_asked() -> None:
    session = FakeSession([[]] * 3)
    trace(session, Limits(seconds=0.03))
    assert all(1 <= wait <= 30 for wait in session.polls)


def test_waits_less_while_a_reset_is_incomplete() -> None:
    idle, busy = FakeSession([[]]), FakeSession([[]])
    busy.pipeline.busy = True
    trace(idle)
    trace(busy)
    assert busy.polls[0] < idle.polls[0]


def test_recording_that_cannot_go_on_ends_the_trace_but_hides_nothing() -> None:
    session = FakeSession([[one(1)], [one(2)]])
    polls = session.poll

    def poll(timeout_ms: int) -> list[Explained]:
        if len(session.polls) == 1:
            raise RsttraceError("cannot write x: No space left on device.")
        return polls(timeout_ms)

    session.poll = poll  # type: ignore[method-assign]
    stream = io.StringIO()
    tracing = Tracing(session, JsonSink(0), Output(stream), Limits(), session.stopper)  # type: ignore[arg-type]
    with pytest.raises(RsttraceError, match="No space left"):
        tracing.run()
    assert kinds(stream.getvalue()) == ["start", "reset", "reset", "summary"]


def test_ready_file(tmp_path: Path) -> None:
    write_ready_file(tmp_path / "ready")
    assert (tmp_path / "ready").exists()
    with pytest.raises(RsttraceError, match="cannot write the ready file"):
        write_ready_file(tmp_path / "none" / "ready")


def test_in_order() -> None:
    a, b, c = one(3, time_ns=T), one(2, time_ns=T + 1), one(1, time_ns=T + 1)
    assert [e.reset.id for e in in_order([b, c, a])] == [3, 1, 2]


def test_names_are_asked_for_once_and_handed_to_the_recorder_once() -> None:
    asked: list[int] = []

    def name(address: int) -> str:
        asked.append(address)
        return f"f{address}"

    symbols: Any = SimpleNamespace(name=name)
    names = KernelNames(symbols, {"sk_rst_reason": {1: "X"}})
    assert [names.symbol(1), names.symbol(1), names.symbol(2)] == ["f1", "f1", "f2"]
    assert asked == [1, 2]
    assert names.take_fresh() == {1: "f1", 2: "f2"}
    names.symbol(1)
    assert names.take_fresh() == {}
    assert names.enum("sk_rst_reason") == {1: "X"}
    assert names.enum("skb_drop_reason") == {}


# -- held against the kernel's counters ------------------------------------------------------------


def completeness(session: Any, limits: Limits | None = None) -> Any:
    out, _ = trace(session, limits)
    return json.loads(out.splitlines()[-1])["completeness"]


def test_all_that_the_kernel_counted_was_told() -> None:
    found = completeness(FakeSession([[one(1)]]))
    assert (found["tcp_out_rsts"], found["told"], found["differs"]) == (2, 2, False)


def test_one_was_not_seen() -> None:
    session = FakeSession([[one(1)]])
    session.counters_after = {NETNS: Reading(103, T + 10**9)}
    assert completeness(session)["differs"]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(filtered=True), "a filter is on"),
        (Limits(pid=1432), "a filter is on"),
        (Limits(direction="sent"), "a filter is on"),
        (Limits(count=1), "it stopped at its limit"),
    ],
)
def test_not_compared(limits: Limits, why: str) -> None:
    found = completeness(FakeSession([[one(1)]]), limits)
    assert (found["tcp_out_rsts"], found["not_compared"]) == (None, why)


def test_only_the_namespaces_that_are_watched() -> None:
    session = FakeSession([[one(1)]])
    session.counters_before = {NETNS: Reading(100, 0), NETNS + 1: Reading(7, 0)}
    session.counters_after = {NETNS: Reading(102, T + 10**9), NETNS + 1: Reading(70, T + 10**9)}
    assert completeness(session, Limits(netns=(NETNS,)))["tcp_out_rsts"] == 2


def test_counters_that_could_not_be_read() -> None:
    session = FakeSession([[one(1)]])
    session.counters_after = None
    assert completeness(session)["not_compared"] == "the counters could not be read"


# -- resets of no interest, and other reasons to stop ----------------------------------------------


def tracing(session: Any, limits: Limits, **options: Any) -> tuple[str, Tracing]:
    stream = io.StringIO()
    made = Tracing(session, JsonSink(0), Output(stream), limits, session.stopper, **options)
    made.run()
    return stream.getvalue(), made


def test_until_is_asked_after_every_poll() -> None:
    """The rest is still read: the command ended, its resets may not have been told yet."""
    session = FakeSession([[one(1)], [one(2)], [one(3)], [one(4)]])
    _, done = tracing(session, Limits(until=lambda: len(session.polls) >= 2))
    assert (len(session.polls), session.finished, done.totals.resets) == (2, True, 3)


def test_until_that_holds_already() -> None:
    session = FakeSession([[one(1)]])
    _, done = tracing(session, Limits(until=lambda: True))
    assert (session.polls, session.finished, done.totals.resets) == ([], True, 1)


def test_progress_is_told_after_every_poll() -> None:
    told: list[tuple[float, int]] = []

    def progress(seconds: float, totals: Totals) -> None:
        told.append((seconds, totals.resets))

    tracing(FakeSession([[one(1)], [], [one(2)]]), Limits(), progress=progress)
    assert [resets for _, resets in told] == [1, 1, 2]
    assert [s for s, _ in told] == sorted(s for s, _ in told)
    assert told[0][0] >= 0
