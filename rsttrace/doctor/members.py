"""Which fields of a record stay empty without a struct member, out of the C sources."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_MEMBER = re.compile(r"\bOFF\((\w+),\s*(\w+)\)|\bREAD\([^;]*?,\s*(\w+),\s*(\w+)\)")
_INTO = re.compile(r"\bREAD\(&(\w+),")  # into a local variable
_FIELD = re.compile(r"&r->(\w+)\b|\br->(\w+) = ")


@dataclass(frozen=True)
class _Statement:
    """One C statement: members it reads, the local variable it reads into, fields it fills."""

    text: str
    members: frozenset[str]
    into: str
    fields: frozenset[str]


def empty_fields(source: str, missing: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each missing ``struct.member`` to the fields of record.h that nothing else fills.

    A statement fills a field out of the members it names, or out of a local variable that an
    earlier statement of its function filled.
    """
    gone = set(missing)
    lost: dict[str, set[str]] = {member: set() for member in gone}
    kept: set[str] = set()
    for function in _functions(source):
        empty: dict[str, set[str]] = {}  # local variable: the members it lacks
        for one in function:
            lacks = set(one.members & gone)
            lacks.update(*(m for name, m in empty.items() if re.search(rf"\b{name}\b", one.text)))
            if one.into and lacks:
                empty[one.into] = lacks
            for member in lacks:
                lost[member] |= one.fields
            if not lacks:
                kept |= one.fields
    return {member: tuple(sorted(names - kept)) for member, names in sorted(lost.items())}


def _functions(source: str) -> list[list[_Statement]]:
    """The bodies, at the closing brace of the first column."""
    bodies = _COMMENT.sub("", source).split("\n}")
    return [[_statement(text) for text in body.split(";")] for body in bodies]


def _statement(text: str) -> _Statement:
    members = (f"{a or c}.{b or d}" for a, b, c, d in _MEMBER.findall(f"{text};"))
    into = _INTO.search(text)
    fields = frozenset(a or b for a, b in _FIELD.findall(text))
    return _Statement(text, frozenset(members), into[1] if into else "", fields)
