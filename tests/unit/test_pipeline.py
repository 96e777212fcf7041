"""Sorting, joining, enriching and explaining together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.advice import wants
from rsttrace.enrich.place import Place, Question
from rsttrace.explain import Explained
from rsttrace.packet import ACK, RST, SYN
from rsttrace.pipeline import Pipeline
from rsttrace.records import Flow, Record

from .build import (
    A2,
    HERE,
    LAYOUT,
    MS,
    NETNS,
    NGINX,
    OTHER_NETNS,
    PORT,
    REFUSED,
    SECOND,
    SK,
    THEIRS,
    XMIT,
    FakeContext,
    FakeNames,
    T,
    answered,
    arrived,
    decided,
    dropped,
    earlier,
    judged,
    left,
    listener,
    raw_record,
    record,
    rst,
    segment,
    sock,
)


class Ready:
    """A decoder whose records are decoded already."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def decode(self, raw: bytes) -> Record:
        return self.records[int(raw)]


def pipeline(*records: Record, **options: Any) -> Pipeline:
    made = Pipeline(LAYOUT, FakeNames(), FakeContext([NGINX]), **options)
    made._decoder = Ready(list(records))  # type: ignore[assignment]
    made.feed(str(i).encode() for i in range(len(records)))
    return made


def at(time_us: int, one: Record, **changes: Any) -> Record:
    return replace(one, time_ns=T + time_us * 1000, **changes)


PACKET = rst(RST | ACK)
BOTH_ENDS = (
    at(0, left(PACKET, (*XMIT, "__tcp_transmit_skb", *A2))),
    at(10, arrived(PACKET, flow=THEIRS)),
    at(20, judged("ESTABLISHED", flow=THEIRS, sk=SK + 64)),
    at(30, decided(A2, sock=sock(flags=16))),
)


def causes(explained: list[Explained]) -> list[tuple[str, str]]:
    return [(e.verdict.cause, e.verdict.confidence) for e in explained]


def test_receiver_is_told_the_senders_cause() -> None:
    sent, got = pipeline(*BOTH_ENDS).flush()
    assert causes([sent, got]) == [("linger-zero", "certain"), ("peer-reset", "certain")]
    assert "linger-zero by nginx[1432], on this host" in got.verdict.summary
    assert got.verdict.remedies == sent.verdict.remedies


def test_receiver_that_did_not_believe_it_has_its_own_verdict() -> None:
    """What the sender must change, and whether that matters, says nothing about this end."""
    gone = dropped(PACKET, "NO_SOCKET", flow=THEIRS)
    sent, got = pipeline(*BOTH_ENDS[:2], at(20, gone), BOTH_ENDS[3]).flush()
    assert got.reset.direction == "rejected"
    assert got.verdict.cause == "reset-no-socket"
    assert got.verdict.remedies != sent.verdict.remedies
    assert got.verdict.benign


def test_receiver_that_comes_first_waits_for_the_sender() -> None:
    made = pipeline(*BOTH_ENDS)
    assert made.advance(T + 4 * MS) == []
    assert causes(made.advance(T + 40 * MS)) == [
        ("linger-zero", "certain"),
        ("peer-reset", "certain"),
    ]
    assert not made.busy


@pytest.mark.parametrize(
    ("late_ms", "confidence"), [(60, "certain"), (900, "certain"), (2000, "likely")]
)
def test_receiver_that_comes_after_the_sender_was_told(late_ms: int, confidence: str) -> None:
    """A busy machine delivers late; much later the packet is another one."""
    late = [
        at(late_ms * 1000, arrived(PACKET, flow=THEIRS)),
        at(late_ms * 1000 + 10, judged("ESTABLISHED", flow=THEIRS, sk=SK + 64)),
    ]
    made = pipeline(BOTH_ENDS[0], BOTH_ENDS[3], *late)
    sent = made.advance(T + 50 * MS)
    assert causes(sent) == [("linger-zero", "certain")]
    (got,) = made.flush()
    assert causes([got]) == [("peer-reset", confidence)]
    assert (got.reset.peer is sent[0].reset) == (confidence == "certain")


def test_records_that_are_too_young_wait() -> None:
    made = pipeline(*BOTH_ENDS)
    assert made.advance(T) == []
    assert made.busy


def test_tuple_used_again_finds_no_stale_partner() -> None:
    """The second SYN to a closed port, a second later, with the same addresses and ports."""
    syn = segment(SYN)
    first = (at(0, answered(syn)), at(10, left(rst(RST | ACK, seq=0))))
    second = tuple(replace(r, time_ns=r.time_ns + SECOND) for r in first)
    made = pipeline(*first, *second)
    explained = made.flush()
    assert causes(explained) == [("closed-port", "certain")] * 2
    assert [e.reset.time_ns for e in explained] == [T, T + SECOND]


