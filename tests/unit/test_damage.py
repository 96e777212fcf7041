"""Lost and disordered records: never an exception, never a certain verdict that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsttrace.decode import Decoder
from rsttrace.explain import Explained
from rsttrace.pipeline import Pipeline
from rsttrace.records import Flow, Record

from .labfiles import LabFile, lab_files

End = tuple[Flow, str]


class Decoded:
    """A decoder of records that are decoded already: they are told apart by their number."""

    def __init__(self, file: LabFile) -> None:
        decoder = Decoder(file.recording.layout, file.recording)
        raw = (one for batch in file.recording.batches for one in batch)
        self.records = sorted(map(decoder.decode, raw), key=lambda r: r.time_ns)

    def decode(self, raw: bytes) -> Record:
        return self.records[int(raw)]


decoded = {file.name: Decoded(file) for file in lab_files()}


def run(file: LabFile, numbers: list[int]) -> list[Explained]:
    """The resets that these records of a recording make, fed in this order."""
    recording = file.recording
    pipeline = Pipeline(recording.layout, recording, recording.context, recording.listeners)
    pipeline._decoder = decoded[file.name]  # type: ignore[assignment]
    pipeline.feed(str(n).encode() for n in numbers)
    return pipeline.flush()


def certain(explained: list[Explained]) -> set[tuple[End, str]]:
    return {
        ((e.reset.flow, e.reset.direction), e.verdict.cause)
        for e in explained
        if e.verdict.confidence == "certain"
    }


def verdicts(explained: list[Explained]) -> list[Any]:
    return [(e.reset.flow, e.reset.direction, e.verdict) for e in explained]


def check(file: LabFile, numbers: list[int]) -> None:
    """What is certain without some records must be what is said with all of them."""
    whole = {((e.reset.flow, e.reset.direction), e.verdict.cause) for e in file.explained}
    wrong = certain(run(file, numbers)) - whole
    lost = [r.kind for i, r in enumerate(decoded[file.name].records) if i not in numbers]
    assert not wrong, f"{file.name} without {', '.join(lost)}: {wrong}"


def test_the_stand_in_decoder_changes_nothing() -> None:
    for file in lab_files():
        numbers = list(range(len(decoded[file.name].records)))
        assert verdicts(run(file, numbers)) == verdicts(file.explained)


@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_any_one_or_two_records_lost(file: LabFile) -> None:
    numbers = range(len(decoded[file.name].records))
    for lost in (*combinations(numbers, 1), *combinations(numbers, 2)):
        check(file, [n for n in numbers if n not in lost])


@settings(max_examples=400)
@given(st.sampled_from(lab_files()), st.data())
def test_any_records_lost(file: LabFile, data: st.DataObject) -> None:
    numbers = range(len(decoded[file.name].records))
    check(file, sorted(data.draw(st.sets(st.sampled_from(numbers)))))


@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_every_decision_makes_one_reset_of_its_own(file: LabFile) -> None:
    """Whatever one or two records are lost: none is swallowed, none ends up at the other end."""
    records = decoded[file.name].records
    decisions = [i for i, r in enumerate(records) if r.kind == "tcp_send_reset"]
    numbers = range(len(records))
    for lost in (*combinations(numbers, 1), *combinations(numbers, 2)):
        kept = [n for n in numbers if n not in lost]
        resets = [e.reset for e in run(file, kept)]
        found = [r.decided for r in resets if r.decided and not r.decided.inferred]
        assert len(found) == len({id(d) for d in found})
        assert {id(d) for d in found} == {id(records[i]) for i in decisions if i in kept}
        for reset in resets:
            assert not reset.decided or reset.direction in ("sent", "suppressed")
            assert not (reset.decided and reset.judged and reset.direction == "sent")


@given(st.sampled_from(lab_files()), st.data())
def test_order_of_arrival_does_not_matter(file: LabFile, data: st.DataObject) -> None:
    """The perf buffers of several CPUs arrive in any order; the records' own times count."""
    numbers = data.draw(st.permutations(range(len(decoded[file.name].records))))
    assert verdicts(run(file, numbers)) == verdicts(file.explained)


@given(st.sampled_from(lab_files()), st.data())
def test_records_seen_twice_do_not_raise(file: LabFile, data: st.DataObject) -> None:
    numbers = range(len(decoded[file.name].records))
    check(file, data.draw(st.lists(st.sampled_from(numbers), max_size=30)))


