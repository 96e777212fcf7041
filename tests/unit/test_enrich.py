"""Which process and which namespace a reset belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.enrich import Facts, Process, enrich
from rsttrace.listeners import Listeners

from .build import (
    A1,
    A1_EXIT,
    A2,
    A10,
    ACTIVE,
    FLOW,
    NETNS,
    NGINX,
    P1,
    P2,
    SECOND,
    SOFTIRQ,
    FakeContext,
    T,
    answered,
    arrived,
    decided,
    earlier,
    history,
    judged,
    listener,
    received_reset,
    reset,
    segment,
    sent_reset,
    sock,
    task,
)

JAVA = Process(7, "java", "/usr/bin/java")
CONTEXT = FakeContext([NGINX, JAVA], {777: 1432})


def ask(one: Any, context: FakeContext = CONTEXT, **options: Any) -> Facts:
    return enrich(one, context, **options)


# -- the actor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [A1, A1_EXIT, A2])
def test_task_that_closes_is_actor_and_owner(frames: tuple[str, ...]) -> None:
    facts = ask(sent_reset(decided(frames)))
    assert facts.actor == NGINX
    assert facts.owner == NGINX


@pytest.mark.parametrize(
    "frames",
    [
        (ACTIVE, "tcp_keepalive_timer", "call_timer_fn", "run_timer_softirq"),
        (ACTIVE, "inet_child_forget", "tcp_v4_rcv", *SOFTIRQ),
        (),
    ],
)
def test_task_that_a_softirq_interrupted_is_no_actor(frames: tuple[str, ...]) -> None:
    assert ask(sent_reset(decided(frames))).actor is None


def test_passive_resets_have_no_actor() -> None:
    one = sent_reset(answered(segment(), (*P2, "do_syscall_64")))
    assert ask(one).actor is None


@pytest.mark.parametrize("changes", [{"flags": 0x200000}, {"pid": 0}])
def test_kernel_threads_and_the_idle_task_are_no_actors(changes: Any) -> None:
    assert ask(sent_reset(decided(A1, task=task(**changes)))).actor is None


def test_killer_is_not_the_owner() -> None:
    """ss -K: the task on the CPU is the killer."""
    killer = Process(99, "ss")
    one = sent_reset(decided(A10, task=task("ss", 99), state="ESTABLISHED"))
    facts = ask(one, FakeContext([NGINX, killer], {777: 1432}))
    assert (facts.actor, facts.owner) == (killer, NGINX)


def test_process_that_is_gone_keeps_the_name_the_kernel_gave() -> None:
    assert ask(sent_reset(decided(A1)), FakeContext()).actor == Process(1432, "nginx")


def test_pid_that_was_used_again_is_not_taken_for_the_old_process() -> None:
    reused = FakeContext([Process(1432, "cron", "/usr/sbin/cron")])
    assert ask(sent_reset(decided(A1)), reused).actor == Process(1432, "nginx")


def test_thread_that_has_a_name_of_its_own() -> None:
    """decided() names nginx as the task: here that is a thread of a Java program."""
    java = Process(1432, "java", "/usr/bin/java", "java -jar web.jar", threads=("nginx",))
    assert ask(sent_reset(decided(A1)), FakeContext([java])).actor == java


# -- the owner -------------------------------------------------------------------------------------


def test_owner_by_the_socket() -> None:
    assert ask(received_reset(judged("ESTABLISHED"))).owner == NGINX


def test_owner_by_who_opened_it() -> None:
    opened = history(flags=1, pid=7, comm="java", close_ns=0)
    one = received_reset(judged("ESTABLISHED", history=opened, sock=sock(inode=0)))
    assert ask(one).owner == JAVA


def test_who_opened_an_earlier_connection_owns_nothing() -> None:
    one = sent_reset(answered(segment(), P1, history=earlier(pid=7, comm="java")))
    assert ask(one).owner is None


def test_owner_of_a_listener() -> None:
    one = sent_reset(answered(segment(), P2, state="LISTEN"))
    assert ask(one, listeners=Listeners([listener(pid=7, comm="java")])).owner == JAVA
    assert ask(one, listeners=Listeners([listener("127.0.0.1")])).owner is None
    assert ask(one).owner is None


def test_listener_owns_no_reset_without_a_socket() -> None:
    one = sent_reset(answered(segment(), P1))
    assert ask(one, listeners=Listeners([listener()])).owner is None


def test_listener_is_not_called_the_owner_of_what_was_accepted() -> None:
    """A master listens and its workers accept: naming the master as owner would be wrong."""
    passive = history(flags=2, close_ns=0)
    one = received_reset(judged("ESTABLISHED", history=passive, sock=sock(inode=0)))
    facts = ask(one, listeners=Listeners([listener(pid=7, comm="java")]))
    assert (facts.owner, facts.listener) == (None, JAVA)


def test_owner_that_is_not_known() -> None:
    one = received_reset(judged("ESTABLISHED", history=None))
    assert ask(one, FakeContext()).owner is None


# -- the closer, the namespace, the time -----------------------------------------------------------


def test_closer() -> None:
    one = sent_reset(answered(segment(), P1, history=earlier()))
    assert ask(one).closer == NGINX
    other = sent_reset(answered(segment(), P1, history=earlier(flags=2)))
    assert ask(other).closer is None


def test_netns_name() -> None:
    assert ask(sent_reset(decided(A1))).netns_name == "host"
    elsewhere = type(FLOW)("10.0.0.5", 1, "10.0.0.9", 2, NETNS + 1)
    assert ask(reset(direction="sent", wire=arrived(), flow=elsewhere)).netns_name is None
    nowhere = type(FLOW)("10.0.0.5", 1, "10.0.0.9", 2, 0)
    assert ask(reset(direction="sent", wire=arrived(), flow=nowhere)).netns_name is None


def test_watched() -> None:
    one = sent_reset(decided(A1))
    assert ask(one).watched_ns is None
    assert ask(one, since_ns=T - 3 * SECOND).watched_ns == 3 * SECOND


def test_name() -> None:
    assert NGINX.name == "nginx[1432]"


# -- where to look for the owner -------------------------------------------------------------------


class Curious(FakeContext):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__([NGINX, JAVA], {777: 1432})
        self.likely: list[tuple[int, ...]] = []
        self.stacks: list[tuple[int, tuple[int, ...]]] = []

    def socket_owner(self, inode: int, likely: object = ()) -> int | None:
        assert isinstance(likely, tuple)
        self.likely.append(likely)
        return super().socket_owner(inode)

    def user_frames(self, pid: int, addresses: tuple[int, ...], *words: object) -> tuple[str, ...]:
        self.stacks.append((pid, addresses))
        return ("close (libc.so.6)",)


@pytest.mark.parametrize(
    ("opened", "listening", "likely"),
    [
        (False, False, (0, 0)),
        (True, False, (7, 0)),
        (False, True, (0, 1432)),
        (True, True, (7, 1432)),
    ],
)
def test_likely_owners(opened: bool, listening: bool, likely: tuple[int, ...]) -> None:
    """Who opened the connection, and who listens where it came in."""
    known = history(flags=1, pid=7, comm="java", close_ns=0) if opened else None
    context = Curious()
    one = received_reset(judged("ESTABLISHED", history=known))
    ask(one, context, listeners=Listeners([listener()] if listening else []))
    assert context.likely == [likely]


# -- the user's own stack --------------------------------------------------------------------------

STACK = (0x7F01, 0x5502)


@pytest.mark.parametrize(
    ("one", "asked"),
    [
        (sent_reset(decided(A1, ustack=STACK)), True),
        (sent_reset(decided(A1)), False),  # it was not seen
        (sent_reset(decided(A1_EXIT, ustack=STACK)), False),  # it exits: no call of its own
        (
            sent_reset(decided((ACTIVE, "tcp_keepalive_timer", "call_timer_fn"), ustack=STACK)),
            False,
        ),
        (sent_reset(answered(segment(), P1)), False),
        (received_reset(judged("ESTABLISHED")), False),
    ],
    ids=["close", "no stack", "exit", "timer", "answer", "received"],
)
def test_user_frames_of_who_called(one: Any, asked: bool) -> None:
    context = Curious()
    facts = ask(one, context)
    assert context.stacks == ([(1432, STACK)] if asked else [])
    assert facts.user_frames == (("close (libc.so.6)",) if asked else ())
