"""A live trace: load, read, record, explain. Everything with a clock or a kernel is here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rsttrace import __version__
from rsttrace.completeness import Readings, increments, readings
from rsttrace.enrich.asking import PATIENT_SECONDS, Broker
from rsttrace.enrich.listening import listening
from rsttrace.enrich.live import LiveContext, not_noted
from rsttrace.enrich.owners import everyone
from rsttrace.enrich.place import Question
from rsttrace.enrich.whose import Whose
from rsttrace.explain import Explained
from rsttrace.kernel.gaps import gaps_of, lost_hooks
from rsttrace.kernel.loader import Kernel, bpf_dir, load_in_background, prepare
from rsttrace.kernel.memory import release_compiler_memory
from rsttrace.kernel.reader import Reader
from rsttrace.kernel.symbols import Symbols
from rsttrace.layout import Layout
from rsttrace.pipeline import Pipeline
from rsttrace.recording import Recorder

# a record is stamped when its hook starts and handed over some microseconds later
MARGIN_NS = 2_000_000
LAST_READS = 2
# for the helper process to read the counters of all namespaces, in s
FIRST_WAIT_S, LAST_WAIT_S = 0.2, 1.0


class KernelNames:
    """The running kernel's names; remembers which addresses were asked for."""

    def __init__(self, symbols: Symbols, enums: Mapping[str, Mapping[int, str]]) -> None:
        self._symbols = symbols
        self._enums = enums
        self._known: dict[int, str | None] = {}
        self._fresh: dict[int, str | None] = {}

    def symbol(self, address: int) -> str | None:
        """Function at a return address."""
        if address not in self._known:
            self._known[address] = self._fresh[address] = self._symbols.name(address)
        return self._known[address]

    def enum(self, name: str) -> Mapping[int, str]:
        """An enum of the running kernel."""
        return self._enums.get(name, {})

    def take_fresh(self) -> dict[int, str | None]:
        """Addresses named since the last call."""
        fresh, self._fresh = self._fresh, {}
        return fresh


class Session:
    """A running trace. Use as a context manager; ``poll`` gives explained resets."""

    def __init__(self, loading: Future[Kernel] | None = None, record: Path | None = None) -> None:
        """Attach; CannotTrace if this kernel or user cannot.

        ``loading`` are programs that compile already (load_in_background); by default all
        hooks are loaded without a filter.
        """
        loading = loading or load_in_background(prepare())
        self.broker = Broker()  # needs the rights that are given up soon
        symbols = Symbols()
        symbols.load()  # while the compiler works
        self.kernel = self._loaded(loading)
        self.kernel.set_page_bases(
            symbols.variable("vmemmap_base"), symbols.variable("page_offset_base")
        )
        self.layout = Layout.parse((bpf_dir() / "record.h").read_text())
        self._reader = Reader(self.kernel, self.layout.size)
        # without BTF the programs do not know the namespace
        self._whose = Whose(self.layout, self.broker) if self.kernel.features.no_btf else None
        self.broker.meanwhile = self._reader.drain
        self.started_ns = time.monotonic_ns()
        self.wall_offset_ns = time.time_ns() - time.monotonic_ns()
        self.names = KernelNames(symbols, self.kernel.features.enums)
        self._recorder = Recorder(record) if record else None
        noted = self._recorder.context if self._recorder else not_noted
        self.context = LiveContext(noted, self.broker, self._reader.drain)
        self.pipeline = Pipeline(self.layout, self.names, self.context, since_ns=self.started_ns)
        # what came before the perf buffer was open is not part of this trace
        self._lost_before = self.kernel.lost()
        self.lost = 0
        self._last_take_ns = self.started_ns
        self.symbols_available = symbols.available
        release_compiler_memory()
        self.counters_before = self.counters(FIRST_WAIT_S)

    def _loaded(self, loading: Future[Kernel]) -> Kernel:
        try:
            return loading.result()
        except BaseException:
            self.broker.close()
            raise

    def learn_host(self) -> None:
        """Look at what was there before the trace. Needs root; call it once, soon after."""
        owners = everyone()
        known = listening(owners)
        self.context.know_owners(owners)
        self.pipeline.know_listeners(known)
        if self._recorder:
            features = self.kernel.features
            self._recorder.header(self.layout, features.enums, self.host_facts(), known)

    def host_facts(self) -> dict[str, Any]:
        """What a reader of the output must know of this host and trace."""
        uname = os.uname()
        return {
            "version": __version__,
            "hostname": uname.nodename,
            "kernel": uname.release,
            "machine": uname.machine,
            "hooks": list(self.kernel.hooks),
            "missing_hooks": list(lost_hooks(self.kernel.features)),
            "missing_members": self.kernel.features.missing_members,
            "gaps": list(gaps_of(self.kernel.features)),
            "started_ns": self.started_ns,
            "wall_offset_ns": self.wall_offset_ns,
            "symbols": self.symbols_available,
        }

    def counters(self, wait_s: float = LAST_WAIT_S) -> Readings | None:
        """The kernel's counters of every namespace, None if they could not be read in time."""
        self._counted = readings(self.broker.ask("counters", None, wait_s, anew=True))
        return self._counted

    def warm_up(self, seconds: float = PATIENT_SECONDS) -> None:
        """Wait until the helper process is ready for every question, for reports that must not lack
        what it knows; a live trace does not wait. ``seconds``: what a question may take then.
        """
        here = Question(os.stat("/proc/self/ns/net").st_ino, 4, "127.0.0.1", 0, "127.0.0.1", 0)
        self.broker.ask("place", asdict(here), LAST_WAIT_S)
        self.context.be_patient(seconds)
        if self._whose:
            self._whose.be_patient(seconds)

    def counter_increments(self, netns: tuple[int, ...] = ()) -> dict[str, int] | None:
        """How much the counters rose from the start of the trace to when they were read last.

        By nstat's names, only those that rose, over these namespaces (empty: all); None: they
        could not be read.
        """
        return increments(self.counters_before, self._counted, netns)

    def poll(self, timeout_ms: int = 100) -> list[Explained]:
        """Wait for records at most ``timeout_ms`` and return the resets that are complete."""
        now = time.monotonic_ns()
        self._take(self._reader.read(timeout_ms))
        # all that was there when the read began is in hand now
        return self.pipeline.advance(now - MARGIN_NS)

    def finish(self) -> list[Explained]:
        """Read what is there now and explain everything, complete or not.

        Not until nothing comes any more: a flood would never end.
        """
        for _ in range(LAST_READS):
            self._take(self._reader.read(0))
        return self.pipeline.flush()

    def _take(self, raw: list[bytes]) -> None:
        if self._whose:
            raw = self._whose.fill(raw)
        self.pipeline.feed(raw)
        if self._recorder:
            self._recorder.names(self.names.take_fresh())
            self._recorder.records(raw)
        lost = self.kernel.lost() - self._lost_before
        now = time.monotonic_ns()
        if lost > self.lost:
            self.pipeline.note_loss(self._last_take_ns, now)
            if self._recorder:
                self._recorder.lost(lost - self.lost, self._last_take_ns, now)
            self.lost = lost
        self._last_take_ns = now

    def close(self) -> None:
        """Detach; end the recording and the helper process."""
        self.kernel.close()
        self.broker.close()
        if self._recorder:
            recorder, self._recorder = self._recorder, None
            recorder.end(self.lost)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_order(explained: Iterable[Explained]) -> list[Explained]:
    """By time, then by id."""
    return sorted(explained, key=lambda e: (e.reset.time_ns, e.reset.id))
