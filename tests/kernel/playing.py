"""Labs played under a trace that is shared by many tests, and what was told of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.lab import find
from rsttrace.lab.base import Expect, Lab, LabSpec
from rsttrace.lab.runner import FAMILY_NAMES, Outcome, run_lab
from rsttrace.lab.topology import TOPOLOGIES
from rsttrace.model import FORWARDED, RECEIVED, SENT
from rsttrace.session import Session
from rsttrace.sinks.jsonl import reset_object

BOTH = tuple(FAMILY_NAMES)


def expected(spec: LabSpec, topology: str, one_host: bool = False) -> LabSpec:
    """What the lab promises here: every RST also passes what stands in the middle."""
    promised = spec.expect
    if one_host:
        promised = tuple(replace(e, end="server") for e in promised)
    middle = TOPOLOGIES[topology].middle
    if middle:
        passing = Expect(FORWARDED, "forwarded-reset", end=middle)
        promised += (passing,) * sum(e.direction == SENT for e in promised)
    return replace(spec, topology=topology, expect=promised)


def lab_spec(name: str) -> LabSpec:
    (spec,) = find(name)
    return spec


def play(
    session: Session, spec: LabSpec, family: int, surroundings: type[Lab] = Lab
) -> list[dict[str, Any]]:
    """Run it, once more if somebody else's flood cost records; what was told, as JSON objects."""
    for _ in range(3):
        lost = session.lost
        outcome: Outcome = run_lab(session, spec, family, surroundings)
        if session.lost == lost:
            break
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert not outcome.problems, "\n".join(outcome.problems)
    return [reset_object(one, 0) for one in outcome.explained]


def check_ends(told: list[dict[str, Any]], server: str, client: str) -> None:
    """The addresses on the wire, the server's RSTs, and both ends of each name each other."""
    names = {one["id"]: one for one in told}
    for one in told:
        ends = [one["local"]["address"], one["remote"]["address"]]
        assert ends == ([client, server] if one["direction"] == RECEIVED else [server, client])
        assert one["family"] == (6 if ":" in server else 4)
        if one["direction"] != FORWARDED:
            assert names[one["peer_id"]]["peer_id"] == one["id"]
    received = [one for one in told if one["direction"] == RECEIVED]
    assert len(received) == sum(one["direction"] == SENT for one in told)


def addresses(topology: str, family: int) -> tuple[str, str]:
    """(server, client)."""
    found = TOPOLOGIES[topology].addresses(family)
    return found["server"], found["client"]