def test_listeners_change_with_time() -> None:
    """A listener that closes between two SYNs: each is explained as of its own time."""
    any_flow = Flow(HERE, PORT, "0.0.0.0", 0, NETNS)
    closed = record("inet_sock_set_state", state="CLOSE", flow=any_flow, sk=SK)
    made = pipeline(
        at(0, answered(segment(SYN), flow=replace(any_flow, local="10.0.0.6"))),
        at(SECOND // 1000, closed),
        at(2 * SECOND // 1000, answered(segment(SYN))),
        known=[listener()],
    )
    before, after = made.flush()
    assert "is bound to another address" in before.verdict.summary
    assert "stopped listening 1.0 s ago" in after.verdict.summary


def test_listeners_that_are_learnt_after_the_start() -> None:
    made = pipeline(answered(segment(SYN)))
    made.know_listeners([listener("127.0.0.1")])
    (one,) = made.flush()
    assert "nginx[1432] on 127.0.0.1:8080 is bound to another address" in one.verdict.summary


def test_loss_has_a_time() -> None:
    made = pipeline(at(0, arrived()), at(10 * SECOND // 1000, arrived(ifindex=9)))
    made.note_loss(T + 9 * SECOND, T + 11 * SECOND)
    before, during = made.flush()
    assert (before.reset.lossy, during.reset.lossy) == (False, True)
    assert "Records were lost" in during.verdict.summary


def test_only_the_last_losses_are_remembered() -> None:
    made = pipeline()
    for i in range(1000):
        made.note_loss(i, i + 1)
    assert len(made._losses) <= 100


def test_age_of_the_trace() -> None:
    (young,) = pipeline(answered(segment(ACK, b"x")), since_ns=T - SECOND).flush()
    (old,) = pipeline(answered(segment(ACK, b"x"))).flush()
    assert (young.facts.watched_ns, young.verdict.confidence) == (SECOND, "possible")
    assert (old.facts.watched_ns, old.verdict.confidence) == (None, "likely")


def test_verdicts_of_senders_are_not_kept_for_ever() -> None:
    records = []
    for i in range(2000):
        packet = rst(RST | ACK, seq=i)
        there = replace(THEIRS, netns=OTHER_NETNS)
        records += [
            at(20_000 * i, left(packet, (*XMIT, "__tcp_transmit_skb", *A2))),
            at(20_000 * i + 10, arrived(packet, flow=there)),
            at(20_000 * i + 20, judged("SYN_SENT", REFUSED, flow=there)),
            at(20_000 * i + 30, decided(A2)),
        ]
    made = pipeline(*records)
    assert len(made.flush()) == 4000
    assert len(made._senders) <= 1024


def test_a_live_trace_and_its_replay_fold_the_same_echoes() -> None:
    """A reset from another host waits 0.1 s for more of its maker; its echoes must not overtake."""
    records = [at(0, arrived(segment(RST | ACK))), at(9, judged("ESTABLISHED"))]
    for n in (1, 2, 3):
        more = segment(RST, seq=1000 - n, ip_id=0)
        records += [
            at(500 * n, arrived(more, skb=n)),
            at(500 * n + 9, dropped(more, "NO_SOCKET", skb=n)),
        ]
    live = pipeline(*records)
    told = [one for ms in range(500) for one in live.advance(T + ms * MS)]
    replayed = pipeline(*records).flush()
    for first, echoes in (told, replayed):
        assert (first.verdict.cause, echoes.verdict.cause) == ("peer-reset", "reset-no-socket")
        assert (first.count, echoes.count) == (1, 3)
        assert echoes.related
        assert echoes.related.id == first.reset.id


def test_nothing() -> None:
    assert pipeline().flush() == []
    assert pipeline().advance(T) == []


def test_raw_bytes() -> None:
    """The real decoder: a record without addresses makes no reset."""
    made = Pipeline(LAYOUT, FakeNames(), FakeContext())
    made.feed([raw_record(time_ns=1), b"short"])
    assert made.flush() == []
    assert made.damaged == 1


# -- what the host is asked ------------------------------------------------------------------------


class Asked(FakeContext):
    """Remembers what it was asked about places."""

    def __init__(self) -> None:
        super().__init__([NGINX])
        self.questions: list[tuple[Question, int]] = []

    def place(self, question: Question, time_ns: int) -> Place:
        self.questions.append((question, time_ns))
        return PLACE


PLACE = Place(settings={"net.core.somaxconn": "4096"})


def asking(*records: Record) -> tuple[list[Explained], Asked]:
    made, context = pipeline(*records), Asked()
    made._context = context
    return made.flush(), context


def test_host_is_asked_what_the_advice_wants() -> None:
    """About its own end, at the time of the reset; the answer is among the facts."""
    (one,), context = asking(BOTH_ENDS[0], BOTH_ENDS[3])
    ((question, time_ns),) = context.questions
    assert question.wants == wants(one.verdict.cause) != ()
    assert (question.netns, question.local) == (NETNS, HERE)
    assert time_ns == one.reset.time_ns
    assert one.facts.place is PLACE


def test_other_end_that_is_told_the_same_needs_no_advice_of_its_own() -> None:
    (sent, got), context = asking(*BOTH_ENDS)
    assert [question.local for question, _ in context.questions] == [sent.reset.flow.local]
    assert (sent.facts.place, got.facts.place) == (PLACE, None)


def test_nobody_is_asked_about_what_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsttrace.pipeline.wants", lambda cause: ("settings",))
    late = at(0, answered(segment(ACK), history=earlier(flags=1)))
    explained, context = asking(late)
    assert [one.verdict.benign for one in explained] == [True]
    assert context.questions == []
    assert explained[0].facts.place is None


def test_nobody_is_asked_where_the_namespace_is_not_known() -> None:
    nowhere = [replace(r, flow=replace(r.flow, netns=0)) for r in BOTH_ENDS]
    explained, context = asking(*nowhere)
    assert explained
    assert context.questions == []
