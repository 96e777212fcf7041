"""The recorded labs in tests/data/labs (made by tools/record-fixtures.py)."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rsttrace.explain import Explained
from rsttrace.lab import find
from rsttrace.lab.base import LabSpec
from rsttrace.lab.runner import Outcome, judge
from rsttrace.recording import Recording
from rsttrace.replay import replay

DATA = Path(__file__).resolve().parents[1] / "data"
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class LabFile:
    """One recording of one lab in one family."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def about(self) -> dict[str, Any]:
        """The line that the reader passes over."""
        lines = map(json.loads, self.path.read_text().splitlines())
        about: dict[str, Any] = next(line for line in lines if line.get("type") == "lab")
        return about

    @cached_property
    def recording(self) -> Recording:
        return Recording(self.path)

    @cached_property
    def explained(self) -> list[Explained]:
        return replay(self.recording)

    @property
    def spec(self) -> LabSpec:
        (found,) = (spec for spec in find(self.about["name"]) if spec.name == self.about["name"])
        return found

    def problems(self, explained: list[Explained]) -> list[str]:
        """What the live lab run would complain about."""
        family = FAMILIES[self.about["family"]]
        gaps = tuple(self.recording.host.get("gaps", ()))
        outcome = Outcome(self.spec, family, explained, gaps=gaps, out_rsts=self.about["out_rsts"])
        return judge(outcome, {inode: end for end, inode in self.about["netns"].items()})


@cache
def lab_files() -> tuple[LabFile, ...]:
    """All of them, by name."""
    return tuple(LabFile(path) for path in sorted((DATA / "labs").glob("*.rec")))


@cache
def older_files() -> tuple[LabFile, ...]:
    """Those recorded on older kernels, by kernel and name (tools/record-older.sh)."""
    return tuple(LabFile(path) for path in sorted((DATA / "older").glob("*/*.rec")))


def lab_file(name: str) -> LabFile:
    """One of them."""
    return next(file for file in lab_files() if file.name == name)
