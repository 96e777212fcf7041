"""The report as data: findings in order, what is harmless, and the first line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rsttrace.causes.case import CERTAIN, LIKELY
from rsttrace.report.blind import blind_spots
from rsttrace.report.ends import IN
from rsttrace.report.group import Group
from rsttrace.report.groups import Groups, Rest
from rsttrace.report.headline import headline
from rsttrace.report.model import Watch
from rsttrace.report.watched import nothing_words
from rsttrace.sinks.totals import Totals

NOT_KNOWN = ("unknown", "insufficient-data")
# What a stranger's knock, a repeated try or a reset of others is worth beside an aborted connection
LESS_HARM = {
    "bad-ack-in-handshake": 0.5,
    "bad-syn": 0.3,
    "blind-reset-rejected": 0.5,
    "blind-syn-rejected": 0.5,
    "closed-port": 0.2,
    "forwarded-reset": 0.2,
    "insufficient-data": 0.5,
    "timewait-collision": 0.5,
    "unknown": 0.5,
}
SURENESS = {CERTAIN: 1.0, LIKELY: 0.8}
UNSURENESS = 0.5


@dataclass(frozen=True)
class Finding:
    """One group with its place in the report. ``where``: its network namespace, in words."""

    rank: int
    headline: str
    group: Group
    where: str


@dataclass(frozen=True)
class Report:
    """All that the text and the JSON document are made of.

    ``incidents``: RSTs and aborts, each counted once wherever it was seen. ``problems``: what could
    not be shown, each a sentence or two.
    """

    verdict: str
    findings: tuple[Finding, ...]
    harmless: tuple[Group, ...]
    rest: Rest
    incidents: int
    totals: Totals
    watch: Watch
    problems: tuple[str, ...]

    @property
    def missing(self) -> dict[str, int]:
        """Facts that would have made verdicts surer, and how many resets lack them."""
        found: dict[str, int] = {}
        for finding in self.findings:
            for fact, count in finding.group.missing.most():
                found[fact] = found.get(fact, 0) + count
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def build(groups: Groups, totals: Totals, watch: Watch) -> Report:
    """The report of everything the groups were fed."""
    found = groups.groups()
    harmful = sorted((g for g in found if not g.harmless), key=lambda g: (-harm(g), g.first_ns))
    harmless = sorted((g for g in found if g.harmless), key=lambda g: (-g.count, g.cause))
    total = sum(group.count for group in found) + groups.rest.count
    probe = _own_ends(watch)
    lines = [headline(group, total, probe) for group in harmful]
    where = _places(found)
    alike = Counter(lines)
    findings = tuple(
        Finding(rank, line + _inside(where[group], alike[line]), group, where[group])
        for rank, (line, group) in enumerate(zip(lines, harmful), 1)
    )
    return Report(
        verdict=_verdict(findings, total, groups.rest, totals, watch),
        findings=findings,
        harmless=tuple(harmless),
        rest=groups.rest,
        incidents=total,
        totals=totals,
        watch=watch,
        problems=(*watch.problems, *blind_spots(watch.host)),
    )


def _places(groups: Iterable[Group]) -> dict[Group, str]:
    """Names of their namespaces; one that was deleted and made again had several of a name."""
    groups = list(groups)
    known = {(group.netns_name, group.netns) for group in groups}
    same = Counter(name for name, _ in known)
    return {group: _place(group, alone=same[group.netns_name] == 1) for group in groups}


def _place(group: Group, alone: bool) -> str:
    number = str(group.netns or "")
    if not group.netns_name:
        return number
    return group.netns_name if alone or not number else f"{group.netns_name} ({number})"


def _inside(where: str, alike: int) -> str:
    """What tells a headline from others of the same words."""
    return f", in network namespace {where}" if where and alike > 1 else ""


def harm(group: Group) -> float:
    """How bad: how many, how much it hurts, how sure."""
    weight = LESS_HARM.get(group.cause, 1.0)
    if group.cause == "closed-port" and group.received:
        weight = 1.0  # somebody on this host wanted to connect
    unacked = group.numbers.get("unacked_bytes")
    if group.cause == "linger-zero" and unacked and not unacked.high:
        weight = 0.3  # all had been sent, and had arrived: many programs end a connection so
    hurt = group.count if group.act == IN else max(group.count - group.unharmed, 0)
    return weight * hurt * SURENESS.get(group.usual_confidence, UNSURENESS)


def _own_ends(watch: Watch) -> frozenset[tuple[str, int]]:
    """Addresses and ports that the probe itself used."""
    attempts = watch.probe.attempts if watch.probe else ()
    return frozenset((a.local_address, a.local_port) for a in attempts if a.local_port)


def _verdict(
    findings: tuple[Finding, ...], total: int, rest: Rest, totals: Totals, watch: Watch
) -> str:
    if not total:
        return nothing_words(totals, watch)
    if not findings and rest.count == rest.benign:
        many = f"{total:,} resets, all harmless" if total > 1 else "1 reset, harmless"
        return f"{many}: nothing needs to be changed."
    if not findings:
        return f"{total:,} resets of too many kinds to tell them apart."
    more = len(findings) - 1
    also = f"; {more} more finding{'s' if more > 1 else ''}" if more else ""
    return f"{findings[0].headline}{also}"
