"""What the installer asks the distribution and PyPI for (tools/lacking.py)."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from rsttrace import toml

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "lacking.py"


@pytest.fixture
def lacking() -> dict[str, Any]:
    """The script's names."""
    return run_path(str(SCRIPT))


def test_it_reads_what_pip_reads(lacking: dict[str, Any]) -> None:
    """All entries of both lists, and nothing else of the file."""
    text = (ROOT / "pyproject.toml").read_text()
    project = toml.loads(text)
    entries = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    old, new = ([f"{n}>={v}" for n, v in lacking["wanted"](text, minor)] for minor in (10, 11))
    assert old == [entry.partition(";")[0] for entry in entries]
    assert new == [entry for entry in entries if ";" not in entry]


@pytest.mark.parametrize(
    ("version", "oldest", "enough"),
    [
        ("8.1.3", "8.0", True),
        ("8.0", "8.0", True),
        ("7.1.2", "8.0", False),
        ("0.10.0", "0.8.7", True),
        ("0.8.6", "0.8.7", False),
        (None, "0.8.7", False),
    ],
)
def test_an_old_version_is_lacking(
    version: str | None,
    oldest: str,
    enough: bool,
    lacking: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", told)
    assert lacking["is_there"]("some", oldest) is enough


def test_without_any_packages_all_is_lacking() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT], capture_output=True, text=True, check=True
    )
    assert {"click>=8.0", "hatchling>=1.12"} <= set(done.stdout.split())
