"""Checks for what a recording says: each returns the value, or raises ValueError. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rsttrace.output import printable

T = TypeVar("T")
LONGEST = 300  # characters of one text: a recording of somebody else's must not fill the terminal
LARGEST = 1 << 64


def fields(value: Any) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError("not an object")
    return value


def text(value: Any) -> str:
    """A text, fit for a terminal."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {type(value).__name__}")
    return printable(value[:LONGEST])


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list):
        raise ValueError("not a list")
    return tuple(text(item) for item in value)


def texts_by_name(value: Any) -> dict[str, str]:
    """An object of texts."""
    return {text(name): text(item) for name, item in fields(value).items()}


def whole(value: Any) -> int:
    """A number without fraction, not negative."""
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ValueError("not a whole number")
    return value


def number(value: Any) -> float:
    """A number, not negative, not infinite."""
    if type(value) not in (int, float) or not 0 <= value < LARGEST or math.isnan(value):
        raise ValueError("not a number")
    return float(value)


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def maybe(check: Callable[[Any], T], value: Any) -> T | None:
    """None, or what the check makes of it."""
    return None if value is None else check(value)
