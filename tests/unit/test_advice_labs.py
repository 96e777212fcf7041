"""Advice for all recorded labs: no exception, nothing lost, nothing changed that is decided."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.advice import advise, from_sender, known_software
from rsttrace.advice.commands import HOST
from rsttrace.advice.fits import advisers
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place
from rsttrace.explain import Verdict, explain
from rsttrace.report.page import parted

from .advised import PROBLEMS, ask, full_place, told_of
from .labfiles import LabFile, lab_files

files = pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
DECIDED = ("cause", "confidence", "summary", "benign", "phase", "initiator", "errno", "sees")
WHOLE_HOST = ("net.ipv4.tcp_mem=", "net.ipv4.tcp_max_orphans=")  # has them only once
FIRST = 220  # characters: with the name of a namespace, IPv6 addresses or a server's setting


def decided(verdict: Verdict) -> list[object]:
    return [getattr(verdict, name) for name in DECIDED]


@files
def test_whatever_the_host_says(file: LabFile) -> None:
    for one, sender in told_of(file):
        for place in (None, Place(), PROBLEMS, full_place(one.reset)):
            facts = replace(one.facts, place=place)
            case = Case(one.reset, facts, sender)
            before = explain(one.reset, facts, sender)
            after = advise(case, before)
            assert decided(after) == decided(before)
            assert after.evidence[: len(before.evidence)] == before.evidence
            assert bool(after.remedies) == bool(before.remedies)
            assert len(set(after.remedies)) == len(after.remedies)
            if before.benign or from_sender(case, before):
                assert after.remedies == before.remedies
            elif place and place.settings:
                assert all(place.settings[name] == value for name, value in after.settings)
            else:
                assert after.settings == ()


NAMELESS = {"netns_name": None, "owner": None, "listener": None}  # no door to the namespace


def fitting(file: LabFile, **changes: Any) -> Iterator[tuple[Case, tuple[str, ...]]]:
    """Each reset with its remedies where all was learnt; a sender's own are not made here."""
    for one, sender in told_of(file):
        facts = replace(one.facts, place=full_place(one.reset), **changes)
        case = Case(one.reset, facts, sender)
        before = explain(one.reset, case.facts, sender)
        remedies = advise(case, before).remedies
        assert all(len(remedy) <= FIRST for remedy in remedies[:1])
        assert all(remedy.isprintable() for remedy in remedies)
        if not from_sender(case, before):
            # the settings of a known program are for its own file, not for a shell
            theirs = known_software.remedies(case, before.cause)
            yield case, tuple(text for text in remedies if text not in theirs)


def to_paste(remedies: tuple[str, ...]) -> list[str]:
    """What a shell is to understand."""
    return [command for command, _ in map(parted, remedies) if command]


@files
def test_remedies_can_be_read_and_pasted(file: LabFile) -> None:
    """A command ends at its comment, and a shell understands it."""
    script: dict[str, None] = {}
    for _, remedies in (*fitting(file), *fitting(file, **NAMELESS)):
        script.update(dict.fromkeys(to_paste(remedies)))
    for command in script:
        assert shlex.split(command), "its quotes are closed, so that none hides the next line"
    checked = subprocess.run(
        ["bash", "-n"], input="\n".join(script), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, ""), "\n".join(script)


@files
def test_a_setting_is_changed_where_it_counts(file: LabFile) -> None:
    """Never on the host for another namespace, also if that has neither a name nor a process."""
    for changes in ({}, NAMELESS):
        for case, remedies in fitting(file, **changes):
            bare = [c for c in to_paste(remedies) if c.startswith("sysctl ")]
            if case.facts.netns_name != HOST:
                assert all(any(name in c for name in WHOLE_HOST) for c in bare)


def test_some_settings_are_changed_in_other_namespaces() -> None:
    """Else the test above would say nothing."""
    for changes, door in (({}, "nsenter -t "), (NAMELESS, "nsenter -t PID -n ")):
        told = [said for file in lab_files() for _, said in fitting(file, **changes)]
        inside = [c for said in told for c in to_paste(said) if " sysctl -w " in c]
        assert len(inside) > 10
        assert all(c.startswith((door, "ip netns exec ")) for c in inside)


@files
def test_fits_know_what_they_settle(file: LabFile) -> None:
    for one, sender in told_of(file):
        if one.verdict.cause in advisers():
            case = Case(one.reset, one.facts, sender)
            for place in (Place(), full_place(one.reset)):
                ask(one.verdict.cause, case, place)


def test_every_fit_was_asked() -> None:
    """Each cause with a fit has a recording, so the tests above have called it."""
    seen = {one.verdict.cause for file in lab_files() for one in file.explained}
    assert set(advisers()) <= seen
