"""Which resets belong to what is watched."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from rsttrace.diagnose.scope import (
    Choice,
    Visited,
    all_of,
    by_container,
    by_netns,
    by_processes,
    by_visits,
    everything,
    processes_of,
)
from rsttrace.enrich import Facts, Process
from rsttrace.explain import Explained
from rsttrace.records import Flow, History

from .build import CURL, FLOW, NETNS, NGINX, OTHER_NETNS, T, decided
from .told import related, told

OPENER, LISTENER, KILLER = 4001, 4002, 4003


def history(pid: int = OPENER, active: bool = True) -> History:
    flags = 1 if active else 2
    return History(False, T - 1, T - 1, T - 1, 0, flags, pid, "opener", 0, "", "ESTABLISHED")


def by(one: Explained, **facts: Process | None) -> Explained:
    return replace(one, facts=Facts(**facts))  # type: ignore[arg-type]


def opened(one: Explained, **changes: object) -> Explained:
    """With the life of its connection known."""
    record = replace(decided(), history=history(**changes))  # type: ignore[arg-type]
    one.reset.decided = record
    return one


def pair(first: int = 1, **facts: Process | None) -> tuple[Explained, Explained]:
    """Both ends of one reset: the sender, nobody's, and the receiver, with these facts."""
    sent, got = told("linger-zero", first), told("peer-reset", first + 1, direction="received")
    sent.reset.peer, got.reset.peer = got.reset, sent.reset
    return sent, by(got, **facts)


CURLS = by_processes({CURL.pid}.__contains__)


# -- one end by itself


@pytest.mark.parametrize("role", ["owner", "actor", "closer", "listener"])
def test_processes_by_their_part(role: str) -> None:
    one = by(told("linger-zero"), **{role: NGINX})
    assert processes_of(one) == {NGINX.pid}
    assert by_processes({NGINX.pid}.__contains__)(one)
    assert not CURLS(one)


def test_the_task_that_opened_it() -> None:
    one = opened(told("connection-refused"))
    assert processes_of(one) == {OPENER}


def test_a_listener_has_no_part_in_what_was_opened_here() -> None:
    """A client of its own machine may use a port that somebody else listens on elsewhere."""
    listener = Process(LISTENER, "sshd")
    assert processes_of(opened(by(told("linger-zero"), listener=listener))) == {OPENER}
    passive = opened(by(told("linger-zero"), listener=listener), pid=0, active=False)
    assert processes_of(passive) == {LISTENER}


def test_nobody_is_known() -> None:
    assert processes_of(told("closed-port")) == set()
    assert not by_processes(lambda pid: True)(told("closed-port"))


def test_namespace() -> None:
    wanted = by_netns((NETNS,))
    assert wanted(told("linger-zero"))
    assert not wanted(told("linger-zero", flow=replace(FLOW, netns=OTHER_NETNS)))


def test_container() -> None:
    def holds(process: Process) -> bool:
        return process.cgroup.startswith("/docker/abc")

    inside, outside = by(told("x"), closer=Process(7, "app", cgroup="/docker/abc/init")), NGINX
    wanted = by_container(holds, None)
    assert wanted(inside)
    assert not wanted(by(told("x"), closer=outside))
    assert not wanted(told("x"))
    own = by_container(holds, NETNS)
    assert own(inside)
    assert not own(by(told("x"), closer=outside))  # the other container of a pod
    assert own(told("x"))
    assert not by_container(holds, OTHER_NETNS)(inside)


def test_all_must_want_it() -> None:
    assert all_of(everything, by_netns((NETNS,)))(told("x"))
    assert not all_of(everything, by_netns((1,)))(told("x"))
    assert all_of()(told("x"))


# -- connections that were tried

VISITOR = 777
VISIT = Visited(51000, "10.0.0.9", 443, T)
THERE = Flow("10.0.0.5", 51000, "10.0.0.9", 443, NETNS)
VISITS = by_visits(VISITOR, NETNS, [VISIT])


def test_the_visitor_is_known() -> None:
    other_port = replace(THERE, lport=1, rport=2)
    assert VISITS(opened(told("x", flow=other_port), pid=VISITOR))


