"""Advice for all recorded labs: no exception, nothing lost, nothing changed that is decided."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from rsttrace.advice import advise, from_sender
from rsttrace.advice.fits import advisers
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place
from rsttrace.explain import Verdict, explain

from .advised import PROBLEMS, ask, full_place, told_of
from .labfiles import LabFile, lab_files

files = pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
DECIDED = ("cause", "confidence", "summary", "benign", "phase", "initiator", "errno", "sees")
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


@files
def test_remedies_can_be_read_and_pasted(file: LabFile) -> None:
    """A command ends at its comment, and a shell understands it."""
    for one, sender in told_of(file):
        facts = replace(one.facts, place=full_place(one.reset))
        after = advise(Case(one.reset, facts, sender), explain(one.reset, facts, sender))
        for remedy in after.remedies:
            assert remedy.isprintable()
            command, mark, _ = remedy.partition("  # ")
            if mark:
                assert shlex.split(command)
        assert all(len(remedy) <= FIRST for remedy in after.remedies[:1])


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
