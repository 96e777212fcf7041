"""What the helper process said, in this program's terms: rules and places, and why not."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from rsttrace.enrich.answering import GONE, LATE, TOO_MANY, Answers, NoHelper, place_of
from rsttrace.enrich.asking import (
    NO_ANSWER,
    NO_HELPER,
    PATIENT_SECONDS,
    TOO_OFTEN,
    WAIT_SECONDS,
    Credit,
)
from rsttrace.enrich.broker import QUESTION_BYTES
from rsttrace.enrich.firewall import Firewall, Rule, to_json
from rsttrace.enrich.live import LiveContext
from rsttrace.enrich.place import Peer, Place, Question
from rsttrace.enrich.recorded import RecordedContext
from rsttrace.enrich.sources import ORDER
from rsttrace.enrich.userstack import GAP

from .build import LAYOUT, NETNS

RULES = Firewall((Rule("reset", "nft", "ip", "input", "here", "reject"),))
QUESTION = Question(NETNS, 4, "10.0.0.5", 8080, "10.0.0.6", 0, "eth0", ("settings", "peer"))
SAID: dict[str, Any] = {
    "time_ns": 5,
    "values": {"settings": {"net.core.somaxconn": "128"}, "peer": {"here": True, "elsewhere": []}},
    "problems": {},
}
CREDIT_S = 1000.0
PLACE = Place(settings={"net.core.somaxconn": "128"}, peer=Peer(here=True))
ODD: tuple[Any, ...] = (
    7, "x", [], [SAID], {}, {"values": 1}, {"values": {}, "problems": 7},
    {"values": {"settings": 7}, "problems": {}}, {"values": {"peer": None}, "problems": {}},
    {"values": {}, "problems": {"peer": {}}}, {"values": {}, "problems": {"*": None}},
)  # fmt: skip


class FakeHelper:
    """Says what the test wants, by kind of question."""

    def __init__(self, **said: Any) -> None:
        self.said = {kind: copy.deepcopy(value) for kind, value in said.items()}
        self.alive = True
        self.asked: list[tuple[str, Any]] = []
        self.waits: list[float] = []

    def ask(self, kind: str, about: Any, wait_s: float) -> Any:
        self.asked.append((kind, json.loads(json.dumps(about))))
        self.waits.append(wait_s)
        return json.loads(json.dumps(self.said.get(kind)))


class Asked:
    """Answers out of a fake helper, and what a recording would keep of them."""

    def __init__(self, helper: Any = None, credit_s: float = CREDIT_S) -> None:
        self.helper = helper or NoHelper()
        self.recorded = RecordedContext()
        self.notes: list[tuple[str, str, Any]] = []
        self.answers = Answers(self.helper, self.note, Credit(credit_s, 0.0))

    def note(self, kind: str, key: str, value: Any) -> None:
        self.notes.append((kind, key, value))
        self.recorded.learn(kind, key, json.loads(json.dumps(value)))

    def place(self, question: Question = QUESTION) -> Place:
        """What is said now; a replay must say the same."""
        time_ns = time.monotonic_ns()
        said = self.answers.place(question, time_ns)
        again = self.recorded.place(question, time_ns)
        assert again == said
        assert again.time_ns == said.time_ns
        assert self.answers.place(question, time_ns) == said
        return said

    def firewall(self) -> Firewall:
        time_ns = time.monotonic_ns()
        said = self.answers.firewall(NETNS, time_ns)
        assert self.recorded.firewall(NETNS, time_ns) == said
        return said


def reasons(place: Place) -> set[str]:
    """Of all that was wanted, none is known."""
    assert replace(place, problems={}) == Place()
    assert set(place.problems) == set(QUESTION.wants)
    return set(place.problems.values())


# -- rules -----------------------------------------------------------------------------------------


def test_rules() -> None:
    asked = Asked(FakeHelper(firewall=to_json(RULES)))
    assert asked.firewall() == RULES
    assert asked.helper.asked == [("firewall", NETNS)]
    assert asked.helper.waits == [WAIT_SECONDS]


@pytest.mark.parametrize(
    "odd", [7, [], {}, {"rules": 1}, {"rules": [], "more": []}, {"rules": [[]]}]
)
def test_rules_that_make_no_sense(odd: Any) -> None:
    assert Asked(FakeHelper(firewall=odd)).firewall() == NO_ANSWER


def test_why_there_are_no_rules() -> None:
    helper = FakeHelper()
    assert Asked(helper).firewall() == NO_ANSWER
    helper.alive = False
    assert Asked(helper).firewall() == NO_HELPER
    assert Asked().firewall() == NO_HELPER
    assert Asked(helper, credit_s=0.0).firewall() == TOO_OFTEN


# -- places ----------------------------------------------------------------------------------------


def test_place() -> None:
    asked = Asked(FakeHelper(place=SAID))
    said = asked.place()
    assert said == PLACE
    assert said.number("net.core.somaxconn") == 128
    assert asked.helper.asked == [("place", json.loads(json.dumps(asdict(QUESTION))))]
    assert asked.helper.waits == [WAIT_SECONDS]


def test_one_answer_for_all_resets_of_a_moment() -> None:
    """The same flow seen from here; another flow is another question."""
    asked = Asked(FakeHelper(place=SAID))
    before = time.monotonic_ns()
    asked.answers.place(QUESTION, before)
    asked.answers.place(QUESTION, before - 10**9)
    assert len(asked.helper.asked) == 1
    asked.answers.place(replace(QUESTION, lport=8081), before)
    asked.answers.place(replace(QUESTION, wants=("settings",)), before)
    assert len(asked.helper.asked) == 3


def test_each_source_has_its_reason() -> None:
    said = {**SAID, "values": {}, "problems": {"peer": "took too long"}}
    assert Asked(FakeHelper(place=said)).place() == Place(problems={"peer": "took too long"})


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_place_that_makes_no_sense(odd: Any) -> None:
    """From the helper, and out of a recording that somebody else made."""
    assert len(reasons(Asked(FakeHelper(place=odd)).place())) == 1
    if isinstance(odd, dict):
        assert reasons(place_of(odd, QUESTION)) == {"the answer makes no sense"}


def test_why_there_is_no_place() -> None:
    helper = FakeHelper()
    assert reasons(Asked(helper).place()) == {LATE}
    helper.alive = False
    assert reasons(Asked(helper).place()) == {GONE}
    assert reasons(Asked().place()) == {GONE}
    assert reasons(Asked(FakeHelper(place=SAID), credit_s=0.0).place()) == {TOO_MANY}


def test_what_stays_the_same_is_noted_once() -> None:
    asked = Asked(FakeHelper(place=SAID))
    for change in ({}, {"time_ns": 6}, {"problems": {"path": "x"}}, {}):
        asked.helper.said["place"].update(change)
        asked.place()
    assert [sorted(value) for _, _, value in asked.notes] == [
        ["asked_ns", "problems", "time_ns", "values"],
        ["asked_ns", "time_ns"],
        ["problems", "time_ns"],
        ["time_ns"],
    ]


def test_place_knows_when_it_was_asked() -> None:
    """Live and in a replay: when the sources were, not when that was told."""
    asked = Asked(FakeHelper(place=SAID))
    for time_ns in (5, 5, 17, 17):
        asked.helper.said["place"]["time_ns"] = time_ns
        assert asked.place().time_ns == time_ns
    said = [value["time_ns"] for _, _, value in asked.notes]
    assert said == sorted(said)
    assert said[0] > 17


def test_place_that_was_known_a_moment_ago() -> None:
    """Asked before the reset, since there are too many to ask for each: it says so."""
    asked = Asked(FakeHelper(place=SAID))
    asked.place()
    asked.answers._credit._left = 0.0
    asked.helper.said["place"]["time_ns"] = 17
    assert asked.place() == PLACE
    assert asked.place().time_ns == 5
    assert len(asked.helper.asked) == 1


@pytest.mark.parametrize(
    "odd", [None, 7, [], {}, {"values": {}}, {"time_ns": "1", "values": {}}, {"time_ns": True}]
)
def test_damaged_place_in_a_recording(odd: Any) -> None:
    """The reader of the file tells in which line."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        RecordedContext().learn("place", QUESTION.key, odd)


