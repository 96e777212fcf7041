"""Every lab on every kernel of the matrix: one boot of a guest, then one test for each of its rows.

``make test-kernels`` runs these, ``make test-kernels GUESTS="bookworm sid"`` some of them.
"""

from __future__ import annotations

import pytest
from guest_runs import Result, half_asked
from in_guest import all_specs, pairs

from rsttrace.lab.runner import FAMILY_NAMES

from .conftest import guests

LABS = [
    pytest.param(spec.name, FAMILY_NAMES[family], id=f"{spec.name}-{FAMILY_NAMES[family]}")
    for spec, family in pairs(all_specs(), half_asked())
]
pytestmark = pytest.mark.parametrize("guest", guests(), scope="session")


def test_whole_run(result: Result) -> None:
    """The guest booted, ran everything and stopped by itself."""
    assert not result.problem
    assert result.facts["hooks"]
    assert len(result.labs) == len(LABS)


@pytest.mark.parametrize(("lab", "family"), LABS)
def test_lab(result: Result, lab: str, family: str) -> None:
    """The right verdicts, or weaker ones with a true reason where this kernel tells less."""
    row = result.lab(lab, family)
    assert row is not None, f"the guest did not get that far: {result.problem}"
    if row["verdict"] == "skipped":
        pytest.skip(row["skipped"])
    assert row["verdict"] in ("right", "weaker"), "\n".join(row["problems"])


@pytest.mark.parametrize(("lab", "family"), LABS)
def test_complete(result: Result, lab: str, family: str) -> None:
    """As many resets told as the kernel counted, on kernels that hide half of them as well."""
    row = result.lab(lab, family)
    assert row is not None, f"the guest did not get that far: {result.problem}"
    if row["verdict"] == "skipped":
        pytest.skip(row["skipped"])
    assert row["told_rsts"] == row["out_rsts"]


def test_no_wrong_certainty(result: Result) -> None:
    """Whatever else went wrong: nothing is said for certain that no lab did."""
    for row in result.labs:
        expected = {e["cause"] for e in row["expected"]}
        sure = {e["cause"] for e in row["explained"] if e["confidence"] == "certain"}
        assert sure <= expected, row["lab"]


def test_trace(result: Result) -> None:
    """``rsttrace trace`` as a user runs it: a connection to a closed port is told."""
    row = result.command("trace")
    assert row is not None, result.problem
    assert row["code"] == 0, row["err"]
    assert "closed-port" in row["out"]
    assert "Traceback" not in row["err"]


def test_doctor(result: Result) -> None:
    """``rsttrace doctor`` says what this kernel can show, and knows which kernel it is."""
    row = result.command("doctor")
    assert row is not None, result.problem
    assert row["code"] == 0, row["out"] + row["err"]
    assert result.facts["kernel"] in row["out"]
    assert "Traceback" not in row["err"]
