"""What the helper process said, put into this program's terms, and remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from rsttrace.enrich.asking import (
    LEAST_SECONDS,
    NO_ANSWER,
    NO_HELPER,
    TOO_OFTEN,
    Credit,
    Memory,
)
from rsttrace.enrich.firewall import Firewall, from_json, to_json
from rsttrace.enrich.place import Place, Question
from rsttrace.enrich.sources import place_from_json
from rsttrace.enrich.userstack import UserStacks

Noted = Callable[[str, str, object], None]

TOO_MANY = "too many resets to ask for each"
ASKED = "asked_ns"  # when the sources were asked
LATE = "the helper process did not answer in time"
GONE = "the helper process is gone"


class Helper(Protocol):
    """Somebody who answers questions (asking.Broker). ``alive``: is there anybody?"""

    alive: bool

    def ask(self, kind: str, about: Any, wait_s: float) -> Any:
        """The answer, None if there is none in time."""


class NoHelper:
    """Nobody to ask."""

    alive = False

    def ask(self, kind: str, about: Any, wait_s: float) -> Any:
        """None."""


class Answers:
    """The helper's answers, bounded in time. ``noted`` is told every new one."""

    def __init__(self, helper: Helper, noted: Noted, credit: Credit) -> None:
        self._helper = helper
        self._credit = credit
        self._firewalls: Memory[Firewall] = Memory(
            "firewall", noted, self._credit, _new_rules, TOO_OFTEN
        )
        self._places: Memory[dict[str, Any]] = Memory(
            "place", noted, self._credit, _new_of_place, no_place(TOO_MANY)
        )
        self._stacks = UserStacks(self._frames, noted)

    def firewall(self, netns: int, time_ns: int) -> Firewall:
        """The rules of a namespace soon after ``time_ns``; with ``problem`` if not known."""
        return self._firewalls.get(str(netns), time_ns, lambda wait_s: self._rules(netns, wait_s))

    def _rules(self, netns: int, wait_s: float) -> Firewall:
        value = self._helper.ask("firewall", netns, wait_s)
        if value is None:
            return NO_ANSWER if self._helper.alive else NO_HELPER
        try:
            return from_json(value)
        except ValueError:
            return NO_ANSWER

    def place(self, question: Question, time_ns: int) -> Place:
        """What the host says there soon after ``time_ns``; what is not known has its reason."""
        value = self._places.get(question.key, time_ns, lambda s: self._place(question, s))
        return place_of(value, question)

    def _place(self, question: Question, wait_s: float) -> dict[str, Any]:
        value = self._helper.ask("place", asdict(question), wait_s)
        if not isinstance(value, dict):
            return no_place(LATE if self._helper.alive else GONE)
        asked_ns = value.get("time_ns")  # Memory's is when it was told
        return {"values": value.get("values"), "problems": value.get("problems"), ASKED: asked_ns}

    def user_frames(
        self, pid: int, addresses: tuple[int, ...], words: tuple[int, ...]
    ) -> tuple[str, ...]:
        """Names of a process's own stack, innermost first; () if they are not known."""
        return self._stacks.names(pid, addresses, words)

    def _frames(self, about: Any) -> Any:
        if (wait_s := self._credit.wait("symbols")) < LEAST_SECONDS:
            return None
        with self._credit.spending():
            return self._helper.ask("symbols", about, wait_s)


def no_place(reason: str) -> dict[str, Any]:
    """An answer that says nothing. ``*``: every source that was asked."""
    return {"values": {}, "problems": {"*": reason}, ASKED: 0}


def place_of(value: dict[str, Any], question: Question) -> Place:
    """The helper's JSON as a Place; one that makes no sense as a reason."""
    problems = value.get("problems")
    if isinstance(problems, dict) and "*" in problems:
        value = {**value, "problems": dict.fromkeys(question.wants, problems["*"])}
    try:
        return place_from_json({**value, "time_ns": value.get(ASKED, 0)})
    except ValueError:
        return Place(problems=dict.fromkeys(question.wants, "the answer makes no sense"))


def _new_rules(answer: Firewall, last: Firewall | None) -> dict[str, Any]:
    return {} if answer == last else to_json(answer)


def _new_of_place(answer: dict[str, Any], last: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if not last or last.get(key) != value}
