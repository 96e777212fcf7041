"""Real servers out of Debian's packages: the report names the process, the cause, the setting."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsttrace.advice.known_software import software
from rsttrace.lab import server_labs
from rsttrace.lab.base import Expect, LabSpec
from rsttrace.lab.runner import FAMILY_NAMES, Outcome, run_lab
from rsttrace.lab.servers.program import WHERE
from rsttrace.model import SENT
from rsttrace.report.model import Watch
from rsttrace.report.sink import ReportSink
from rsttrace.session import Session
from rsttrace.sinks.totals import Totals

from .conftest import ROOT, environment, live_session, rsttrace

pytestmark = pytest.mark.kernel

RUNS = [
    pytest.param(spec, family, id=f"{spec.name}-{FAMILY_NAMES[family]}")
    for spec in server_labs()
    for family in spec.families
]


# what the kernel has to say of it
VALUES = {
    "servers/python-backlog": ("from 5 to 4096", "net.core.somaxconn is 4096", "tcp_abort_on_ov"),
}


# the setting is among the first two remedies, but where these come first: commands that show who
# killed the process, the numbers of the queue
PLACES = {"servers/nginx-worker-killed": 3, "servers/python-backlog": 6}


@pytest.fixture(scope="module")
def servers() -> Iterator[Path]:
    """The packages, unpacked; installed by this where nobody did. Skips only without a network."""
    directory = Path(os.environ.get(WHERE) or ROOT / ".venv" / "servers")
    fetch = ("sh", str(ROOT / "tools" / "server-packages.sh"), str(directory))
    done = subprocess.run(fetch, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(done.stderr.strip())
    before = os.environ.get(WHERE)
    os.environ[WHERE] = str(directory)
    yield directory
    os.environ.pop(WHERE)
    if before is not None:
        os.environ[WHERE] = before


@pytest.fixture(scope="module")
def session(servers: Path) -> Iterator[Session]:
    """One trace for all: what one server leaves behind must not disturb the next."""
    with live_session() as live:
        yield live


def play(session: Session, spec: LabSpec, family: int) -> Outcome:
    """Once more where somebody else's flood cost records, or the host was too slow to tell its
    settings. Nothing here may be skipped.
    """
    for _ in range(3):
        lost = session.lost
        outcome = run_lab(session, spec, family)
        said = [line for one in outcome.explained for line in one.verdict.evidence]
        if session.lost == lost and not any(line.startswith("not known: ") for line in said):
            break
    assert not outcome.skipped
    assert not outcome.problems, "\n".join(outcome.problems)
    return outcome


def report_of(session: Session, outcome: Outcome, as_json: bool) -> str:
    sink, totals = ReportSink(as_json=as_json, width=1000), Totals()
    for one in outcome.explained:
        sink.reset(one)
        totals.add(one)
    return sink.report(totals, Watch("this host", session.host_facts(), 1.0))


def called(spec: LabSpec) -> tuple[str, ...]:
    """The names that the server's processes may have: sshd is three programs by now."""
    (program,) = (one for one in software() if one.id == spec.server)
    return program.names


def named(group: dict[str, Any], expected: Expect) -> str:
    """Who is told to have done it; of a RST that is not the server's doing: who got it."""
    who = group["who"]
    told: str = who["here"] if expected.facts else who["receivers"][0]["process"]
    return told


@pytest.mark.parametrize(("spec", "family"), RUNS)
def test_report(session: Session, spec: LabSpec, family: int) -> None:
    """The verdicts are those that the lab promises; the report of them, as text and as JSON, names
    the process as the one who did it, the cause, and what to change in that server's own words.
    """
    outcome = play(session, spec, family)
    text = report_of(session, outcome, as_json=False)
    document = json.loads(report_of(session, outcome, as_json=True))
    all_groups = [*document["findings"], *document["harmless"]]
    groups = {one["cause"]: one for one in all_groups}
    assert len(groups) == len(all_groups)
    assert text.startswith(document["verdict"].partition(":")[0])
    for expected in spec.expect:
        harmless = not document["findings"]  # then there is no setting to change
        for word in () if harmless else (*expected.says, *VALUES.get(spec.name, ())):
            assert word in text
            assert word in json.dumps(document, ensure_ascii=False)
        if expected.direction == SENT:
            group = groups[expected.cause]
            assert expected.cause in text
            name = named(group, expected)
            assert name.split("[")[0] in called(spec)
            if expected.facts and group in document["findings"]:
                assert group["headline"].startswith(f"{name} ")
        if expected.direction == SENT and expected.says and not groups[expected.cause]["benign"]:
            setting = expected.says[-1]
            told = "\n".join(group["remedies"][: PLACES.get(spec.name, 2)])
            assert setting in f"{told}\n{group['summary']}"


def test_by_name(servers: Path) -> None:
    """``rsttrace lab run servers/NAME``, as a person would."""
    done = rsttrace("lab", "run", "servers/nginx-return-444", "-4", env=with_servers(servers))
    done = done.clean()
    assert done.code == 0, done.err
    assert "== servers/nginx-return-444 IPv4: right" in done.err
    assert "reset_timedout_connection" in done.out


def with_servers(servers: Path) -> dict[str, str]:
    return environment(**{WHERE: str(servers)})
