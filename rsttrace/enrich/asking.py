"""The trace's side of the helper process (broker.py), and what it remembers of the answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from rsttrace.enrich import broker
from rsttrace.enrich.firewall import Firewall, from_json, said_for, to_json

WAIT_SECONDS = 0.2
FRESH_SECONDS = 2.0  # an answer too late for one reset is good for the next
BURST_SECONDS = 0.5  # of waiting at once
SHARE = 0.1  # of the time, in the long run
REMEMBERED = 64  # answers for each namespace, and namespaces
END_SECONDS = 1.0
SO_SNDBUFFORCE = 32
BUFFER = 1 << 20  # bytes of the longest answer

NO_ANSWER = Firewall(problem="the firewall did not tell its rules in time")
NO_HELPER = Firewall(problem="the helper process is gone")
TOO_OFTEN = Firewall(problem="too many resets to look up the rule of each")

Noted = Callable[[str, str, object], None]


class Broker:
    """Starts the helper and asks it. It could not start, or ended: no answers."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answers: dict[int, tuple[float, Any]] = {}
        self._pending: dict[int, float] = {}
        self._pid = 0
        with theirs:
            with contextlib.suppress(OSError):  # not root: then the answers are short anyway
                theirs.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
            with contextlib.suppress(OSError):
                self._pid = _start(theirs.fileno())
        self._alive = bool(self._pid)

    def firewall(self, netns: int) -> Firewall:
        """The rules there now, or a moment ago; with ``problem`` if they cannot be had."""
        while self._take(0):
            pass
        came, value = self._answers.pop(netns, (0.0, None))
        if value is None or time.monotonic() - came > FRESH_SECONDS:
            value = self._ask(netns, WAIT_SECONDS)
        if value is None:
            return NO_ANSWER if self._alive else NO_HELPER
        try:
            return from_json(value)
        except ValueError:
            return NO_ANSWER

    def out_rsts(self, wait_s: float = WAIT_SECONDS) -> dict[int, dict[str, int]] | None:
        """TcpOutRsts, now, of every network namespace that can be read: its inode number to
        ``{"OutRsts": n, "time_ns": CLOCK_MONOTONIC when it was read}``. None: no answer in time.
        """
        value = self._ask(broker.OUT_RSTS, wait_s)
        return None if value is None else {int(inode): row for inode, row in value.items()}

    def _ask(self, question: int, wait_s: float) -> Any:
        """Send the question, unless it is on its way already, and wait for the answer."""
        now, since_ns = time.monotonic(), time.monotonic_ns()
        counters = question == broker.OUT_RSTS
        if self._alive and (counters or self._pending.get(question, now) <= now):
            self._pending[question] = now + broker.ANSWER_SECONDS
            self._send(question, wait_s)
        while self._alive and (left := now + wait_s - time.monotonic()) > 0 and self._take(left):
            value = self._answers.pop(question, (0.0, None))[1]
            late = counters and any(row["time_ns"] < since_ns for row in (value or {}).values())
            if value is not None and not late:
                return value
        return None

    def _send(self, question: int, wait_s: float) -> None:
        try:
            self._socket.settimeout(wait_s)
            self._socket.send(broker.QUESTION.pack(question))
        except TimeoutError:
            pass
        except OSError:
            self._alive = False

    def _take(self, wait_s: float) -> bool:
        """Take one answer if there is one in time."""
        if not self._alive:
            return False
        try:
            self._socket.settimeout(wait_s)
            raw = self._socket.recv(BUFFER)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError:
            raw = b""
        if len(raw) < broker.QUESTION.size:
            self._alive = False
            return False
        (question,) = broker.QUESTION.unpack_from(raw)
        self._pending.pop(question, None)
        with contextlib.suppress(ValueError):
            self._answers[question] = time.monotonic(), json.loads(raw[broker.QUESTION.size :])
        return True

    def close(self) -> None:
        """The helper ends when it sees this; wait for that, END_SECONDS at most."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a fork may hold a copy
        self._socket.close()
        self._alive = False
        until = time.monotonic() + END_SECONDS
        with contextlib.suppress(ChildProcessError):
            while self._pid and os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > until:
                    return
                time.sleep(0.002)
        self._pid = 0


def _start(channel: int) -> int:
    """Start the helper, with none of our files, out of reach of the terminal's Ctrl-C."""
    null = os.devnull
    return os.posix_spawn(
        sys.executable,
        (sys.executable, "-I", "-S", *(["-B"] * sys.dont_write_bytecode), broker.__file__),
        broker.ENVIRONMENT,
        file_actions=(
            (os.POSIX_SPAWN_DUP2, channel, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
        ),
        setpgroup=0,
        setsigmask=(),
    )


class FirewallMemory:
    """What was said of each namespace, and when.

    What is said at a time holds for all resets before it that nothing was said for. A recording
    keeps exactly this (``noted``), so that a replay says the same: see ``said_for``.
    """

    def __init__(self, ask: Callable[[int], Firewall], noted: Noted) -> None:
        self._ask = ask
        self._noted = noted
        self._said: dict[int, list[tuple[int, Firewall]]] = {}
        self._credit = BURST_SECONDS
        self._credited = time.monotonic()

    def firewall(self, netns: int, time_ns: int) -> Firewall:
        """The rules to judge a reset by that happened there at ``time_ns``."""
        said = self._said.setdefault(netns, [])
        known = said_for(said, time_ns)
        if known:
            return known
        answer = self._now(netns, said[-1] if said else None)
        told = time.monotonic_ns(), answer
        same = bool(said) and said[-1][1] == answer
        value: dict[str, Any] = {"time_ns": told[0], **({} if same else to_json(answer))}
        self._noted("firewall", str(netns), value)
        said.append(told)
        del said[:-REMEMBERED]
        while len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]
        return answer

    def _now(self, netns: int, last: tuple[int, Firewall] | None) -> Firewall:
        """Ask, if that did not take too much time lately; else what was said a moment ago."""
        start = time.monotonic()
        self._credit = min(BURST_SECONDS, self._credit + (start - self._credited) * SHARE)
        self._credited = start
        if self._credit > 0:
            answer = self._ask(netns)
            self._credit -= time.monotonic() - start
            return answer
        moment_ago = time.monotonic_ns() - int(FRESH_SECONDS * 1e9)
        return last[1] if last and last[0] > moment_ago else TOO_OFTEN
