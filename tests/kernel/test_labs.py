"""Every lab in every family under one live trace: exactly the resets it promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rsttrace.lab import labs
from rsttrace.lab.base import LabSpec
from rsttrace.lab.runner import FAMILY_NAMES, run_lab
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


def test_every_cause_with_a_lab_is_reached() -> None:
    """The parametrisation above is not empty, and covers what the catalogue says it covers."""
    from rsttrace.causes import catalogue

    promised = {cause.lab for cause in catalogue().values() if cause.lab}
    names = {spec.name for spec in labs()} | {spec.cause for spec in labs()}
    assert promised <= names
    assert len(RUNS) >= 90
