"""Which facts a rule looks at: the names in its compiled code, and in the code that it calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import CodeType, FunctionType

from rsttrace.causes.case import Case
from rsttrace.causes.rules import rules
from rsttrace.model import Reset
from rsttrace.records import History, Record, Sock

# methods that rules call on what they are given
METHODS_OF = (Case, Reset, Record)
# properties that are made of facts; those of the others are facts of their own
MADE_OF_FACTS = (Sock, History)


@cache
def read_by(cause: str) -> frozenset[str]:
    """Names of all attributes that the rule of a cause may ask for, its NEEDS included."""
    (rule,) = (rule for rule in rules() if rule.cause == cause)
    waiting = list(_own((rule.ask, *(fact.lacks for fact in rule.needs))))
    names: set[str] = set()
    seen = set(waiting)
    while waiting:
        function = waiting.pop()
        used = set(_names(function.__code__))
        names |= used
        for found in _called(used, function.__globals__):
            if found not in seen:
                seen.add(found)
                waiting.append(found)
    return frozenset(names)


def _own(things: Iterable[object]) -> Iterator[FunctionType]:
    """Those that are functions of this program."""
    for thing in things:
        if isinstance(thing, FunctionType) and thing.__module__.startswith("rsttrace."):
            yield thing


def _names(code: CodeType) -> Iterator[str]:
    """Also those of the comprehensions and functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _called(names: set[str], known: Mapping[str, object]) -> Iterator[FunctionType]:
    """Functions of this program that go by these names."""
    for name in names:
        things = [known.get(name), *(vars(owner).get(name) for owner in METHODS_OF)]
        made = (vars(owner).get(name) for owner in MADE_OF_FACTS)
        things += (one.fget for one in made if isinstance(one, property))
        yield from _own(things)
