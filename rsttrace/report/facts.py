"""What a group's resets have in common, as sentences for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rsttrace.causes.case import count_of, duration
from rsttrace.report.ends import THROUGH
from rsttrace.report.group import CONFIDENCES, Group
from rsttrace.report.headline import all_dropped, names, service_words
from rsttrace.report.tops import Range, Tops

TOP = 3
PLAIN = ("peer-reset", "connection-refused", "reset-no-socket")  # of a RST that came in
SHORTEST_IDLE_S = 1.0
_BETWEEN = re.compile(r"[,;()]|:(?=\s)")
DROPPED = "reset-suppressed"  # told by the end that a RST did not reach
DROPPED_THERE = "dropped by the firewall before it arrived"
HOST = "host"  # the namespace that this host began with


def says_again(text: str, before: str) -> bool:
    """Is every part of a text in one that was read before?"""
    parts = filter(None, (part.strip(" .") for part in _BETWEEN.split(text)))
    return all(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", before, re.I) for part in parts)


def who_words(group: Group, where: str) -> str:
    """The processes at this end, the service, the namespace (``where``)."""
    parts = []
    if actors := names(group.actors):
        parts.append(actors)
    if (owners := names(group.owners)) and owners != names(group.actors):
        parts.append(f"owner {owners}" if parts else owners)
    if not parts and (listeners := names(group.listeners)):
        parts.append(f"{listeners} listens there")
    if len(group.owners.counts) > 1:
        parts.append(listed(group.owners))
    what = "service " if group.services.only else ""
    parts.append(f"{what}{service_words(group)}")
    if not group.services.only:
        parts.append(listed(group.services))
    if where and where != HOST:
        parts.append(f"network namespace {where}")
    return "; ".join(filter(None, parts))


def other_end(group: Group) -> Iterator[str]:
    """Which addresses, and who on this host got it."""
    if group.remotes.only:
        yield group.remotes.only
    elif group.remotes:
        yield f"{group.remotes.how_many} addresses: {listed(group.remotes)}"
    if group.received:
        got = names(group.receivers) or "another end"
        if dropped := group.told_there.counts[DROPPED]:
            yield f"{DROPPED_THERE}, on this host{_times(dropped, group.count)}"
        if arrived := group.received - dropped:
            yield f"received by {got}, on this host{_times(arrived, group.count)}"
        if group.unharmed:
            yield f"it did no harm there{_times(group.unharmed, group.count)}"
        if telling := told_there(group):
            yield f"there the same reset looks like {' or '.join(telling)}"
    if group.forwarded and group.act != THROUGH:
        yield "passed on by another network namespace of this host"


def effect_of(group: Group) -> str:
    """What the application at the other end gets, or at this one if the reset came here."""
    if all_dropped(group):
        return "nothing: it waits until it times out, if it waits for anything"
    return " ".join(group.example.verdict.sees.split())


def told_there(group: Group) -> list[str]:
    """What the other end, on this host, makes of it, where that says more than that it came."""
    return [cause for cause, _ in group.told_there.most(TOP) if cause not in PLAIN]


def listed(tops: Tops) -> str:
    """``10.0.0.9 (200), 10.0.0.8 (100) ...``."""
    text = ", ".join(f"{name} ({count:,})" for name, count in tops.most(TOP))
    return f"{text} ..." if len(tops.counts) > TOP or tops.forgot else text


def sureness(group: Group) -> str:
    """``300 of 312 certain, 12 likely``, if they differ; how sure all are, the headline says."""
    kinds = [word for word in reversed(CONFIDENCES) if group.confidences[word]]
    if len(kinds) == 1:
        return ""
    first, *others = (f"{group.confidences[word]:,}" for word in kinds)
    rest = "".join(f", {n} {word}" for n, word in zip(others, kinds[1:]))
    return f"{first} of {group.count:,} {kinds[0]}{rest}"


def evidence_of(group: Group) -> Iterator[str]:
    """How sure, and the numbers of all, from small to large."""
    ranges = group.numbers
    yield sureness(group)
    if "queue_used" in ranges:
        yield _queue(group)
    if found := ranges.get("unread_bytes"):
        yield _bytes(found, "received but not read")
    if found := ranges.get("unacked_bytes"):
        yield _bytes(found, "sent but not acknowledged")
    if found := ranges.get("retransmits"):
        yield _plain(found, "retransmission", " without an answer")
    if found := ranges.get("keepalive_probes"):
        yield _plain(found, "probe", " without an answer")
    if (found := ranges.get("idle_s")) and found.high >= SHORTEST_IDLE_S:
        yield f"silent before for {_spans(found)}"
    yield from single_evidence_of(group)


def single_evidence_of(group: Group) -> Iterator[str]:
    """What no verdict says of itself: age, how the process ended, what followed."""
    if found := group.numbers.get("age_s"):
        yield f"age of the connection: {_spans(found)}"
    if group.exits:
        yield f"the process {group.exits.only or listed(group.exits)}"
    yield from _followers(group)


def _followers(group: Group) -> Iterator[str]:
    if group.echoes:
        noun = "echo" if group.echoes == 1 else "echoes"
        yield f"and {group.echoes:,} {noun}: segments still under way drew more resets"
    if group.effects:
        what = "reset or time-out" if group.effects == 1 else "resets or time-outs"
        yield f"and {group.effects:,} more {what} as a consequence"


def _queue(group: Group) -> str:
    used, limit = group.numbers["queue_used"], group.numbers["queue_limit"]
    limits = f"{limit.high:,.0f}" if limit.low == limit.high else _numbers(limit)
    text = f"accept queue (connections that wait for accept()): {_numbers(used)}, limit {limits}"
    return f"{text}; over the limit {group.queue_over:,} of {count_of(group.count, 'time')}"


def _numbers(found: Range) -> str:
    low, high = f"{found.low:,.0f}", f"{found.high:,.0f}"
    return low if low == high else f"{low} to {high}"


def _spans(found: Range) -> str:
    low, high = duration(found.low), duration(found.high)
    return low if low == high else f"{low} to {high}"


def _bytes(found: Range, what: str) -> str:
    if not found.high:
        return ""
    return f"{_numbers(found)} byte{'' if found.high == found.low == 1 else 's'} {what}"


def _plain(found: Range, noun: str, end: str) -> str:
    if not found.high:
        return ""
    return f"{_numbers(found)} {noun}{'' if found.high == 1 else 's'}{end}"


def _times(number: int, count: int) -> str:
    return "" if number == 1 == count else f" ({number:,} of {count:,})"
