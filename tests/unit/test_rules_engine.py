"""The rules as a whole: their shape, their order, and what asking them gives."""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from rsttrace import explain as explaining
from rsttrace.causes import catalogue, kinds
from rsttrace.causes import rules as package
from rsttrace.causes.case import CERTAIN, LIKELY, POSSIBLE, UNKNOWN, Case, Finding
from rsttrace.causes.kinds import Fact, kind_of
from rsttrace.causes.rules import Rule, rules, rules_for
from rsttrace.enrich import Facts
from rsttrace.explain import ask, explain
from rsttrace.packet import ACK, SYN
from rsttrace.records import Record

from .build import (
    A1,
    A2,
    REPLY,
    SK,
    XMIT,
    T,
    answered,
    decided,
    dropped,
    explained,
    judged,
    left,
    record,
    reset,
    rst,
    segment,
    sent_reset,
    sock,
)
from .labfiles import LabFile, lab_files

KINDS = {
    *(kinds.ACTIVE, kinds.PASSIVE, kinds.OUTSIDE, kinds.PASSING),
    *(kinds.ACCEPTED, kinds.REFUSED, kinds.QUIET),
}
FACTS = [fact for fact in vars(kinds).values() if isinstance(fact, Fact)]
MODULES = package._modules()
RULES = [pytest.param(rule, id=rule.cause) for rule in rules()]

# -- shape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_module_has_the_shape(name: str) -> None:
    module = importlib.import_module(f"{package.__name__}.{name}")
    assert name.replace("_", "-") == module.CAUSE
    assert all(isinstance(getattr(module, part), tuple) for part in ("WHEN", "NEEDS", "AFTER"))
    assert list(inspect.signature(module.rule).parameters) == ["case"]
    assert module.__doc__


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_says_of_itself(rule: Rule) -> None:
    assert rule.cause in catalogue()
    assert set(rule.when) <= KINDS
    assert len(set(rule.when)) == len(rule.when)
    assert rule.when or rule.cause == "reset-suppressed"  # told of another's finding
    assert all(fact in FACTS for fact in rule.needs)
    assert len(set(rule.needs)) == len(rule.needs)
    assert rule.cause not in rule.after
    assert len(set(rule.after)) == len(rule.after)


@pytest.mark.parametrize("rule", RULES)
def test_causes_that_are_asked_before_exist(rule: Rule) -> None:
    """And are asked about something that this one is asked about, else the order says nothing."""
    by_cause = {other.cause: other for other in rules()}
    assert set(rule.after) <= set(by_cause)
    assert all(set(by_cause[before].when) & set(rule.when) for before in rule.after)


def test_every_module_is_a_rule_but_those_that_are_shared() -> None:
    assert len(rules()) == len(MODULES) == len({rule.cause for rule in rules()})
    assert not any(name.startswith("_") for name in MODULES)


def test_every_kind_has_rules() -> None:
    for kind in KINDS:
        assert rules_for(kind)
        assert set(rules_for(kind)) == {rule for rule in rules() if kind in rule.when}
    assert rules_for("another") == ()


# -- order -----------------------------------------------------------------------------------------


def positions(order: tuple[Rule, ...]) -> dict[str, int]:
    return {rule.cause: place for place, rule in enumerate(order)}


def test_order_respects_after() -> None:
    place = positions(rules())
    for rule in rules():
        for before in rule.after:
            assert place[before] < place[rule.cause], (before, rule.cause)
    for kind in KINDS:  # the order among the rules of one kind is the same
        assert [place[rule.cause] for rule in rules_for(kind)] == sorted(
            place[rule.cause] for rule in rules_for(kind)
        )


