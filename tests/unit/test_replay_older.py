"""Labs recorded on older kernels replay to the same verdicts, or to less with the missing fact."""

from __future__ import annotations

import pytest

from rsttrace.causes.case import CERTAIN
from rsttrace.kernel.gaps import GAPS

from .labfiles import LabFile, older_files

files = pytest.mark.parametrize(
    "file", older_files(), ids=lambda file: f"{file.path.parent.name}-{file.name}"
)


@files
def test_replays_to_what_the_lab_promises(file: LabFile) -> None:
    assert file.problems(file.explained) == []
    assert len(file.explained) == len(file.spec.expect)


@files
def test_what_no_hook_told_is_marked(file: LabFile) -> None:
    """An inferred decision has no reason of the kernel's, and none is made up."""
    for explained in file.explained:
        decided, judged = explained.reset.decided, explained.reset.judged
        assert not (decided and decided.inferred and explained.reset.reason)
        assert not (judged and judged.inferred and explained.reset.drop_reason)


@files
def test_sure_only_with_what_was_seen(file: LabFile) -> None:
    """Where kfree_skb gives no reason, what met nothing is never certain to have met nothing."""
    if "drop-reason" not in file.recording.host["gaps"]:
        return
    for explained in file.explained:
        if explained.verdict.cause == "reset-no-socket" and not explained.reset.state:
            assert explained.verdict.confidence != CERTAIN


def test_kernels_with_and_without_reasons_are_there() -> None:
    gaps = {file.path.parent.name: set(file.recording.host["gaps"]) for file in older_files()}
    assert any("drop-reason" in found for found in gaps.values())
    assert any("strays" in found and "drop-reason" not in found for found in gaps.values())
    assert set().union(*gaps.values()) == set(GAPS) - {"btf", "unseen-strays"}
