"""What one remote address did lately, as far as resets show: a port scan, a health check.

Pure: the clock is the resets' own. Memory is bounded: the oldest addresses, and of one address
the oldest resets, are forgotten first.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from rsttrace.model import RECEIVED, REJECTED, Reset
from rsttrace.packet import ACK, SYN

WINDOW_NS = 60_000_000_000
MAX_REMOTES = 1024
MAX_EVENTS = 128  # of one address

# Causes of resets that begin with a remote address that tries a local port, and end without data.
ATTEMPTS = frozenset(
    {
        "accept-queue-overflow",
        "ack-to-listener",
        "bad-syn",
        "closed-port",
        "connect-and-abort",
        "handshake-aborted",
    }
)
SCAN_PORTS = 10
SCAN_NS = 10_000_000_000
# A monitor comes back to its ports, a scan tries each once, or twice to be sure.
SCAN_TRIES = 2
CHECKS = 3
MIN_INTERVAL_NS = 200_000_000
JITTER = 0.25  # of the interval


@dataclass(frozen=True)
class Event:
    """One explained reset of a remote address; ``attempt``: it tried ``port``, without data."""

    time_ns: int
    port: int
    cause: str
    attempt: bool


@dataclass(frozen=True)
class Neighbours:
    """What a remote address did in one namespace in the last 60 s, in order of time."""

    events: tuple[Event, ...] = ()

    @property
    def causes(self) -> Mapping[str, int]:
        """How many resets of each cause."""
        return Counter(event.cause for event in self.events)

    @property
    def ports(self) -> int:
        """How many local ports it tried."""
        return len({event.port for event in self.events if event.attempt})

    def attempts(self, port: int) -> tuple[int, ...]:
        """When it tried this port (CLOCK_MONOTONIC, ns)."""
        return tuple(e.time_ns for e in self.events if e.attempt and e.port == port)

    @property
    def scan(self) -> bool:
        """Did it try many ports within a short time, each only once or twice?"""
        tries = Counter(event.port for event in self.events if event.attempt)
        fresh = [e for e in self.events if e.attempt and tries[e.port] <= SCAN_TRIES]
        if len(fresh) < SCAN_PORTS:
            return False
        return any(
            len({e.port for e in fresh if 0 <= e.time_ns - first.time_ns <= SCAN_NS}) >= SCAN_PORTS
            for first in fresh
        )

    def health_check_of(self, port: int, also_ns: int | None = None) -> float | None:
        """The interval in s if it tries this port again and again at regular times, else None.

        ``also_ns``: the time of an attempt that is not among the events yet.
        """
        times = sorted({*self.attempts(port), *(() if also_ns is None else (also_ns,))})
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        if len(gaps) < CHECKS - 1:
            return None
        interval: float = median(gaps)
        if interval < MIN_INTERVAL_NS or any(abs(g - interval) > JITTER * interval for g in gaps):
            return None
        return interval / 1e9


class Patterns:
    """Remembers the resets of remote addresses."""

    def __init__(self) -> None:
        self._events: dict[tuple[int, str], deque[Event]] = {}

    def add(self, reset: Reset, cause: str) -> None:
        """Take one explained reset."""
        key = (reset.flow.netns, reset.flow.remote)
        events = self._events.pop(key, None)
        if events is None:
            events = deque(maxlen=MAX_EVENTS)
        self._events[key] = events  # to the end: the first key is the one not seen for longest
        events.append(Event(reset.time_ns, reset.flow.lport, cause, _is_attempt(reset, cause)))
        if len(self._events) > MAX_REMOTES:
            del self._events[next(iter(self._events))]

    def about(self, netns: int, remote: str, now_ns: int) -> Neighbours:
        """What this address did in the 60 s before ``now_ns``."""
        found = self._events.get((netns, remote), ())
        recent = (e for e in found if now_ns - WINDOW_NS <= e.time_ns <= now_ns)
        return Neighbours(tuple(sorted(recent, key=lambda e: e.time_ns)))


def _is_attempt(reset: Reset, cause: str) -> bool:
    """Did the remote end try our port? Not if we tried its, and not with a connection in use."""
    if cause in ATTEMPTS:
        return True
    trigger = reset.trigger
    asked = trigger is not None and trigger.has(SYN) and not trigger.has(ACK)
    return asked and reset.direction not in (RECEIVED, REJECTED)
