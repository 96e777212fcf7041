"""Explained resets made by hand, for what comes after the rules: folding, counting, printing."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from rsttrace.enrich import Facts
from rsttrace.explain import Explained, Related, Verdict

from .build import FLOW, T, reset


def verdict(cause: str, **changes: Any) -> Verdict:
    """A sure verdict with nothing to say."""
    plain = Verdict(
        cause=cause,
        confidence="certain",
        summary="It happened.",
        evidence=(),
        remedies=("change it",),
        benign=False,
        phase="transfer",
        initiator="unknown",
        errno=None,
        log_term=None,
        sees="",
        missing="",
    )
    return replace(plain, **changes)


def told(cause: str, number: int = 1, time_ns: int = T, **changes: Any) -> Explained:
    """Reset ``number`` of FLOW; ``changes`` are of the Explained, its verdict or its reset."""
    of = {"direction": "sent", "flow": FLOW, "facts": Facts(), **changes}
    about = {name: of.pop(name) for name in ("facts", "count", "related") if name in of}
    said = {field.name: of.pop(field.name) for field in fields(Verdict) if field.name in of}
    one = reset(id=number, time_ns=time_ns, **of)
    return Explained(reset=one, verdict=verdict(cause, **said), **about)


def related(one: Explained) -> Related:
    """How an echo names this one."""
    return Related(one.reset.id, one.verdict.cause, one.reset.direction, one.reset.time_ns)
