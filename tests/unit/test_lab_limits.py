"""Labs that change a limit of the whole host: only when asked for, and never for good."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from rsttrace.lab import find, labs
from rsttrace.lab.errors import LabSkip
from rsttrace.lab.limit import host_limit
from rsttrace.lab.runner import refusal, run_lab
from rsttrace.lab.tcp import wait_for
from rsttrace.session import Session

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    """As a file of /proc/sys."""
    path = tmp_path / "limit"
    path.write_text("131072\n")
    return path


def test_changed_only_meanwhile(limit: Path) -> None:
    with host_limit(limit, "0"):
        assert limit.read_text() == "0"
    assert limit.read_text() == "131072\n"


@pytest.mark.parametrize("error", [LabSkip("no"), KeyboardInterrupt()])
def test_put_back_after_an_exception(limit: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), host_limit(limit, "0"):
        raise error
    assert limit.read_text() == "131072\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_put_back_when_killed(limit: Path, number: int) -> None:
    """A second Ctrl-C leaves by os._exit(), which unwinds nothing either."""
    program = f"""
import time
from pathlib import Path
from rsttrace.lab.limit import host_limit
with host_limit(Path({str(limit)!r}), "0"):
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        wait_for(lambda: limit.read_text() == "0", "the change")
        process.send_signal(number)
    wait_for(lambda: limit.read_text() == "131072\n", "the old value")


def test_there_is_no_such_limit(tmp_path: Path) -> None:
    """tcp_max_orphans is only there in the host's own namespace."""
    with pytest.raises(LabSkip, match="No such file"), host_limit(tmp_path / "none", "0"):
        pytest.fail("ran without the limit")


def test_a_lab_says_what_it_changes() -> None:
    assert [spec.global_limit for spec in find("out-of-memory")] == ["net.ipv4.tcp_max_orphans"]
    assert {spec.cause for spec in labs() if spec.global_limit} == {"out-of-memory"}


def test_not_run_unless_asked_for() -> None:
    """Not even a session is needed to say no."""
    (spec,) = find("out-of-memory")
    outcome = run_lab(cast(Session, None), spec, socket.AF_INET)
    assert outcome.verdict == "skipped"
    assert outcome.skipped == refusal(spec)
    assert "changes net.ipv4.tcp_max_orphans of the whole host" in refusal(spec)
    assert "--change-global-limits" in refusal(spec)
    assert not any(refusal(other) for other in find("linger-zero"))
