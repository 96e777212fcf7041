"""Who has a socket open: the right one, and in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rsttrace.enrich import owners
from rsttrace.enrich.live import LiveContext
from rsttrace.enrich.owners import Owners, everyone

from .fakeproc import FakeProc


class Watched:
    """Owners that tell which processes were looked into."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked: list[int] = []
        self.breaths = 0
        self.owners = Owners(self.breathe)
        real = owners._descriptors

        def descriptors(pid: int) -> Iterator[str]:
            self.looked.append(pid)
            return iter(sorted(real(pid)))

        monkeypatch.setattr(owners, "_descriptors", descriptors)

    def breathe(self) -> None:
        self.breaths += 1

    def find(self, inode: int, likely: tuple[int, ...] = ()) -> tuple[int | None, list[int]]:
        """Who, and which processes that took."""
        self.looked.clear()
        return self.owners.find(inode, likely), list(self.looked)


@pytest.fixture
def watched(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> Watched:
    for pid in (4, 5, 6):
        proc.process(pid, sockets=(pid * 100, pid * 100 + 1))
    return Watched(monkeypatch)


def test_everyone(watched: Watched) -> None:
    found = everyone()
    assert {inode: pid for inode, (pid, _) in found.items()} == {
        pid * 100 + number: pid for pid in (4, 5, 6) for number in (0, 1)
    }
    watched.owners.learn(found)
    assert watched.find(601) == (6, [])


def test_looks_where_it_is_likely(watched: Watched) -> None:
    assert watched.find(500, (5,)) == (5, [5])
    assert watched.find(600, (0, 5, 6)) == (6, [5, 6])
    assert watched.find(400, (77, 5)) == (4, [77, 5, 4])


def test_child_of_who_listens(proc: FakeProc, watched: Watched) -> None:
    """A master and its workers."""
    children = proc.place / "5" / "task" / "5" / "children"
    children.parent.mkdir(parents=True)
    children.write_text("6 77 ")
    assert watched.find(600, (5,)) == (6, [5, 6])


def test_known_one_costs_one_look_at_one_file(watched: Watched) -> None:
    """Of a server with ten thousand connections, each of which is reset."""
    watched.find(500, (5,))
    assert watched.find(500) == (5, [])
    assert watched.find(501) == (5, [])


def test_one_that_closed_it_is_searched_again(proc: FakeProc, watched: Watched) -> None:
    """It may have been passed on; if nobody has it now, the last one is as good as it gets."""
    watched.find(500, (5,))
    proc.link(proc.place / "5" / "fd" / "0", b"socket:[999]")
    assert watched.find(500) == (5, [4, 5, 6])
    proc.link(proc.place / "6" / "fd" / "0", b"socket:[500]")
    assert watched.find(500)[0] == 6


def test_nobody(watched: Watched) -> None:
    assert watched.find(7, (4,)) == (None, [4, 4, 5, 6])


def test_every_owner_is_noted_once(watched: Watched) -> None:
    """A replay must know it."""
    noted: list[Any] = []
    context = LiveContext(lambda *what: noted.append(what))
    for _ in range(2):
        context.socket_owner(400)
        context.socket_owner(501)
    assert noted == [("owner", "400", 4), ("owner", "501", 5)]


class Clock:
    """Goes on by ``step`` whenever a link is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
        self.now = 100.0
        self.read: list[tuple[int, str]] = []
        self.step = step
        self._real = owners._socket
        monkeypatch.setattr(owners.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(owners, "_socket", self.look)
        monkeypatch.setattr(owners, "LOOKS", 1)

    def look(self, pid: int, descriptor: str) -> int:
        self.read.append((pid, descriptor))
        self.now += self.step
        return self._real(pid, descriptor)


def test_next_search_begins_where_the_last_one_ended(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with so many processes that the time never is enough for all."""
    # three links each: a search gets as far as the second link of the second process
    monkeypatch.setattr(owners, "EARNED_SECONDS", 0.0)
    Clock(monkeypatch, owners.BURST_SECONDS / 4.5)
    assert watched.find(999)[1] == [4, 5]
    watched.owners._left = owners.BURST_SECONDS
    assert watched.find(999)[1] == [5, 6]
    watched.owners._left = owners.BURST_SECONDS
    assert watched.find(999)[1] == [6, 4]


def test_search_takes_no_longer_than_it_earned(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones may use up the burst; then each adds a little."""
    clock = Clock(monkeypatch, owners.EARNED_SECONDS / 4)
    begun, searches = clock.now, 1000
    for inode in range(10_000, 10_000 + searches):
        before = clock.now
        watched.find(inode)
        assert clock.now - before <= owners.BURST_SECONDS + clock.step
    most = owners.BURST_SECONDS + searches * (owners.EARNED_SECONDS + clock.step)
    assert clock.now - begun <= most


def test_other_work_is_done_within_a_large_process(proc: FakeProc, watched: Watched) -> None:
    proc.process(9, sockets=tuple(range(1000, 1000 + 10 * owners.LOOKS)))
    (proc.place / "9" / "fd" / "99").unlink()
    assert watched.find(1000, (9,)) == (9, [9])
    assert watched.breaths == 10


def test_search_is_longer_for_a_report(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, owners.BURST_SECONDS / 2)
    assert watched.find(601)[0] is None
    watched.owners.be_patient()
    assert watched.find(601)[0] == 6


def test_search_for_a_report_holds_up_no_reset_for_long(
    proc: FakeProc, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 4: no delay over 200 ms."""
    proc.process(9, sockets=tuple(range(1000, 3000)))
    clock = Clock(monkeypatch, 0.001)
    watched.owners.be_patient()
    begun = clock.now
    assert watched.find(999)[0] is None
    assert clock.now - begun <= 0.1 + clock.step