@given(st.sampled_from(lab_files()), st.integers(1, 400))
def test_advancing_in_steps_says_the_same(file: LabFile, step_us: int) -> None:
    """Live, time passes in steps and records come late; a replay knows no time."""
    recording, records = file.recording, decoded[file.name].records
    pipeline = Pipeline(recording.layout, recording, recording.context, recording.listeners)
    pipeline._decoder = decoded[file.name]  # type: ignore[assignment]
    found: list[Explained] = []
    fed, now = 0, records[0].time_ns
    while fed < len(records):
        now += step_us * 1000
        due = [i for i in range(fed, len(records)) if records[i].time_ns < now]
        pipeline.feed(str(i).encode() for i in due)
        fed += len(due)
        found += pipeline.advance(now)
    found += pipeline.flush()
    by_id = sorted(found, key=lambda e: e.reset.id)
    assert verdicts(by_id) == verdicts(sorted(file.explained, key=lambda e: e.reset.id))


def test_records_cut_short_are_counted() -> None:
    file = lab_files()[0]
    recording = file.recording
    pipeline = Pipeline(recording.layout, recording, recording.context)
    pipeline.feed([b"", b"\0" * (recording.layout.size - 1)])
    assert pipeline.flush() == []
    assert pipeline.damaged == 2


# -- kernels that tell less ------------------------------------------------------------------------


def without_symbols(r: Record) -> Record:
    """kptr_restrict hides them: every frame is a bare address."""
    return replace(r, frames=tuple(f"{0xFFFFFFFF81000000 + i:#x}" for i, _ in enumerate(r.frames)))


def without_reasons(r: Record) -> Record:
    """Before 6.10 and 5.17."""
    return replace(r, reason=None, drop_reason=None, reason_raw=0, drop_reason_raw=0)


def without_sockets(r: Record) -> Record:
    """The struct members were not found."""
    return replace(r, sock=None)


def without_history(r: Record) -> Record:
    """All connections are older than the trace."""
    return replace(r, history=None, handshake=None)


def without_payload(r: Record) -> Record:
    """It was in a page that could not be read."""
    return replace(r, packet=replace(r.packet, payload=b"")) if r.packet else r


LESS = (without_symbols, without_reasons, without_sockets, without_history, without_payload)


def old(r: Record) -> bool:
    """Before 6.10 tcp_send_reset is silent without a full socket."""
    return r.kind == "tcp_send_reset" and bool(r.skb) and r.state in (None, "TIME_WAIT")


def certain_but_wrong(file: LabFile, records: list[Record]) -> set[tuple[End, str]]:
    """What is certain with these records of a file, and not what all of them say."""
    recording = file.recording
    stand_in = Decoded(file)
    stand_in.records = records
    pipeline = Pipeline(recording.layout, recording, recording.context, recording.listeners)
    pipeline._decoder = stand_in  # type: ignore[assignment]
    pipeline.feed(str(n).encode() for n in range(len(records)))
    whole = {((e.reset.flow, e.reset.direction), e.verdict.cause) for e in file.explained}
    return certain(pipeline.flush()) - whole


@pytest.mark.parametrize("before_6_10", [False, True])
@pytest.mark.parametrize("less", LESS)
def test_kernel_that_tells_less(less: Callable[[Record], Record], before_6_10: bool) -> None:
    wrong = {}
    for file in lab_files():
        records = [r for r in decoded[file.name].records if not (before_6_10 and old(r))]
        found = certain_but_wrong(file, list(map(less, records)))
        if found:
            wrong[file.name] = sorted((end[1], cause) for end, cause in found)
    assert not wrong


@settings(max_examples=500)
@given(st.sampled_from(lab_files()), st.sets(st.sampled_from(LESS)), st.booleans(), st.data())
def test_kernel_that_tells_less_and_loses_records(
    file: LabFile, less: set[Callable[[Record], Record]], before_6_10: bool, data: st.DataObject
) -> None:
    records = [r for r in decoded[file.name].records if not (before_6_10 and old(r))]
    for step in less:
        records = [step(r) for r in records]
    lost = data.draw(st.sets(st.integers(0, len(records) - 1), max_size=4))
    kept = [r for i, r in enumerate(records) if i not in lost]
    assert certain_but_wrong(file, kept) == set()


def test_kernel_before_6_10_still_knows() -> None:
    """The RST on its way out and the drop of the SYN that it answers tell of a closed port."""
    for family in (4, 6):
        (file,) = (f for f in lab_files() if f.name == f"closed-port-plain-v{family}")
        records = decoded[file.name].records
        kept = [i for i, r in enumerate(records) if not old(r)]
        assert len(kept) == len(records) - 1
        assert ("closed-port", "certain") in {
            (e.verdict.cause, e.verdict.confidence) for e in run(file, kept)
        }
