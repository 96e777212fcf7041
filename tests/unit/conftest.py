"""What every test of this ring may rely on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from rsttrace.enrich import listening, live, owners

from .fakeproc import FakeProc

# the same examples in every run; HYPOTHESIS_PROFILE=explore looks for new ones
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", database=None, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tester's own colours, width and debugging must not matter."""
    for name in ("NO_COLOR", "COLUMNS", "LINES", "RSTTRACE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    for module in (live, listening, owners):
        monkeypatch.setattr(module, "PROC", tmp_path)
    monkeypatch.setattr(live, "RUN_NETNS", tmp_path / "netns")
    return FakeProc(tmp_path)
