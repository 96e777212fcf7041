"""A live trace that measures itself: ``watcher.py live|null NETNS READYFILE``.

``null``: nothing is looked up on the host, all else is the same. Traces one network namespace until
SIGINT, then prints one JSON object.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsttrace.enrich.recorded import RecordedContext
from rsttrace.explain import Explained
from rsttrace.kernel.filters import Filter, c_expression
from rsttrace.kernel.loader import load_in_background, prepare
from rsttrace.output import Output
from rsttrace.pipeline import Pipeline
from rsttrace.privileges import drop_privileges
from rsttrace.session import Session
from rsttrace.sinks.jsonl import JsonSink
from rsttrace.tracing import Limits, Stopper, Tracing

TIME = struct.Struct("=Q")  # the first field of a record, CLOCK_MONOTONIC in ns
STALL_S = 0.05


class Clock:
    """Wall and CPU time of one function, in all and at worst."""

    def __init__(self, owner: Any, name: str) -> None:
        self.calls, self.wall, self.cpu, self.worst = 0, 0.0, 0.0, 0.0
        self._function: Callable[..., Any] = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start, cpu = time.monotonic(), time.thread_time()
        try:
            return self._function(*arguments, **options)
        finally:
            took = time.monotonic() - start
            self.calls += 1
            self.wall += took
            self.cpu += time.thread_time() - cpu
            self.worst = max(self.worst, took)


class Drains:
    """When the perf buffer was emptied: the longest time it was not, and the oldest record.

    ``inside_s``: the longest time without it within one look-up of the context.
    """

    def __init__(self, session: Session) -> None:
        self.gap_s = self.inside_s = self.oldest_s = 0.0
        self.stalls = self.records = 0
        self.inside = False
        self.start()
        self._queue = session._reader._queue
        self._poll = session.kernel.bpf.perf_buffer_poll
        session.kernel.bpf.perf_buffer_poll = self

    def start(self) -> None:
        """Count from now on: the loop of the trace begins."""
        self._began = self._left = self.entered = time.monotonic()

    def note_gap(self) -> None:
        """The context returns, or the buffer is emptied while it looks something up."""
        if self.inside:
            gap = time.monotonic() - max(self._left, self.entered)
            self.inside_s = max(self.inside_s, gap)

    def __call__(self, *arguments: Any) -> None:
        self.note_gap()
        gap = time.monotonic() - self._left
        self.gap_s = max(self.gap_s, gap)
        self.stalls += gap > STALL_S
        before = len(self._queue)
        self._poll(*arguments)
        self._left = time.monotonic()
        fresh = len(self._queue) - before
        self.records += fresh
        if fresh:
            times = [TIME.unpack_from(self._queue[-i])[0] / 1e9 for i in range(1, fresh + 1)]
            oldest = min((t for t in times if t >= self._began), default=self._left)
            self.oldest_s = max(self.oldest_s, self._left - oldest)


class Timed:
    """A context whose every look-up is timed."""

    def __init__(self, context: Any, drains: Drains) -> None:
        self._context, self._drains = context, drains
        self.calls: Counter[str] = Counter()
        self.wall: defaultdict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._context, name)

        def timed(*arguments: Any) -> Any:
            drains = self._drains
            drains.inside, drains.entered = True, time.monotonic()
            try:
                return method(*arguments)
            finally:
                drains.note_gap()
                drains.inside = False
                self.calls[name] += 1
                self.wall[name] += time.monotonic() - drains.entered

        return timed


class Counted(JsonSink):
    """JSON Lines, and what enrichment found out."""

    def __init__(self, wall_offset_ns: int) -> None:
        super().__init__(wall_offset_ns)
        self.found: Counter[str] = Counter()

    def reset(self, explained: Explained) -> str:
        facts = explained.facts
        self.found.update(["owner"] * bool(facts.owner))
        if facts.place:
            problems = facts.place.problems
            self.found.update([f"place: {next(iter(problems.values()), 'all known')}"])
        return super().reset(explained)


def main() -> None:
    """Trace until SIGINT and print the numbers."""
    kind, netns, ready = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    stopper = Stopper()
    loading = load_in_background(prepare(), c_expression(Filter(netns=(netns,))))
    with Session(loading) as session:
        # null: as of a recording in which nothing was learnt
        context = session.context if kind == "live" else RecordedContext()
        drains = Drains(session)
        timed: Any = Timed(context, drains)
        since = session.started_ns
        session.pipeline = Pipeline(session.layout, session.names, timed, since_ns=since)
        session.learn_host()
        explaining = Clock(session.pipeline, "_explain_one")
        sink = Counted(session.wall_offset_ns)
        limits = Limits(netns=(netns,))
        with open(os.devnull, "w") as null:
            tracing = Tracing(session, sink, Output(null), limits, stopper)
            ready.touch()
            drop_privileges()
            drains.start()
            tracing.run()
        print(
            json.dumps(
                {
                    "explained": explaining.calls,
                    "explain_s": explaining.wall,
                    "explain_cpu_s": explaining.cpu,
                    "worst_explain_s": explaining.worst,
                    "records": drains.records,
                    "lost": session.lost,
                    "longest_gap_s": drains.gap_s,
                    "stalls": drains.stalls,
                    "oldest_record_s": drains.oldest_s,
                    "longest_gap_inside_s": drains.inside_s,
                    "found": dict(sink.found),
                    "look_ups": {
                        name: {"calls": calls, "wall_s": timed.wall[name]}
                        for name, calls in timed.calls.items()
                    },
                }
            )
        )


if __name__ == "__main__":
    main()