def test_recording_that_knows_nothing() -> None:
    """Of a kind or a key; one of a later version has kinds that this one does not know."""
    known = RecordedContext()
    known.learn("a later kind", "x", {"y": 1})
    assert known.place(QUESTION, 0) is None
    assert known.firewall(NETNS, 0) is None
    assert known.process(1) is known.socket_owner(1) is known.netns_name(1) is None
    assert known.user_frames(1, (1,), ()) == ()


def test_key_is_the_whole_question() -> None:
    changes: list[dict[str, Any]] = [
        {"netns": 1}, {"family": 6}, {"local": "::1"}, {"lport": 1}, {"remote": "::1"},
        {"rport": 1}, {"device": ""}, {"wants": ("peer",)},
    ]  # fmt: skip
    assert {name for change in changes for name in change} == set(asdict(QUESTION))
    keys = {replace(QUESTION, **change).key for change in changes}
    assert len({*keys, QUESTION.key}) == len(changes) + 1


# -- stacks of a process ---------------------------------------------------------------------------

STACK = (0x7F01, 0x5502)
FRAMES = [[0x7F01, "close (libc.so.6)", 0], [0x5502, "handle (server)", 0]]
NAMES = ("close (libc.so.6)", GAP, "handle (server)")


def test_user_frames() -> None:
    """Asked once; a replay says the same."""
    asked = Asked(FakeHelper(symbols=FRAMES))
    for _ in range(3):
        assert asked.answers.user_frames(7, STACK, ()) == NAMES
    assert asked.helper.asked == [("symbols", [7, [0x7F01, 0x5502], []])]
    assert asked.recorded.user_frames(7, STACK, ()) == NAMES
    assert asked.recorded.user_frames(8, STACK, ()) == ()


