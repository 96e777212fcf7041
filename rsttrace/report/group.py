"""One finding: resets of the same cause, act, process and service, in little memory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from rsttrace.causes.case import CERTAIN, LIKELY, POSSIBLE, UNKNOWN
from rsttrace.explain import Explained
from rsttrace.model import RECEIVED
from rsttrace.report.ends import (
    IN,
    Service,
    act_of,
    doer_of,
    exit_of,
    owner_of,
)
from rsttrace.report.tops import Ranges, Tops, widen
from rsttrace.sinks.jsonl import socket_object

# ways of a program to end a connection: whether they do harm is decided at the other end
ENDINGS = ("linger-zero", "stale-connection", "unread-data-on-close")
CONFIDENCES = (UNKNOWN, POSSIBLE, LIKELY, CERTAIN)  # worst first
NUMBERS = ("unread_bytes", "unacked_bytes", "age_s", "idle_s", "retransmits", "keepalive_probes")
_DIGITS = re.compile(r"\d+")

# cause, act, name of the process, namespace, harmless
Family = tuple[str, str, str, int, bool]


def family_of(one: Explained) -> Family:
    """All that must be equal for two resets to be told as one, but for the service."""
    process, verdict = doer_of(one), one.verdict
    name = process.comm if process else ""
    return (verdict.cause, act_of(one), name, one.reset.flow.netns, verdict.benign)


def worth_of(one: Explained) -> tuple[int, int]:
    """How good an example it is: sure first, then complete."""
    reset = one.reset
    seen = sum(1 for part in (reset.packet, reset.sock, reset.frames) if part)
    return CONFIDENCES.index(one.verdict.confidence), seen


@dataclass(eq=False)
class Group:
    """What equal incidents have in common.

    Every reset is in one of these numbers: ``count`` incidents, ``received`` and ``forwarded``: the
    same RSTs seen once more at the other end, or on their way, on this host; ``echoes``: resets
    that segments still under way drew; ``effects``: what went wrong as a consequence; ``ends``:
    the other ends of echoes and effects.
    """

    cause: str
    act: str
    benign: bool
    netns: int
    example: Explained
    netns_name: str | None = None
    service: Service | None = None
    count: int = 0
    received: int = 0
    unharmed: int = 0
    forwarded: int = 0
    echoes: int = 0
    effects: int = 0
    ends: int = 0
    first_ns: int = 0
    last_ns: int = 0
    queue_over: int = 0
    confidences: Counter[str] = field(default_factory=Counter)
    owners: Tops = field(default_factory=Tops)
    actors: Tops = field(default_factory=Tops)
    listeners: Tops = field(default_factory=Tops)
    services: Tops = field(default_factory=Tops)
    locals: Tops = field(default_factory=Tops)
    remotes: Tops = field(default_factory=lambda: Tops(256))
    receivers: Tops = field(default_factory=Tops)
    told_there: Tops = field(default_factory=Tops)
    exits: Tops = field(default_factory=Tops)
    missing: Tops = field(default_factory=Tops)
    numbers: Ranges = field(default_factory=dict)
    _remedies: Tops = field(default_factory=Tops)
    _texts: dict[str, str] = field(default_factory=dict)
    into: Group | None = None

    @classmethod
    def of(cls, one: Explained, service: Service) -> Group:
        """An empty one for resets like this."""
        return cls(
            cause=one.verdict.cause,
            act=act_of(one),
            benign=one.verdict.benign,
            netns=one.reset.flow.netns,
            example=one,
            netns_name=one.facts.netns_name,
            service=service,
            first_ns=one.reset.time_ns,
            last_ns=one.reset.time_ns,
        )

    @property
    def final(self) -> Group:
        """Where this one's numbers went, if it was merged."""
        group = self
        while group.into:
            group = group.into
        return group

    @property
    def confidence(self) -> str:
        """The worst."""
        return next(word for word in CONFIDENCES if self.confidences[word])

    @property
    def usual_confidence(self) -> str:
        """That of most; of equal numbers, the worse."""
        return max(CONFIDENCES, key=lambda word: self.confidences[word])

    @property
    def harmed(self) -> bool:
        """False if all that got these resets are on this host, and none of them minded."""
        return not self.received or self.unharmed < max(self.received, self.count)

    @property
    def harmless(self) -> bool:
        """By its own verdict, or by what became of it at the other ends, all on this host."""
        return self.benign or (self.cause in ENDINGS and self.act != IN and not self.harmed)

    @property
    def remedies(self) -> tuple[str, ...]:
        """What to change, the most frequent first; texts that differ in numbers are one."""
        return tuple(self._texts[key] for key, _ in self._remedies.most() if key in self._texts)

    def take(self, one: Explained, service: Service) -> None:
        """One more incident (or as many as it stands for)."""
        count, verdict, facts = one.count, one.verdict, one.facts
        self.count += count
        self.first_ns = min(self.first_ns, one.reset.time_ns)
        self.last_ns = max(self.last_ns, one.reset.time_ns)
        self.confidences[verdict.confidence] += count
        self.services.add(service.text, count)
        if self.service and self.service.key != service.key:
            self.service = None
        self.locals.add(one.reset.flow.local, count)
        self.remotes.add(one.reset.flow.remote, count)
        for tops, process in (
            (self.owners, owner_of(one)),
            (self.actors, facts.actor),
            (self.listeners, facts.listener),
        ):
            tops.add(process.name if process else "", count)
        self.exits.add(exit_of(one), count)
        self.missing.add(verdict.missing, count)
        self._measure(one)
        self._prefer(one)
        for remedy in verdict.remedies:
            self._remedies.add(_alike(remedy), count)
        self._keep_texts(one)

    def receive(self, one: Explained) -> None:
        """The same RST at the other end, on this host."""
        process = owner_of(one) or one.facts.listener
        self.received += one.count
        self.unharmed += one.count * one.verdict.benign
        self.receivers.add(process.name if process else "", one.count)
        self.told_there.add(one.verdict.cause, one.count)
        if one.reset.direction == RECEIVED and not one.verdict.benign:
            # its own settings: a proxy's upstream, for example
            for remedy in one.verdict.remedies:
                self._remedies.add(_alike(remedy), one.count)
            self._keep_texts(one)

    def merge(self, other: Group) -> None:
        """Take all of another group of this family."""
        other.into = self
        for name in ("count", "received", "unharmed", "forwarded", "echoes", "effects", "ends"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.queue_over += other.queue_over
        self.first_ns = min(self.first_ns, other.first_ns)
        self.last_ns = max(self.last_ns, other.last_ns)
        self.confidences.update(other.confidences)
        for name in ("owners", "actors", "listeners", "services", "locals", "remotes", "receivers"):
            getattr(self, name).merge(getattr(other, name))
        for name in ("told_there", "exits", "missing", "_remedies"):
            getattr(self, name).merge(getattr(other, name))
        for name, found in other.numbers.items():
            widen(self.numbers, name, found.low, found.high)
        self._texts = {**other._texts, **self._texts}
        self._prefer(other.example)
        if self.service and other.service and self.service.key != other.service.key:
            self.service = None

    def _prefer(self, one: Explained) -> None:
        mine, theirs = worth_of(self.example), worth_of(one)
        earlier = one.reset.time_ns < self.example.reset.time_ns
        if theirs > mine or (theirs == mine and earlier):
            self.example = one
            self._keep_texts(one)

    def _keep_texts(self, one: Explained) -> None:
        """The example's own words go before those of the others."""
        for remedy in one.verdict.remedies:
            key = _alike(remedy)
            if key in self._remedies.counts and (one is self.example or key not in self._texts):
                self._texts[key] = remedy
        if len(self._texts) > 2 * len(self._remedies.counts):
            self._texts = {k: t for k, t in self._texts.items() if k in self._remedies.counts}

    def _measure(self, one: Explained) -> None:
        socket = socket_object(one.reset)
        if socket is None:
            return
        for name in NUMBERS:
            if socket[name] is not None:
                widen(self.numbers, name, socket[name])
        if queue := socket["accept_queue"]:
            widen(self.numbers, "queue_used", queue["used"])
            widen(self.numbers, "queue_limit", queue["max"])
            self.queue_over += one.count * (queue["used"] > queue["max"])


def _alike(text: str) -> str:
    """Without its numbers."""
    return _DIGITS.sub("#", text)
