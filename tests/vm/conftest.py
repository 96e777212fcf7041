"""The guests of this run: chosen by RSTTRACE_GUESTS, each run once, then asked by the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "vm"))

from guest_runs import Result, Runs, chosen, summary

ASKED = "RSTTRACE_GUESTS"
RUNS = pytest.StashKey[Runs]()


def guests() -> tuple[str, ...]:
    """The guests to run: those RSTTRACE_GUESTS names, all if it is empty."""
    return chosen(os.environ.get(ASKED, ""))


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Guests run in the background, RSTTRACE_VM_JOBS at a time (one a processor)."""
    if ASKED not in os.environ:
        pytest.skip("boots virtual machines for some minutes each: make test-kernels")
    made = Runs(
        guests(),
        jobs=int(os.environ.get("RSTTRACE_VM_JOBS") or os.cpu_count() or 1),
        required=int(os.environ.get("RSTTRACE_VM_REQUIRED", "0")),
        budget_s=float(os.environ.get("RSTTRACE_VM_SECONDS", "0")),
    )
    request.config.stash[RUNS] = made
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The guests as a table: what ran, how it ended, what was left out."""
    if RUNS in config.stash:
        terminalreporter.section("guests")
        for line in summary(config.stash[RUNS].done()):
            terminalreporter.write_line(line)


@pytest.fixture
def result(runs: Runs, guest: str) -> Result:
    """What this guest said."""
    found = runs.result(guest)
    if found.left_out:
        pytest.skip(found.left_out)
    return found