def test_the_target_at_that_time() -> None:
    """NAT may have changed this end's port."""
    assert VISITS(told("x", flow=THERE))
    assert VISITS(told("x", flow=replace(THERE, lport=1)))


@pytest.mark.parametrize(
    "changes",
    [
        {"flow": replace(THERE, netns=OTHER_NETNS)},
        {"flow": replace(THERE, rport=444)},
        {"flow": replace(THERE, remote="10.0.0.8")},
        {"flow": THERE, "time_ns": T - 1},
    ],
    ids=["namespace", "port", "address", "before"],
)
def test_other_connections(changes: dict[str, object]) -> None:
    assert not VISITS(told("x", **changes))  # type: ignore[arg-type]


def test_another_visitor_of_the_same_target() -> None:
    assert not VISITS(by(told("x", flow=THERE), owner=CURL))


def test_nothing_was_tried_yet() -> None:
    assert not by_visits(VISITOR, NETNS, [])(told("x", flow=THERE))


# -- both ends


def taken(choice: Choice, *explained: Explained) -> list[int]:
    """Ids in the order in which they pass."""
    return [one.reset.id for each in explained for one in choice.take(each)]


def test_the_other_end_is_wanted_in_whichever_order() -> None:
    sent, got = pair(owner=CURL)
    for order in ([sent, got], [got, sent]):
        choice = Choice(CURLS)
        assert taken(choice, *order) == [one.reset.id for one in order]
        choice.end()
        assert choice.others == 0


def test_neither_end_is_wanted() -> None:
    sent, got = pair(owner=NGINX)
    choice = Choice(CURLS)
    assert taken(choice, sent, got) == []
    assert choice.others == 2


def test_the_other_end_never_comes() -> None:
    sent, _ = pair(owner=CURL)
    choice = Choice(CURLS)
    assert taken(choice, sent) == []
    assert choice.others == 0  # it may still come
    choice.end()
    choice.end()
    assert choice.others == 1


def test_an_end_that_has_no_other_end() -> None:
    choice = Choice(CURLS)
    assert taken(choice, by(told("x"), owner=NGINX), by(told("x", 2), owner=CURL)) == [2]
    assert choice.others == 1


def test_counts_what_an_end_stands_for() -> None:
    choice = Choice(CURLS)
    assert taken(choice, replace(told("late-segment"), count=41)) == []
    assert choice.others == 41


def test_an_echo_of_a_wanted_one() -> None:
    first = by(told("linger-zero"), owner=CURL)
    echo = replace(told("late-segment", 2), related=related(first))
    assert taken(Choice(CURLS), first, echo) == [1, 2]


def test_an_echo_waits_with_its_first_one() -> None:
    sent, got = pair(owner=CURL)
    echo = replace(told("late-segment", 9), related=related(sent))
    assert taken(Choice(CURLS), sent, echo, got) == [1, 9, 2]
    _, others = pair(owner=NGINX)
    choice = Choice(CURLS)
    assert taken(choice, sent, echo, others) == []
    assert choice.others == 3


def test_nothing_is_lost_or_told_twice_in_any_order() -> None:
    """Twenty incidents, every second one wanted, in a hundred orders."""
    ends = [end for n in range(20) for end in pair(10 * n + 1, owner=CURL if n % 2 else NGINX)]
    wanted = {one.reset.id for one in ends if (one.reset.id // 10) % 2}
    assert len(wanted) == 20
    for seed in range(100):
        order = random.Random(seed).sample(ends, len(ends))
        choice = Choice(CURLS)
        passed = taken(choice, *order)
        choice.end()
        assert sorted(passed) == sorted(wanted)
        assert choice.others == 20


def test_forgets_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of ends that wait for others may not fill the memory; each is still counted."""
    monkeypatch.setattr("rsttrace.diagnose.scope.REMEMBER", 10)
    choice = Choice(CURLS)
    for n in range(50):
        assert taken(choice, pair(10 * n + 1)[0]) == []
    assert len(choice._incidents) <= 10
    choice.end()
    assert choice.others == 50
