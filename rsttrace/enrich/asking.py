"""The trace's side of the helper process (broker.py), and what it remembers of the answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rsttrace.enrich import broker
from rsttrace.enrich.firewall import Firewall, said_for

WAIT_SECONDS = 0.18
FRESH_SECONDS = 2.0  # an answer too late for one reset is good for the next
BURST_SECONDS = WAIT_SECONDS  # of looking up at once: what a reset may be held up for at most
PATIENT_SECONDS, PATIENT_SHARE = 1.0, 0.5  # the same where nobody waits for each reset
# what may take all of that there: several commands tell the rules, on a busy machine slowly
PATIENT_KINDS = ("addresses", "firewall")
IN_VAIN = 2  # questions in a row without an answer; then nothing is asked for
QUIET_SECONDS = 2.0
SHARE = 0.1  # of the time, in the long run
REMEMBERED = 64  # answers for each key, and keys
LEAST_SECONDS = 0.03  # less is not worth a question
BREATH_SECONDS = 0.005
END_SECONDS = 1.0
SO_SNDBUFFORCE = 32
BUFFER = 1 << 20  # bytes of the longest answer

NO_ANSWER = Firewall(problem="the firewall did not tell its rules in time")
NO_HELPER = Firewall(problem="the helper process is gone")
TOO_OFTEN = Firewall(problem="too many resets to look up the rule of each")

Noted = Callable[[str, str, object], None]
T = TypeVar("T")


class Broker:
    """Starts the helper and asks it. It could not start, or ended: no answers.

    ``meanwhile`` is called again and again while it waits. A helper that hangs is not waited for
    each time: after IN_VAIN questions it is left alone for QUIET_SECONDS, or until it says a word.
    """

    def __init__(self, meanwhile: Callable[[], None] | None = None) -> None:
        self.meanwhile = meanwhile or (lambda: None)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._number = 0
        self._asked: dict[int, str] = {}
        self._pending: dict[str, tuple[int, float]] = {}
        self._answers: dict[str, tuple[float, int, Any]] = {}
        self._in_vain, self._quiet_until = 0, 0.0
        self._pid = 0
        with theirs:
            with contextlib.suppress(OSError):  # not root: then the answers are short anyway
                theirs.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
            with contextlib.suppress(OSError):
                self._pid = _start(theirs.fileno())
        self.alive = bool(self._pid)

    def ask(self, kind: str, about: Any, wait_s: float = WAIT_SECONDS, anew: bool = False) -> Any:
        """The answer, None if there is none in time, or none at all.

        One that came too late for the same question a moment ago is taken, and a question that is
        on its way is not sent twice, unless it must be asked ``anew``; then it is asked whether or
        not the helper hangs.
        """
        text = json.dumps([kind, about])
        until = time.monotonic() + wait_s
        while self._take(0):
            pass
        came, _, value = self._answers.pop(text, (0.0, 0, None))
        if value is not None and not anew and time.monotonic() - came <= FRESH_SECONDS:
            return value
        if not anew and time.monotonic() < self._quiet_until:
            return None
        number = self._send(text, kind, about, wait_s, anew)
        while self.alive and (left := until - time.monotonic()) > 0:
            self.meanwhile()
            self._take(min(left, BREATH_SECONDS))
            _, which, value = self._answers.get(text, (0.0, 0, None))
            if which == number:
                del self._answers[text]
                return value
        self._in_vain += 1
        if self._in_vain >= IN_VAIN:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
        return None

    def _send(self, text: str, kind: str, about: Any, wait_s: float, anew: bool) -> int:
        """Send the question, unless it is on its way already: its number."""
        now = time.monotonic()
        number, until = self._pending.get(text, (0, 0.0))
        if until > now and not anew:
            return number
        self._number += 1
        self._pending[text] = self._number, now + max(wait_s, broker.ANSWER_SECONDS)
        self._asked[self._number] = text
        if len(self._asked) > REMEMBERED:
            forgotten = self._asked.pop(next(iter(self._asked)))
            self._pending.pop(forgotten, None)
        question = {"id": self._number, "kind": kind, "about": about, "wait": wait_s}
        try:
            self._socket.settimeout(wait_s)
            self._socket.send(json.dumps(question).encode())
        except (socket.timeout, BlockingIOError):
            self._pending.pop(text, None)  # it never left
        except OSError:
            self.alive = False
        return self._number

    def _take(self, wait_s: float) -> bool:
        """Take one answer if there is one in time."""
        if not self.alive:
            return False
        try:
            self._socket.settimeout(wait_s)
            raw = self._socket.recv(BUFFER)
        except (socket.timeout, BlockingIOError):
            return False
        except OSError:
            raw = b""
        if not raw:
            self.alive = False
            return False
        self._in_vain, self._quiet_until = 0, 0.0
        with contextlib.suppress(ValueError, KeyError, TypeError):
            answer = json.loads(raw)
            number, value = answer["id"], answer["value"]
            text = self._asked.pop(number)
            self._pending.pop(text, None)
            self._answers[text] = time.monotonic(), number, value
            if len(self._answers) > REMEMBERED:
                del self._answers[next(iter(self._answers))]
        return True

    def close(self) -> None:
        """The helper ends when it sees this; wait for that, END_SECONDS at most."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a fork may hold a copy
        self._socket.close()
        self.alive = False
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
        (sys.executable, "-I", *(["-B"] * sys.dont_write_bytecode), broker.__file__),
        broker.ENVIRONMENT,
        file_actions=(
            (os.POSIX_SPAWN_DUP2, channel, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
        ),
        setpgroup=0,
        setsigmask=(),
    )


