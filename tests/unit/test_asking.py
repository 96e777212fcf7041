"""The trace's side of the helper process: how long it waits, and what it remembers."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rsttrace.enrich import asking, broker
from rsttrace.enrich.asking import REMEMBERED, Broker, Credit, Memory

PATIENCE = 20.0
SOON = 0.01
ABOUT = {"netns": 4026531840}


# -- asking ----------------------------------------------------------------------------------------


class Mute(Broker):
    """A helper that the test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.close()
        self._socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.setblocking(False)
        self.alive = True

    def say(self, number: Any, value: object) -> None:
        self.raw(json.dumps({"id": number, "value": value}).encode())

    def raw(self, words: bytes) -> None:
        self.theirs.send(words)

    def asked(self) -> list[Any]:
        """The questions since the last call."""
        found = []
        while True:
            try:
                found.append(json.loads(self.theirs.recv(broker.QUESTION_BYTES)))
            except BlockingIOError:
                return found

    def numbers(self) -> list[int]:
        return [question["id"] for question in self.asked()]


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mute]:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    made = Mute()
    yield made
    made.theirs.close()
    made.close()


def ask(mute: Mute, about: Any = ABOUT, **options: Any) -> Any:
    return mute.ask("place", about, **{"wait_s": SOON, **options})


def test_question_and_answer(mute: Mute) -> None:
    def answer() -> None:
        for question in mute.asked():
            mute.say(question["id"], {"rules": 1})

    mute.meanwhile = answer
    assert ask(mute, wait_s=PATIENCE) == {"rules": 1}
    assert ask(mute, wait_s=PATIENCE) == {"rules": 1}


def test_what_is_sent(mute: Mute) -> None:
    ask(mute)
    mute.ask("counters", None, SOON)
    first, second = mute.asked()
    assert first == {"id": first["id"], "kind": "place", "about": ABOUT, "wait": SOON}
    assert second == {"id": second["id"], "kind": "counters", "about": None, "wait": SOON}
    assert first["id"] != second["id"]


def test_waits_no_longer_than_it_should(mute: Mute) -> None:
    begun = time.monotonic()
    assert ask(mute, wait_s=0.1) is None
    assert 0.1 <= time.monotonic() - begun < PATIENCE / 2


def test_other_work_is_done_while_it_waits(mute: Mute) -> None:
    """The perf buffer fills up in the meantime."""
    times: list[float] = []
    mute.meanwhile = lambda: times.append(time.monotonic())
    assert ask(mute, wait_s=0.1) is None
    assert len(times) >= 3


def test_waits_for_nothing_that_will_not_come(mute: Mute) -> None:
    """A child of the helper that failed says so."""
    ask(mute)
    (number,) = mute.numbers()
    mute.say(number, None)
    mute.meanwhile = lambda: [mute.say(n, None) for n in mute.numbers()] and None
    begun = time.monotonic()
    assert ask(mute, wait_s=PATIENCE) is None
    assert time.monotonic() - begun < PATIENCE / 2


def test_late_answer_is_good_for_the_next(mute: Mute) -> None:
    assert ask(mute) is None
    (number,) = mute.numbers()
    mute.say(number, "late")
    assert ask(mute) == "late"
    assert mute.numbers() == []
    assert ask(mute) is None  # once
    assert len(mute.numbers()) == 1


def test_is_not_asked_again_while_it_works(mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "IN_VAIN", 1000)
    for _ in range(3):
        assert ask(mute) is None
    (first,) = mute.asked()
    assert ask(mute, "another") is None
    (second,) = mute.asked()
    assert second["about"] == "another"
    mute.say(second["id"], "right")
    mute.say(first["id"], "this one")
    assert ask(mute) == "this one"
    assert ask(mute, "another") == "right"


def test_is_asked_again_when_its_child_must_be_dead(
    mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "ANSWER_SECONDS", 0.0)
    ask(mute)
    ask(mute)
    assert len(set(mute.numbers())) == 2


