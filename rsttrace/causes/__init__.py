"""The catalogue of causes: one TOML file for each in catalogue/, one rule in rules/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from rsttrace import toml


@dataclass(frozen=True)
class Cause:
    """A catalogue entry; the keys are those of the TOML files."""

    id: str
    title: str
    direction: tuple[str, ...]
    phase: str
    benign: bool
    explanation: str
    sender_sees: str
    receiver_sees: str
    told_apart_from: tuple[tuple[str, str], ...]
    kernel_reasons: tuple[str, ...]
    drop_reasons: tuple[str, ...]
    counters: tuple[str, ...]
    confirm: tuple[str, ...]
    remedies: tuple[str, ...]
    rfc: tuple[str, ...]
    facts: tuple[str, ...]
    log_terms: tuple[str, ...]
    diagram: str
    lab: str
    settings: tuple[str, ...] = ()
    headline: str = ""


@dataclass(frozen=True)
class Word:
    """A term people bring: an errno, a kernel reason, a counter, a log term, a message.

    ``says``: other spellings, and pieces of pasted text that mean it.
    """

    name: str
    kind: str
    text: str
    causes: tuple[str, ...]
    says: tuple[str, ...] = ()


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, Cause]:
    """All causes by id, in alphabetical order."""
    directory = resources.files(__package__) / "catalogue"
    files = sorted(
        (f for f in directory.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    entries = [toml.loads(f.read_text(encoding="utf-8")) for f in files]
    return {e["id"]: Cause(**{k: _frozen(v) for k, v in e.items()}) for e in entries}


@lru_cache(maxsize=1)
def words() -> Mapping[str, Word]:
    """All terms by name."""
    text = (resources.files(__package__) / "words.toml").read_text(encoding="utf-8")
    return {
        name: Word(name, w["kind"], w["text"], tuple(w["causes"]), tuple(w.get("says", ())))
        for name, w in toml.loads(text)["words"].items()
    }
