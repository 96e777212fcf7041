"""Every lab in every family under one live trace: exactly the resets it promises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from rsttrace.explain import Explained
from rsttrace.lab import labs
from rsttrace.lab.base import LabSpec
from rsttrace.lab.runner import FAMILY_NAMES, run_lab, settle
from rsttrace.matching import PATIENCE_NS
from rsttrace.session import Session

from .conftest import live_session

pytestmark = pytest.mark.kernel

RUNS = [
    pytest.param(spec, family, id=f"{spec.name}-{FAMILY_NAMES[family]}")
    for spec in labs()
    for family in spec.families
]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One trace for all labs: what one leaves behind must not disturb the next."""
    with live_session() as live:
        yield live


@pytest.mark.parametrize(("spec", "family"), RUNS)
def test_verdict(session: Session, spec: LabSpec, family: int) -> None:
    """The right cause, end, state, errno and facts; and as many as the kernel counted.

    The trace sees the whole machine: where somebody else floods it the lab runs once more.
    """
    for _ in range(3):
        lost = session.lost
        outcome = run_lab(session, spec, family)
        if session.lost == lost:
            break
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert not outcome.problems, "\n".join(outcome.problems)
    assert len(outcome.explained) == len(spec.expect)


def test_settle_waits_for_the_trace() -> None:
    """A poll may take long, as when a firewall lab loads a module and its symbols are read: the
    last one must begin after the join's patience is over, or the resets stay in there."""
    begun: list[int] = []

    class Slow:
        pipeline = SimpleNamespace(busy=False)

        def poll(self, timeout_ms: int) -> list[Explained]:
            begun.append(time.monotonic_ns())
            time.sleep(PATIENCE_NS / 1e9 + 0.05)
            return []

    start = time.monotonic_ns()
    settle(cast(Session, Slow()))
    assert begun[-1] - start > PATIENCE_NS


def test_every_cause_with_a_lab_is_reached() -> None:
    """The parametrisation above is not empty, and covers what the catalogue says it covers."""
    from rsttrace.causes import catalogue

    promised = {cause.lab for cause in catalogue().values() if cause.lab}
    names = {spec.name for spec in labs()} | {spec.cause for spec in labs()}
    assert promised <= names
    assert len(RUNS) >= 90
