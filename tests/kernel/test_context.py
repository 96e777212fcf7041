"""What is looked up around a reset: right while the host answers, bounded and honest when not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rsttrace.enrich import live
from rsttrace.explain import Explained
from rsttrace.kernel.filters import Filter, c_expression
from rsttrace.kernel.loader import load_in_background, prepare
from rsttrace.lab import accept_queue_overflow, closed_port
from rsttrace.lab.net import Lab
from rsttrace.lab.runner import HOLD_NS, PATIENCE_NS
from rsttrace.session import Session

from .conftest import abort, live_session

pytestmark = pytest.mark.kernel

# what one look-up may take (issue: 200 ms), and the rest of a poll on a busy machine
LONGEST_S = 0.2 + 0.1


def watching(lab: Lab) -> AbstractContextManager[Session]:
    """A trace of this lab alone: what else goes on here must not use up its time."""
    keep = Filter(netns=tuple(lab.netns.values()))
    return live_session(loading=load_in_background(prepare(), c_expression(keep)))


@pytest.fixture
def session(lab: Lab) -> Iterator[Session]:
    with watching(lab) as live_one:
        yield live_one


def watch(session: Session) -> tuple[list[Explained], float]:
    """All that is explained from now on, and the longest time that one poll took."""
    until = time.monotonic_ns() + PATIENCE_NS + 20_000_000
    found: list[Explained] = []
    longest = 0.0
    while time.monotonic_ns() < until or (
        session.pipeline.busy and time.monotonic_ns() < until + HOLD_NS
    ):
        begun = time.monotonic()
        found += session.poll(20)
        longest = max(longest, time.monotonic() - begun)
    return found, longest


def sent(found: list[Explained], lab: Lab) -> Explained:
    """The one reset that the server sent."""
    inode = lab.netns["server"]
    (one,) = (e for e in found if e.reset.direction == "sent" and e.reset.flow.netns == inode)
    return one


def test_settings_and_queue_of_the_namespace(session: Session, lab: Lab) -> None:
    """The sysctl is that of the server's namespace, not of this process's."""
    session.warm_up()
    lab.sysctl("server", "net.core.somaxconn", "1234")
    accept_queue_overflow.run(lab)
    one = sent(watch(session)[0], lab)
    place = one.facts.place
    assert place is not None
    assert not place.problems
    assert place.number("net.core.somaxconn") == 1234
    assert place.number("net.ipv4.tcp_abort_on_overflow") == 1
    assert ("net.core.somaxconn", "1234") in one.verdict.settings
    assert any("1234" in text for text in (*one.verdict.remedies, *one.verdict.evidence))


def test_helper_that_hangs(session: Session, lab: Lab) -> None:
    """The reset is explained all the same, in time, and the reason is said."""
    os.kill(session.broker._pid, signal.SIGSTOP)
    try:
        accept_queue_overflow.run(lab)
        found, longest = watch(session)
    finally:
        os.kill(session.broker._pid, signal.SIGCONT)
    one = sent(found, lab)
    assert (one.verdict.cause, one.verdict.confidence) == ("accept-queue-overflow", "certain")
    assert one.facts.place is not None
    assert set(one.facts.place.problems.values()) == {"the helper process did not answer in time"}
    assert longest < LONGEST_S


def test_helper_that_is_gone(session: Session, lab: Lab) -> None:
    os.kill(session.broker._pid, signal.SIGKILL)
    os.waitpid(session.broker._pid, 0)
    accept_queue_overflow.run(lab)
    found, longest = watch(session)
    one = sent(found, lab)
    assert one.verdict.cause == "accept-queue-overflow"
    assert one.facts.place is not None
    assert set(one.facts.place.problems.values()) == {"the helper process is gone"}
    assert longest < LONGEST_S


def test_namespace_that_is_gone() -> None:
    with contextlib.ExitStack() as stack:
        with Lab(socket.AF_INET) as lab:
            session = stack.enter_context(watching(lab))
            session.warm_up()
            accept_queue_overflow.run(lab)
        found, longest = watch(session)
    one = sent(found, lab)
    assert one.verdict.cause == "accept-queue-overflow"
    assert one.facts.place is not None
    assert set(one.facts.place.problems.values()) == {"the network namespace is gone"}
    assert longest < LONGEST_S


def test_process_that_is_gone(session: Session, lab: Lab) -> None:
    """Its name came with the record; its command line is not known, and nothing is made up."""

    def close_and_leave() -> None:
        abort(lab)

    pid = lab.spawn("server", close_and_leave)
    lab.wait_for(lambda: not Path(f"/proc/{pid}/exe").exists(), "its end")
    found, longest = watch(session)
    one = sent(found, lab)
    assert one.verdict.cause == "linger-zero"
    assert one.facts.actor is not None
    assert (one.facts.actor.pid, one.facts.actor.cmdline) == (pid, "")
    assert one.facts.user_frames == ()
    assert longest < LONGEST_S


def test_proc_that_cannot_be_read(
    session: Session, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(live, "PROC", tmp_path / "nothing")
    abort(lab)
    closed_port.knock(lab)
    found, longest = watch(session)
    mine = (e for e in found if e.reset.flow.netns == lab.netns["server"])
    causes = {e.verdict.cause for e in mine if e.reset.direction == "sent"}
    assert causes == {"linger-zero", "closed-port"}
    assert longest < LONGEST_S
