"""Records to explained resets: sort, join, enrich, explain. The same live and in a replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rsttrace.advice import advise, from_sender, wants
from rsttrace.causes.case import Case, Sender
from rsttrace.decode import Decoder, Names
from rsttrace.enrich import Context, enrich
from rsttrace.explain import Explained, Verdict, explain, question_of, sender_of
from rsttrace.fold import Fold
from rsttrace.join import Joiner
from rsttrace.layout import Layout
from rsttrace.listeners import Listener, Listeners
from rsttrace.matching import PATIENCE_NS
from rsttrace.model import NONE, RECEIVED, REJECTED, Reset
from rsttrace.patterns import Patterns
from rsttrace.records import Record

REMEMBER_SENDERS = 1024
REMEMBER_LOSSES = 64
STEP_NS = 1_000_000


class Pipeline:
    """Feed raw records, take explained resets.

    The perf buffers of several CPUs arrive out of order, so records wait until ``now_ns``
    says that none older can come.
    """

    def __init__(
        self,
        layout: Layout,
        names: Names,
        context: Context,
        known: Iterable[Listener] = (),
        since_ns: int | None = None,
    ) -> None:
        self._decoder = Decoder(layout, names)
        self._context = context
        self._listeners = Listeners(known)
        self._joiner = Joiner()
        self._fold = Fold()
        self._patterns = Patterns()
        self._waiting: list[Record] = []
        self._senders: dict[int, Sender] = {}
        self.since_ns = since_ns
        self._losses: list[tuple[int, int]] = []
        self._advanced_ns = 0
        self.damaged = 0

    def know_listeners(self, known: Iterable[Listener]) -> None:
        """Take the sockets that listened before the trace."""
        self._listeners.add(known)

    def forget_neighbours(self) -> None:
        """What remote addresses did so far belongs to namespaces that are gone."""
        self._patterns = Patterns()

    @property
    def busy(self) -> bool:
        """Is something waiting for its time?"""
        return bool(self._waiting) or self._joiner.busy or self._fold.busy

    def feed(self, raw: Iterable[bytes]) -> None:
        """Take records as they came out of the perf buffer."""
        for one in raw:
            try:
                self._waiting.append(self._decoder.decode(one))
            except ValueError:
                self.damaged += 1

    def note_loss(self, since_ns: int, until_ns: int) -> None:
        """Records were lost between these times: resets of that time may lack facts."""
        self._losses.append((since_ns - PATIENCE_NS, until_ns + PATIENCE_NS))
        del self._losses[:-REMEMBER_LOSSES]

    def advance(self, now_ns: int) -> list[Explained]:
        """Resets that are complete, given that no record older than ``now_ns`` can come."""
        self._waiting.sort(key=lambda r: r.time_ns)
        split = next(
            (i for i, r in enumerate(self._waiting) if r.time_ns >= now_ns), len(self._waiting)
        )
        due, self._waiting = self._waiting[:split], self._waiting[split:]
        found: list[Explained] = []
        for record in due:
            # finish what is older first, so that tuples used again find no stale partner
            if record.time_ns - self._advanced_ns >= STEP_NS:
                self._advanced_ns = record.time_ns
                found += self._explain(self._joiner.advance(record.time_ns))
            self._take(record)
        found += self._explain(self._joiner.advance(now_ns))
        return [*self._fold.feed(found), *self._fold.advance(now_ns)]

    def flush(self) -> list[Explained]:
        """Everything that is left."""
        last = max((r.time_ns for r in self._waiting), default=0) + 1
        found = self.advance(last)
        found += self._fold.feed(self._explain(self._joiner.flush()))
        return found + self._fold.advance(None)

    def _take(self, record: Record) -> None:
        if record.kind == "inet_sock_set_state":
            self._listeners.feed(record)
        else:
            self._joiner.feed(record)

    def _explain(self, resets: list[Reset]) -> list[Explained]:
        if not resets:
            return []
        # the sender's verdict first: the receiver's text names it
        order = sorted(resets, key=lambda r: r.direction in (RECEIVED, REJECTED))
        done = {r.id: self._explain_one(r) for r in order}
        return [done[r.id] for r in resets]

    def _explain_one(self, reset: Reset) -> Explained:
        reset.lossy = any(a <= reset.time_ns <= b for a, b in self._losses)
        facts = enrich(reset, self._context, self._listeners, self.since_ns)
        flow = reset.flow
        known = self._patterns.about(flow.netns, flow.remote, reset.time_ns)
        facts = replace(facts, neighbours=known)
        sender = None
        if reset.peer and reset.direction in (RECEIVED, REJECTED):
            sender = self._senders.get(reset.peer.id)
        verdict = explain(reset, facts, sender)
        explained = self._advised(Case(reset, facts, sender), verdict)
        self._patterns.add(reset, explained.verdict.cause)
        if reset.direction not in (RECEIVED, REJECTED, NONE):
            self._senders[reset.id] = sender_of(explained)
            if len(self._senders) > REMEMBER_SENDERS:
                del self._senders[next(iter(self._senders))]
        return explained

    def _advised(self, case: Case, verdict: Verdict) -> Explained:
        """What is harmless, or was advised at the other end, needs no advice: nothing is asked."""
        reset, facts = case.reset, case.facts
        needed = reset.flow.netns and not verdict.benign and not from_sender(case, verdict)
        causes = (verdict.cause, verdict.suppressed_cause) if needed else ()
        sources = tuple(dict.fromkeys(name for cause in causes if cause for name in wants(cause)))
        if sources:
            place = self._context.place(question_of(case, sources), reset.time_ns)
            facts = replace(facts, place=place)
        return Explained(reset, facts, advise(replace(case, facts=facts), verdict))
