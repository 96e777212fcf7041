"""What a remote address did lately: port scans and health checks, told by their resets."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from rsttrace.model import Reset
from rsttrace.packet import ACK, SYN
from rsttrace.patterns import MAX_EVENTS, MAX_REMOTES, WINDOW_NS, Neighbours, Patterns
from rsttrace.records import Flow

from .build import (
    CLIENT_PORT,
    HERE,
    MS,
    NETNS,
    OTHER_NETNS,
    PORT,
    SECOND,
    THERE,
    T,
    answered,
    judged,
    received_reset,
    segment,
    sent_reset,
)


def one(time_ns: int, port: int = PORT, remote: str = THERE, netns: int = NETNS) -> Reset:
    flow = Flow(HERE, port, remote, CLIENT_PORT, netns)
    return received_reset(judged("ESTABLISHED"), flow=flow, time_ns=time_ns)


def seen(*tries: tuple[int, int], cause: str = "connect-and-abort") -> Neighbours:
    """After these (time, port)."""
    patterns = Patterns()
    for time_ns, port in tries:
        patterns.add(one(time_ns, port), cause)
    return patterns.about(NETNS, THERE, max((t for t, _ in tries), default=T))


def every(interval: float, times: int, start: int = T) -> list[int]:
    return [start + int(i * interval * SECOND) for i in range(times)]


def scan(ports: Iterable[int], interval: float = 0.01) -> list[tuple[int, int]]:
    return [(T + int(i * interval * SECOND), port) for i, port in enumerate(ports)]


def test_nothing_known() -> None:
    nothing = Patterns().about(NETNS, THERE, T)
    assert nothing == Neighbours()
    assert (nothing.ports, dict(nothing.causes), nothing.attempts(PORT)) == (0, {}, ())
    assert not nothing.scan
    assert nothing.health_check_of(PORT) is None


def test_counts() -> None:
    patterns = Patterns()
    patterns.add(one(T, 80), "connect-and-abort")
    patterns.add(one(T + MS, 80), "closed-port")
    patterns.add(one(T + 2 * MS, 443), "handshake-aborted")
    patterns.add(one(T + 3 * MS, 22), "peer-reset")
    about = patterns.about(NETNS, THERE, T + 3 * MS)
    assert about.causes == {
        "connect-and-abort": 1,
        "closed-port": 1,
        "handshake-aborted": 1,
        "peer-reset": 1,
    }
    assert about.ports == 2  # a connection in use is no attempt
    assert about.attempts(80) == (T, T + MS)
    assert about.attempts(22) == ()


def test_each_address_and_namespace_by_itself() -> None:
    patterns = Patterns()
    patterns.add(one(T), "closed-port")
    assert patterns.about(NETNS, "10.0.0.10", T).events == ()
    assert patterns.about(OTHER_NETNS, THERE, T).events == ()


def test_only_the_last_minute_and_nothing_later() -> None:
    patterns = Patterns()
    for time_ns in (T, T + SECOND, T + WINDOW_NS, T + WINDOW_NS + SECOND):
        patterns.add(one(time_ns), "closed-port")
    about = patterns.about(NETNS, THERE, T + WINDOW_NS)
    assert about.attempts(PORT) == (T, T + SECOND, T + WINDOW_NS)
    about = patterns.about(NETNS, THERE, T + WINDOW_NS + 1)
    assert about.attempts(PORT) == (T + SECOND, T + WINDOW_NS)


def test_in_order_of_time() -> None:
    """Resets are explained when they are complete, not when they happened."""
    assert seen((T + SECOND, PORT), (T, PORT)).attempts(PORT) == (T, T + SECOND)


@pytest.mark.parametrize(
    ("flags", "attempt"), [(SYN, True), (SYN | ACK, False), (ACK, False), (0, False)]
)
def test_a_refused_syn_is_an_attempt_whatever_refused_it(flags: int, attempt: bool) -> None:
    patterns = Patterns()
    patterns.add(sent_reset(answered(segment(flags))), "firewall-reject")
    assert bool(patterns.about(NETNS, THERE, T).attempts(PORT)) == attempt


def test_our_own_attempts_are_not_theirs() -> None:
    """A server that refuses us a hundred times has not scanned our ephemeral ports."""
    tries = [(T + i * MS, 40000 + i) for i in range(100)]
    about = seen(*tries, cause="connection-refused")
    assert about.ports == 0
    assert not about.scan


# -- scans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        (scan(range(1, 11)), True),
        (scan(range(1, 10)), False),  # too few
        (scan([*range(1, 11), *range(1, 11)]), True),  # each one twice
        (scan([*range(1, 11)] * 3), False),  # comes back: a monitor
        (scan(range(1, 11), interval=1.0), True),
        (scan(range(1, 11), interval=1.2), False),  # too slow to be told
        (scan([80] * 50), False),
        (scan([80] * 50 + [*range(1, 11)]), True),  # and beside that a scan
    ],
)
def test_scan(tries: list[tuple[int, int]], expected: bool) -> None:
    assert seen(*tries).scan == expected


# -- health checks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0.2, 1.0, 5.0, 10.0])
def test_health_check(interval: float) -> None:
    about = seen(*((t, PORT) for t in every(interval, 4)))
    assert about.health_check_of(PORT) == pytest.approx(interval)
    assert about.health_check_of(PORT + 1) is None
    assert not about.scan


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (every(5, 2), None),  # twice is nothing
        (every(5, 3), 5.0),
        ([T, T + 5 * SECOND, T + 11 * SECOND], 5.5),  # some jitter
        ([T, T + 5 * SECOND, T + 20 * SECOND], None),
        (every(0.01, 50), None),  # hammering
        ([T, T, T], None),
    ],
)
def test_regular(times: list[int], expected: float | None) -> None:
    assert seen(*((t, PORT) for t in times)).health_check_of(PORT) == expected


def test_health_check_with_the_attempt_that_is_being_judged() -> None:
    about = seen(*((t, PORT) for t in every(20, 2)))
    assert about.health_check_of(PORT) is None
    assert about.health_check_of(PORT, also_ns=T + 40 * SECOND) == 20.0
    assert about.health_check_of(PORT, also_ns=T + 90 * SECOND) is None
    assert about.health_check_of(PORT, also_ns=T + 20 * SECOND) is None  # it is there already


# -- memory ----------------------------------------------------------------------------------------


def test_one_address_cannot_fill_the_memory() -> None:
    about = seen(*scan(range(1, 3 * MAX_EVENTS), interval=0.001))
    assert len(about.events) == MAX_EVENTS
    assert about.events[-1].port == 3 * MAX_EVENTS - 1
    assert about.scan


def test_many_addresses_cannot_fill_the_memory() -> None:
    patterns = Patterns()
    patterns.add(one(T), "closed-port")
    patterns.add(one(T, remote="keeps coming"), "closed-port")
    for i in range(MAX_REMOTES):
        patterns.add(one(T, remote=f"stranger {i}"), "closed-port")
        patterns.add(one(T, remote="keeps coming"), "closed-port")
    assert patterns.about(NETNS, THERE, T).events == ()
    assert len(patterns.about(NETNS, "keeps coming", T).events) == MAX_EVENTS
    assert patterns.about(NETNS, "stranger 0", T).events == ()
    assert len(patterns.about(NETNS, f"stranger {MAX_REMOTES - 1}", T).events) == 1