def test_old_answer_is_no_answer(mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(mute)
    mute.say(mute.numbers()[0], "old")
    monkeypatch.setattr(asking, "FRESH_SECONDS", -1.0)
    assert ask(mute) is None


def test_asked_anew_only_the_answer_to_this_question_counts(mute: Mute) -> None:
    """Counters that were read before the question say nothing of now."""
    assert ask(mute, anew=True) is None
    assert ask(mute, anew=True) is None
    first, second = mute.numbers()
    mute.say(first, "before")
    mute.say(second, "before")
    assert ask(mute, anew=True) is None
    (third,) = mute.numbers()

    def answer() -> None:
        for number in mute.numbers():
            mute.say(third, "of the last question")
            mute.say(number, "now")

    mute.meanwhile = answer
    assert ask(mute, anew=True, wait_s=PATIENCE) == "now"


@pytest.mark.parametrize(
    "words",
    [b"x", b"\xff", b"[]", b"null", b"{}", b'{"id": 1}', b'{"value": 1}', b'{"id": [], "value": 1}',
     b'{"id": 999, "value": 1}', b'{"id": null, "value": 1}', b'{"id": "1", "value": 1}'],
)  # fmt: skip
def test_answer_that_is_odd(words: bytes, mute: Mute) -> None:
    """It answers nothing, and does not keep the right one from being heard."""
    ask(mute)
    (number,) = mute.numbers()
    mute.raw(words)
    assert ask(mute) is None
    assert mute.alive
    mute.raw(words)
    mute.say(number, "right")
    assert ask(mute) == "right"


def test_answers_are_taken_once(mute: Mute) -> None:
    ask(mute)
    (number,) = mute.numbers()
    mute.say(number, "one")
    mute.say(number, "two")
    assert ask(mute) == "one"
    assert ask(mute) is None


def test_remembers_no_more_than_it_must(mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked and answered or not."""
    monkeypatch.setattr(asking, "IN_VAIN", 1000)
    for about in range(3 * REMEMBERED):
        ask(mute, about, wait_s=0.0001)
        for number in mute.numbers():
            if about % 2:
                mute.say(number, "answer")
    ask(mute, -1)
    for known in (mute._asked, mute._pending, mute._answers):
        assert len(known) <= REMEMBERED + 1


def until_it_blocks(act: Callable[[], object]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            act()


@pytest.mark.parametrize("wait_s", [0.0, SOON])
def test_helper_that_does_not_read(wait_s: float, mute: Mute) -> None:
    """No room for the question: it was not sent, and nobody is dead."""
    mute._socket.setblocking(False)
    until_it_blocks(lambda: mute._socket.send(b"x" * 1000))
    assert ask(mute, wait_s=wait_s) is None
    assert mute.alive
    until_it_blocks(lambda: mute.theirs.recv(2000))
    ask(mute)
    assert [q["about"] for q in mute.asked()] == [ABOUT]


def test_helper_that_ended(mute: Mute) -> None:
    mute.theirs.close()
    begun = time.monotonic()
    assert ask(mute, wait_s=PATIENCE) is None
    assert not mute.alive
    assert ask(mute, wait_s=PATIENCE) is None
    assert time.monotonic() - begun < PATIENCE / 2


def test_helper_that_ends_while_it_is_asked(mute: Mute) -> None:
    mute.meanwhile = mute.theirs.close
    begun = time.monotonic()
    assert ask(mute, wait_s=PATIENCE) is None
    assert not mute.alive
    assert time.monotonic() - begun < PATIENCE / 2


def test_helper_that_says_nothing_is_left_alone(mute: Mute) -> None:
    """One that hangs must not hold up each reset."""
    for about in range(5):
        assert ask(mute, about, wait_s=0.05) is None
    assert [question["about"] for question in mute.asked()] == [0, 1]
    begun = time.monotonic()
    assert ask(mute, 6, wait_s=PATIENCE) is None
    assert time.monotonic() - begun < PATIENCE / 2
    assert mute.alive


def test_counters_of_the_end_are_asked_for_all_the_same(mute: Mute) -> None:
    ask(mute, 1)
    ask(mute, 2)
    mute.asked()
    ask(mute, 3, anew=True)
    assert [question["about"] for question in mute.asked()] == [3]


def test_helper_that_speaks_again_is_asked_again(mute: Mute) -> None:
    """A late answer to whatever it was: it was only slow."""
    ask(mute, 1)
    ask(mute, 2)
    first, _ = mute.numbers()
    assert ask(mute, 3) is None
    mute.say(first, "late")
    ask(mute, 4)
    assert [question["about"] for question in mute.asked()] == [4]
    ask(mute, 5)  # two more in vain
    ask(mute, 6)
    assert [question["about"] for question in mute.asked()] == [5]
    mute.raw(b"odd")
    assert ask(mute, 1) == "late"


def test_helper_that_hangs_is_tried_again_later(
    mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, for as long as it says nothing."""
    ask(mute, 1)
    ask(mute, 2)
    mute.asked()
    monkeypatch.setattr(mute, "_quiet_until", time.monotonic())
    ask(mute, 3)
    ask(mute, 4)
    assert [question["about"] for question in mute.asked()] == [3]
    assert mute._quiet_until - time.monotonic() <= asking.QUIET_SECONDS


# -- what it may cost ------------------------------------------------------------------------------


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 10**15
        monkeypatch.setattr(time, "monotonic", lambda: self.ns / 1e9)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.ns)

    def tick(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_credit_is_a_burst_then_a_share_of_the_time(clock: Clock) -> None:
    credit = Credit(0.2, 0.1)
    assert credit.left == pytest.approx(0.2)
    with credit.spending():
        clock.tick(0.15)
    assert credit.left == pytest.approx(0.2 - 0.15 + 0.015)
    clock.tick(0.5)
    assert credit.left == pytest.approx(0.115)
    clock.tick(3600)
    assert credit.left == pytest.approx(0.2)


def test_credit_that_was_overdrawn_comes_back_later(clock: Clock) -> None:
    credit = Credit(0.2, 0.1)
    with credit.spending():
        clock.tick(1.0)
    assert credit.left == 0
    clock.tick(6.0)
    assert credit.left == 0
    clock.tick(2.0)
    assert credit.left == pytest.approx(0.1)


def test_credit_is_spent_by_what_fails(clock: Clock) -> None:
    credit = Credit(0.2, 0.0)
    with contextlib.suppress(OSError), credit.spending():
        clock.tick(0.15)
        raise OSError
    assert credit.left == pytest.approx(0.05)


def test_credit_where_nobody_waits(clock: Clock) -> None:
    """At the end of a trace: what is left is explained with more patience."""
    credit = Credit(0.2, 0.1)
    with credit.spending():
        clock.tick(5.0)
    credit.be_patient()
    assert credit.left == pytest.approx(asking.PATIENT_SECONDS)
    with credit.spending():
        clock.tick(asking.PATIENT_SECONDS + 0.2)
    clock.tick(0.3)
    assert 0.2 < credit.left <= asking.PATIENT_SECONDS


def test_one_question_takes_no_longer_where_nobody_waits(clock: Clock) -> None:
    credit = Credit()
    assert credit.wait("firewall") == credit.wait("place") == asking.WAIT_SECONDS
    credit.be_patient()
    assert credit.wait("place") == credit.wait("symbols") == asking.WAIT_SECONDS
    assert credit.wait("firewall") == pytest.approx(1.0)
    with credit.spending():
        clock.tick(1.9)
    assert credit.wait("firewall") == credit.wait("place") == pytest.approx(0.05)


def test_no_more_than_the_share_in_the_long_run(clock: Clock) -> None:
    """A flood, in which somebody looks up something whenever that is allowed."""
    credit, spent, begun = Credit(0.18, 0.1), 0.0, time.monotonic()
    for _ in range(2000):
        clock.tick(0.01)
        if credit.left >= asking.LEAST_SECONDS:
            with credit.spending():
                clock.tick(0.02)
            spent += 0.02
    assert 0.05 < spent / (time.monotonic() - begun) < 0.12


# -- what was said before --------------------------------------------------------------------------

Value = dict[str, Any]
ONE, TWO, TOO_OFTEN = {"v": 1}, {"v": 2}, {"v": "too often"}
NETNS, OTHER = "4026531840", "4026531841"


def fresh(value: Value, last: Value | None) -> Value:
    return {} if value == last else value


class Told:
    """A memory, somebody to ask whose answer the test sets, and what was noted."""

    def __init__(self, clock: Clock, burst_s: float = 1000.0) -> None:
        self.clock = clock
        self.now = ONE
        self.took_s = 0.001
        self.times = 0
        self.waits: list[float] = []
        self.notes: list[tuple[str, str, Any]] = []
        self.credit = Credit(burst_s, 0.1)
        self.memory: Memory[Value] = Memory(
            "place", lambda *note: self.notes.append(note), self.credit, fresh, TOO_OFTEN
        )

    def ask(self, wait_s: float) -> Value:
        self.times += 1
        self.waits.append(wait_s)
        self.clock.tick(self.took_s)
        return self.now

    def get(self, time_ns: int, key: str = NETNS) -> Value:
        return self.memory.get(key, time_ns, self.ask)

    def happens(self, key: str = NETNS) -> Value:
        """Something that happened just now."""
        self.clock.tick(0.001)
        return self.get(self.clock.ns, key)


def test_one_answer_for_all_resets_before_it(clock: Clock) -> None:
    told = Told(clock)
    happened = clock.ns
    assert told.get(happened) == ONE
    told.now = TWO
    assert told.get(happened + 1) == ONE
    assert told.get(happened - 10**9) == ONE
    assert told.times == len(told.notes) == 1
    assert told.happens() == TWO
    assert told.get(happened) == ONE  # as before, whatever came since
    assert told.get(happened, OTHER) == TWO
    assert told.times == 3


def test_notes_what_a_replay_needs(clock: Clock) -> None:
    told = Told(clock)
    for now in (ONE, ONE, TWO, ONE):
        told.now = now
        told.happens()
    assert {note[:2] for note in told.notes} == {("place", NETNS)}
    values = [value for _, _, value in told.notes]
    times = [value.pop("time_ns") for value in values]
    assert times == sorted(times)
    assert values == [ONE, {}, TWO, ONE]


def test_is_told_how_long_it_may_take(clock: Clock) -> None:
    """All the credit there is."""
    told = Told(clock, burst_s=0.1)
    told.took_s = 0.05
    told.happens()
    told.happens()
    assert told.waits == [pytest.approx(0.1), pytest.approx(0.055, abs=0.001)]


def test_is_not_asked_all_the_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of resets: as it was a moment ago, and the reason if that is too long ago."""
    told = Told(clock, burst_s=0.1)
    told.took_s = 0.2
    assert told.happens() == ONE
    told.now = TWO
    assert told.happens() == ONE
    monkeypatch.setattr(asking, "FRESH_SECONDS", 0.0)
    assert told.happens() == TOO_OFTEN
    assert told.happens(OTHER) == TOO_OFTEN
    assert told.times == 1
    assert len(told.notes) == 4
    clock.tick(10.0)
    assert told.happens() == TWO


def test_memories_share_one_credit(clock: Clock) -> None:
    """A reset may need several answers; all of them together must not take too long."""
    one, other = Told(clock, burst_s=0.1), Told(clock)
    other.memory._credit = one.credit
    one.took_s = 0.2
    assert one.happens() == ONE
    assert other.happens() == TOO_OFTEN
    assert other.times == 0


def test_memory_is_bounded(clock: Clock) -> None:
    told = Told(clock)
    for number in range(REMEMBERED * 3):
        told.happens(str(number))
    assert len(told.memory._said) == REMEMBERED
    for _ in range(REMEMBERED * 3):
        told.happens("1")
    assert len(told.memory._said["1"]) == REMEMBERED


def test_forgotten_namespace_is_noted_in_full_again(clock: Clock) -> None:
    """Else a replay would take the wrong one for the same."""
    told = Told(clock)
    for number in range(REMEMBERED + 1):
        told.happens(str(number))
    told.notes.clear()
    told.happens("0")
    ((_, key, value),) = told.notes
    assert (key, value["v"]) == ("0", 1)


def test_no_reset_is_held_up_for_long() -> None:
    """Issue 4: no delay over 200 ms, whatever hangs."""
    assert asking.WAIT_SECONDS <= asking.BURST_SECONDS < 0.2