class Credit:
    """Time that may be spent on looking things up: a burst, then a share of all time."""

    def __init__(self, burst_s: float = BURST_SECONDS, share: float = SHARE) -> None:
        self._burst_s, self._share = burst_s, share
        self._left = burst_s
        self._waits: dict[str, float] = {}
        self._since = time.monotonic()

    def be_patient(self, seconds: float = PATIENT_SECONDS) -> None:
        """From now on there is more at once, and half of all time; one question still may take no
        more than WAIT_SECONDS, but for PATIENT_KINDS.
        """
        self._burst_s = self._left = seconds
        self._share = PATIENT_SHARE
        self._waits = dict.fromkeys(PATIENT_KINDS, seconds)

    def wait(self, kind: str) -> float:
        """Seconds that one question of this kind may take now, 0 if none."""
        return min(self.left, self._waits.get(kind, WAIT_SECONDS))

    @property
    def left(self) -> float:
        """Seconds that may be spent now, 0 if none."""
        now = time.monotonic()
        self._left = min(self._burst_s, self._left + (now - self._since) * self._share)
        self._since = now
        return max(0.0, self._left)

    @contextlib.contextmanager
    def spending(self) -> Any:
        """Whatever is done in here takes of it."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._left -= time.monotonic() - start


class Memory(Generic[T]):
    """What was said of each key (a namespace, a flow), and when.

    What is said at a time holds for all resets before it that nothing was said for. A recording
    keeps exactly this (``noted``), so that a replay says the same: see ``said_for``. ``dump``: an
    answer as JSON, without what the last one, None if there is none, said as well. ``too_often``:
    the answer when there is no credit to ask.
    """

    def __init__(
        self,
        kind: str,
        noted: Noted,
        credit: Credit,
        dump: Callable[[T, T | None], dict[str, Any]],
        too_often: T,
    ) -> None:
        self._kind = kind
        self._noted = noted
        self._credit = credit
        self._dump = dump
        self._too_often = too_often
        self._said: dict[str, list[tuple[int, T]]] = {}

    def get(self, key: str, time_ns: int, ask: Callable[[float], T]) -> T:
        """The answer for what happened at ``time_ns``; ``ask`` is told how long it may take."""
        said = self._said.setdefault(key, [])
        known = said_for(said, time_ns)
        if known is not None:
            return known
        last = said[-1] if said else None
        answer = self._now(ask, last)
        told_ns = time.monotonic_ns()
        more = self._dump(answer, last[1] if last else None)
        self._noted(self._kind, key, {"time_ns": told_ns, **more})
        said.append((told_ns, answer))
        del said[:-REMEMBERED]
        while len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]
        return answer

    def _now(self, ask: Callable[[float], T], last: tuple[int, T] | None) -> T:
        """Ask, if that did not take too much time lately; else what was said a moment ago."""
        if (wait_s := self._credit.wait(self._kind)) >= LEAST_SECONDS:
            with self._credit.spending():
                return ask(wait_s)
        moment_ago = time.monotonic_ns() - int(FRESH_SECONDS * 1e9)
        return last[1] if last and last[0] > moment_ago else self._too_often
