"""The loop of a live trace: poll, print, stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rsttrace.completeness import Completeness, Readings, Tally
from rsttrace.errors import EXIT_INCOMPLETE, EXIT_OK, RsttraceError
from rsttrace.explain import Explained
from rsttrace.model import FORWARDED, RECEIVED, REJECTED, SENT, SUPPRESSED
from rsttrace.output import Output
from rsttrace.session import Session
from rsttrace.sinks import Sink
from rsttrace.sinks.totals import Totals

POLL_MS = 100
SAME_CTRL_C_S = 0.3
BUSY_POLL_MS = 10  # a reset waits for its last parts: show it soon
# --sent and --received leave out hooks in the kernel, but the drop hook sees both directions
WAYS = {SENT: (SENT, SUPPRESSED, FORWARDED), RECEIVED: (RECEIVED, REJECTED)}


@dataclass(frozen=True)
class Limits:
    """When to stop, and which owner and direction to show. None: no limit.

    ``netns``: only these were watched (empty: all); ``only_netns``: show no other one's, which
    without BTF the kernel cannot leave out. ``filtered``: by something else as well.
    ``until``: is it time to stop? It is asked after every poll.
    """

    seconds: float | None = None
    count: int | None = None
    pid: int | None = None
    direction: str | None = None
    netns: tuple[int, ...] = ()
    filtered: bool = False
    only_netns: bool = False
    until: Callable[[], bool] | None = None

    @property
    def why_not_compared(self) -> str:
        """Why the kernel's counters tell nothing about what is shown, empty if they do."""
        filtered = self.filtered or self.pid is not None or self.direction
        return "a filter is on" if filtered else ""


class Stopper:
    """SIGINT, SIGTERM and SIGHUP ask the loop to stop; a second Ctrl-C ends at once.

    The second one leaves without unwinding: an exception out of the middle of bcc's clean-up
    crashes in its destructors, and the kernel takes everything back anyway. Wrappers like
    sudo and timeout deliver one Ctrl-C twice, so it counts only after a moment.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self._stop)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and number == signal.SIGINT and now - self._asked_at > SAME_CTRL_C_S:
            os._exit(130)
        if not self.asked:
            self.asked, self._asked_at = True, now


def write_ready_file(path: Path) -> None:
    """Tell a script that the trace is on."""
    try:
        path.write_text("ready\n")
    except OSError as err:
        raise RsttraceError(f"cannot write the ready file {path}: {err.strerror}.") from err


class Tracing:
    """A session, its sink and its limits."""

    def __init__(
        self,
        session: Session,
        sink: Sink,
        output: Output,
        limits: Limits,
        stopper: Stopper,
        progress: Callable[[float, Totals], None] | None = None,
    ) -> None:
        """``progress`` is told the seconds since the start after every poll."""
        self._session = session
        self._sink = sink
        self._output = output
        self._limits = limits
        self._stopper = stopper
        self._progress = progress
        self.totals = Totals()
        self._tally = Tally()

    def run(self, summary: bool = True) -> None:
        """Until asked to stop or a limit is reached; then print what is left.

        A recording that cannot go on ends the trace as well: what was seen is still shown.
        """
        start = time.monotonic()
        failure = None
        try:
            self._watch(start)
        except RsttraceError as err:
            failure = err
            self._show(self._session.pipeline.flush())
        self.totals.duration_s = time.monotonic() - start
        self.totals.completeness = self._completeness()
        if summary:
            self._output.write(self._sink.summary(self.totals))
        if failure:
            raise failure

    def _watch(self, start: float) -> None:
        self._tally.start(self._mine(self._session.counters_before))
        self._output.write(self._sink.start(self._session.host_facts()))
        while not self._done(start):
            self._show(self._session.poll(self._timeout(start)))
            if self._progress:
                self._progress(time.monotonic() - start, self.totals)
        if self._full():
            return
        self._tally.stop(self._mine(self._session.counters()))
        self._show(self._session.finish())

    def _mine(self, readings: Readings | None) -> Readings | None:
        """Those of the namespaces that are watched."""
        wanted = self._limits.netns
        if readings is None:
            return None
        return {netns: r for netns, r in readings.items() if not wanted or netns in wanted}

    def _completeness(self) -> Completeness:
        why_not = "it stopped at its limit" if self._full() else self._limits.why_not_compared
        return self._tally.compare(self._session.lost, why_not)

    def _timeout(self, start: float) -> int:
        wait = BUSY_POLL_MS if self._session.pipeline.busy else POLL_MS
        if self._limits.seconds is None:
            return wait
        left = self._limits.seconds - (time.monotonic() - start)
        return max(1, min(wait, int(left * 1000)))

    def _full(self) -> bool:
        return self._limits.count is not None and self.totals.resets >= self._limits.count

    def _done(self, start: float) -> bool:
        limit = self._limits.seconds
        over = limit is not None and time.monotonic() - start >= limit
        until = self._limits.until
        return self._stopper.asked or over or self._full() or bool(until and until())

    def _show(self, explained: list[Explained]) -> None:
        if self._session.lost > self.totals.lost:
            self._output.write(self._sink.lost(self._session.lost - self.totals.lost))
            self.totals.lost = self._session.lost
        for one in explained:
            if self._full():
                return
            if self._wanted(one):
                self.totals.add(one)
                if not self._limits.netns or one.reset.flow.netns in self._limits.netns:
                    self._tally.add(one)
                self._output.write(self._sink.reset(one))

    def _wanted(self, explained: Explained) -> bool:
        limits, facts = self._limits, explained.facts
        # 0: it may be a wanted one
        if limits.only_netns and explained.reset.flow.netns not in (0, *limits.netns):
            return False
        if limits.direction and explained.reset.direction not in WAYS[limits.direction]:
            return False
        if limits.pid is None:
            return True
        return any(p and p.pid == limits.pid for p in (facts.owner, facts.closer))


def exit_code(totals: Totals, strict: bool) -> int:
    """0, or 4 when records were lost under --strict."""
    return EXIT_INCOMPLETE if strict and totals.lost else EXIT_OK