@pytest.mark.parametrize("odd", [None, 7, "x", {}, []], ids=repr)
def test_user_frames_that_are_not_known(odd: Any) -> None:
    asked = Asked(FakeHelper(symbols=odd))
    assert asked.answers.user_frames(7, STACK, ()) == ()
    assert asked.notes == []


def test_user_frames_take_no_more_than_their_share() -> None:
    asked = Asked(FakeHelper(symbols=FRAMES), credit_s=0.0)
    assert asked.answers.user_frames(7, STACK, ()) == ()
    assert asked.helper.asked == []


def test_only_rules_are_waited_for_with_patience() -> None:
    """A report's reset is not held up longer than a live one, but for a firewall's commands."""
    asked = Asked(FakeHelper())
    asked.answers._credit.be_patient()
    asked.firewall()
    asked.place()
    asked.answers.user_frames(7, STACK, ())
    kinds = [kind for kind, _ in asked.helper.asked]
    assert kinds == ["firewall", "place", "symbols"]
    firewall, *others = asked.helper.waits
    assert WAIT_SECONDS < firewall <= PATIENT_SECONDS
    assert others == [WAIT_SECONDS] * 2
    assert WAIT_SECONDS < 0.2


def test_longest_questions_fit() -> None:
    """What is longer is passed over by the helper."""
    words, depth = LAYOUT.numbers["USER_WORDS"], LAYOUT.numbers["USER_STACK_DEPTH"]
    long = "fe80:1111:2222:3333:4444:5555:6666:7777%" + "i" * 15
    place = replace(QUESTION, local=long, remote=long, device="i" * 15, wants=ORDER)
    for about in ([2**22, [2**64 - 1] * depth, [2**64 - 1] * words], asdict(place)):
        question = json.dumps({"id": 2**63, "kind": "counters", "about": about})
        assert len(question) <= QUESTION_BYTES


# -- nobody to ask ---------------------------------------------------------------------------------


def test_context_without_a_helper() -> None:
    context = LiveContext()
    assert context.firewall(NETNS, 0) == NO_HELPER
    assert reasons(context.place(QUESTION, 0)) == {GONE}
    assert context.user_frames(1, (1,), ()) == ()
