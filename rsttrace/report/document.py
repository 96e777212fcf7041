"""The report as one JSON document (docs/report.md): null for what does not apply, never absent."""

from __future__ import annotations

from typing import Any

from rsttrace.causes import catalogue
from rsttrace.output import printable
from rsttrace.report.facts import effect_of
from rsttrace.report.findings import Finding, Report
from rsttrace.report.group import CONFIDENCES, NUMBERS, Group
from rsttrace.report.headline import here_words, service_words, there_words
from rsttrace.report.model import Attempt, Command, Probe, Watch
from rsttrace.report.tops import Tops
from rsttrace.sinks.jsonl import SCHEMA, completeness_object, reset_object, rfc3339

TOP = 10


def document_of(report: Report, wall_offset_ns: int) -> dict[str, Any]:
    """``wall_offset_ns``: CLOCK_REALTIME minus CLOCK_MONOTONIC."""
    watch = report.watch
    return {
        "schema": SCHEMA,
        "type": "report",
        "verdict": report.verdict,
        "harmful": bool(report.findings or report.rest.count > report.rest.benign),
        "watched": _watched(watch, wall_offset_ns),
        "incidents": report.incidents,
        "findings": [_finding(finding, wall_offset_ns) for finding in report.findings],
        "harmless": [_harmless(group, wall_offset_ns) for group in report.harmless],
        "rest": {"count": report.rest.count, "harmless": report.rest.benign},
        "problems": [printable(problem) for problem in report.problems],
        "missing": [{"fact": fact, "count": count} for fact, count in report.missing.items()],
        "completeness": completeness_object(report.totals.completeness),
        "counters": None if watch.counters is None else dict(watch.counters),
        "command": _command(watch.command),
        "probe": _probe(watch.probe),
        "lost": report.totals.lost,
    }


def _watched(watch: Watch, offset: int) -> dict[str, Any]:
    host = watch.host
    started_ns = host.get("started_ns")
    return {
        "what": printable(watch.what),
        "hostname": host.get("hostname"),
        "kernel": host.get("kernel"),
        "started": rfc3339(started_ns + offset) if started_ns else None,
        "seconds": round(watch.seconds, 3),
        "scoped": watch.scoped,
        "others": watch.others,
    }


def _finding(finding: Finding, offset: int) -> dict[str, Any]:
    group, verdict = finding.group, finding.group.example.verdict
    return {
        "rank": finding.rank,
        "headline": finding.headline,
        **_counts(group, offset),
        "confidence": group.confidence,
        "confidences": {word: group.confidences[word] for word in reversed(CONFIDENCES)},
        "summary": verdict.summary,
        "who": _who(group),
        "endpoints": _endpoints(group),
        "evidence": _evidence(group),
        "settings": dict(verdict.settings),
        "effect": effect_of(group) or None,
        "remedies": list(group.remedies),
        "missing": [fact for fact, _ in group.missing.most()],
        "example": reset_object(group.example, offset),
    }


def _harmless(group: Group, offset: int) -> dict[str, Any]:
    return {**_counts(group, offset), "who": _who(group)}


def _counts(group: Group, offset: int) -> dict[str, Any]:
    return {
        "cause": group.cause,
        "title": catalogue()[group.cause].title,
        "benign": group.harmless,
        "count": group.count,
        "received": group.received,
        "forwarded": group.forwarded,
        "echoes": group.echoes,
        "effects": group.effects,
        "ends": group.ends,
        "first": rfc3339(group.first_ns + offset),
        "last": rfc3339(group.last_ns + offset),
        "direction": group.example.reset.direction,
    }


def _who(group: Group) -> dict[str, Any]:
    return {
        "here": here_words(group),
        "there": there_words(group),
        "owners": _tops(group.owners, "process"),
        "actors": _tops(group.actors, "process"),
        "listeners": _tops(group.listeners, "process"),
        "receivers": _tops(group.receivers, "process"),
        "netns": {"inode": group.netns or None, "name": group.netns_name},
    }


def _endpoints(group: Group) -> dict[str, Any]:
    return {
        "service": service_words(group),
        "services": _tops(group.services, "endpoint"),
        "remotes": _tops(group.remotes, "address"),
        "remote_addresses": len(group.remotes.counts),
        "more_remotes": group.remotes.forgot,
    }


def _tops(tops: Tops, what: str) -> list[dict[str, Any]]:
    return [{what: text, "count": count} for text, count in tops.most(TOP)]


def _evidence(group: Group) -> dict[str, Any]:
    ranges = {
        name: {"min": group.numbers[name].low, "max": group.numbers[name].high}
        if name in group.numbers
        else None
        for name in (*NUMBERS, "queue_used", "queue_limit")
    }
    over = group.queue_over if "queue_used" in group.numbers else None
    return {**ranges, "queue_over": over, "exits": _tops(group.exits, "how")}


def _command(command: Command | None) -> dict[str, Any] | None:
    if command is None:
        return None
    ended = command.status is not None
    return {
        "argv": [printable(word) for word in command.argv],
        "pid": command.pid,
        "status": command.status if ended and (command.status or 0) >= 0 else None,
        "signal": -command.status if command.status and command.status < 0 else None,
        "seconds": round(command.seconds, 3),
        "processes": command.processes,
    }


def _probe(probe: Probe | None) -> dict[str, Any] | None:
    if probe is None:
        return None
    return {
        "target": printable(probe.target),
        "tls": probe.tls,
        "problem": printable(probe.problem) or None,
        "attempts": [_attempt(attempt) for attempt in probe.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "address": attempt.address,
        "port": attempt.port,
        "local_address": attempt.local_address or None,
        "local_port": attempt.local_port or None,
        "outcome": attempt.outcome,
        "when": attempt.when,
        "errno": attempt.errno,
        "connect_ms": attempt.connect_ms,
        "seconds": attempt.seconds,
        "received": attempt.received,
        "text": printable(attempt.text) or None,
    }