@pytest.mark.parametrize("seed", range(3))
def test_order_does_not_depend_on_the_file_system(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = random.Random(seed).sample(MODULES, len(MODULES))
    monkeypatch.setattr(package, "_modules", lambda: shuffled)
    assert rules.__wrapped__() == rules()


def asked_before(cause: str) -> set[str]:
    """All causes that AFTER puts before this one, at any distance."""
    after = {rule.cause: rule.after for rule in rules()}
    return {earlier for one in after[cause] for earlier in (one, *asked_before(one))}


@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_where_two_rules_answer_they_say_who_is_asked_first(file: LabFile) -> None:
    """Else the alphabet decides, and a new rule of an early letter changes a verdict."""
    for one in file.explained:
        case = Case(one.reset, one.facts)
        answers = [
            rule.cause
            for rule in rules_for(kind_of(one.reset))
            if not any(fact.lacks(one.reset) for fact in rule.needs) and rule.ask(case)
        ]
        for first, other in zip(answers, answers[1:]):
            assert first in asked_before(other), (first, other)


# -- asking ----------------------------------------------------------------------------------------

ABSENT = Fact("the moon", lambda _: True)
ALSO_ABSENT = Fact("the sun", lambda _: True)
PRESENT = Fact("the ground", lambda _: False)
CASE = Case(sent_reset(decided(A1), left(frames=(*XMIT, *A1))), Facts())


def fake(cause: str, confidence: str | None, *needs: Fact, missing: str = "") -> Rule:
    """A rule that finds this, or nothing."""
    found = Finding(confidence, f"{cause}.", missing=missing) if confidence else None
    return Rule(cause, ("active",), needs, (), lambda case: found)


Answer = Callable[..., tuple[str, Finding]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """``ask`` with these rules in place of the real ones."""

    def asked(*made: Rule, case: Case = CASE) -> tuple[str, Finding]:
        monkeypatch.setattr(explaining, "rules_for", lambda kind: made)
        return ask(case)

    return asked


def test_the_first_rule_that_answers_decides(answer: Answer) -> None:
    cause, finding = answer(
        fake("a", None), fake("b", CERTAIN, PRESENT), fake("c", CERTAIN), fake("d", None)
    )
    assert (cause, finding.confidence, finding.summary) == ("b", CERTAIN, "b.")
    assert finding.missing == ""


def test_a_rule_without_its_fact_is_not_asked(answer: Answer) -> None:
    def never(case: Case) -> Finding | None:
        raise AssertionError

    blind = Rule("a", ("active",), (PRESENT, ABSENT), (), never)
    cause, finding = answer(blind, fake("b", CERTAIN))
    assert (cause, finding.confidence, finding.missing) == ("b", LIKELY, "the moon")


@pytest.mark.parametrize("confidence", [LIKELY, POSSIBLE, UNKNOWN])
def test_what_is_unsure_anyway_is_left_as_it_is(answer: Answer, confidence: str) -> None:
    _, finding = answer(fake("a", CERTAIN, ABSENT), fake("b", confidence))
    assert (finding.confidence, finding.missing) == (confidence, "")


def test_the_rules_own_missing_fact_says_more(answer: Answer) -> None:
    _, finding = answer(fake("a", CERTAIN, ABSENT), fake("b", CERTAIN, missing="the clock"))
    assert (finding.confidence, finding.missing) == (LIKELY, "the clock")


def test_the_first_missing_fact_is_named(answer: Answer) -> None:
    _, finding = answer(
        fake("a", CERTAIN, PRESENT, ABSENT),
        fake("b", CERTAIN, ALSO_ABSENT),
        fake("c", CERTAIN),
    )
    assert (finding.confidence, finding.missing) == (LIKELY, "the moon")


def test_a_fact_that_only_later_rules_lack_does_not_matter(answer: Answer) -> None:
    _, finding = answer(fake("a", CERTAIN), fake("b", CERTAIN, ABSENT))
    assert (finding.confidence, finding.missing) == (CERTAIN, "")


def test_insufficient_data_names_what_is_missing(answer: Answer) -> None:
    cause, finding = answer(
        fake("a", CERTAIN, ABSENT), fake("b", None), fake("c", CERTAIN, ALSO_ABSENT, ABSENT)
    )
    assert (cause, finding.confidence, finding.missing) == (
        "insufficient-data",
        UNKNOWN,
        "the moon",
    )
    assert finding.summary == "Cannot tell: the moon is missing."
    assert finding.evidence == ("also missing: the sun",)


def test_insufficient_data_says_when_records_were_lost(answer: Answer) -> None:
    lossy = Case(replace(CASE.reset, lossy=True))
    _, finding = answer(fake("a", CERTAIN, ABSENT), case=lossy)
    assert finding.summary.endswith(" Records were lost at about this time.")


def test_unknown_says_what_was_seen(answer: Answer) -> None:
    data = segment(ACK, b"x")
    one = sent_reset(
        answered(data, state="CLOSE", sk=SK, reason="TCP_STATE"),
        left(),
        trigger_drop=dropped(data, "TCP_FLAGS"),
    )
    cause, finding = answer(fake("a", None), fake("b", None, PRESENT), case=Case(one))
    assert (cause, finding.confidence, finding.missing) == ("unknown", UNKNOWN, "")
    assert finding.summary.startswith("No rule fits this reset. Seen: kernel reason TCP_STATE; ")
    for seen in ("drop reason TCP_FLAGS", "state CLOSE", "provoked by ACK, 1 bytes"):
        assert seen in finding.evidence


@pytest.mark.parametrize("one", [decided(A1), answered(segment(SYN))], ids=["active", "passive"])
def test_a_reset_that_was_not_seen_to_leave_may_have_been_dropped(
    answer: Answer, one: Record
) -> None:
    sure, unsure = fake("a", CERTAIN), fake("a", POSSIBLE)
    unseen, seen = Case(sent_reset(one)), Case(sent_reset(one, left()))
    _, finding = answer(sure, case=unseen)
    assert (finding.confidence, finding.missing) == (LIKELY, "whether the RST left this host")
    assert answer(sure, case=seen)[1].confidence == CERTAIN
    assert answer(unsure, case=unseen)[1] == answer(unsure, case=seen)[1]
    _, finding = answer(fake("a", CERTAIN, missing="the clock"), case=unseen)
    assert (finding.confidence, finding.missing) == (LIKELY, "the clock")


def test_what_did_not_leave_or_came_in_need_not_be_seen_to_leave(answer: Answer) -> None:
    gone = dropped(rst(), "NETFILTER_DROP", frames=("nf_hook_slow", *A2))
    for one in (
        reset(direction="suppressed", decided=decided(A1), judged=gone),
        reset(direction="received", judged=judged("ESTABLISHED")),
        reset(direction="none", error=record("inet_sk_error_report")),
    ):
        assert answer(fake("a", CERTAIN), case=Case(one))[1].confidence == CERTAIN


def test_no_rules_at_all(answer: Answer) -> None:
    assert answer()[0] == "unknown"


def test_only_rules_of_its_kind_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def none_for(kind: str) -> tuple[Rule, ...]:
        asked.append(kind)
        return ()

    monkeypatch.setattr(explaining, "rules_for", none_for)
    for one, kind in (
        (CASE.reset, "active"),
        (sent_reset(answered(segment(SYN))), "passive"),
        (reset(direction="none", error=dropped(segment(), None)), "quiet"),
    ):
        ask(Case(one))
        assert asked.pop() == kind


# -- the real rules --------------------------------------------------------------------------------


def test_hidden_symbols_leave_no_certain_verdict_of_an_abort() -> None:
    """Without the stack half of the rules cannot answer."""
    one = explained(sent_reset(decided(("0xffffffff81000000",), sock=sock(flags=16)), left()))
    assert one.verdict.confidence != CERTAIN
    assert one.verdict.missing


def test_suppressed_tells_of_both() -> None:
    """The cause is that the reset did not leave; why TCP made it stands beside."""
    gone = dropped(
        rst(),
        "NETFILTER_DROP",
        frames=("nft_do_chain", "nf_hook_slow", "__ip_local_out", *REPLY[2:]),
    )
    plain = explained(sent_reset(answered(segment(SYN)), left())).verdict
    verdict = explained(
        reset(direction="suppressed", decided=answered(segment(SYN)), judged=gone)
    ).verdict
    assert (verdict.cause, verdict.suppressed_cause) == ("reset-suppressed", "closed-port")
    assert verdict.summary.startswith(plain.summary)
    assert set(plain.evidence) <= set(verdict.evidence)
    assert verdict.remedies == catalogue()["reset-suppressed"].remedies
    assert plain.suppressed_cause is None


def test_suppressed_keeps_what_is_missing() -> None:
    gone = dropped(rst(), "NETFILTER_DROP", frames=("nf_hook_slow", *A2))
    one = reset(direction="suppressed", judged=gone, time_ns=T)
    cause, inner = ask(Case(one))
    verdict = explain(one, Facts())
    assert (verdict.cause, verdict.suppressed_cause) == ("reset-suppressed", cause)
    assert verdict.missing == inner.missing
