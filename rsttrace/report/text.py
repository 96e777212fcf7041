"""The report for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from rsttrace.causes import catalogue
from rsttrace.causes.case import count_of
from rsttrace.model import NONE, RECEIVED, REJECTED
from rsttrace.report.counters import GLOSSES, bearing_on, hints
from rsttrace.report.ends import OUT
from rsttrace.report.facts import (
    effect_of,
    evidence_of,
    other_end,
    says_again,
    single_evidence_of,
    told_there,
    who_words,
)
from rsttrace.report.findings import NOT_KNOWN, Finding, Report
from rsttrace.report.group import Group
from rsttrace.report.headline import here_words, nouns, unsure_of
from rsttrace.report.page import Page
from rsttrace.report.watched import attempt_words, command_words, host_words, others_words
from rsttrace.sinks import words
from rsttrace.sinks.diagram import diagram

IN_FULL = 5  # findings; of more only the headline is told, unless verbose
EVIDENCE, SETTINGS, COUNTERS = 4, 8, 6
REMEDIES, MOST_REMEDIES = 4, 6  # those of this host may be more, the catalogue's not
ORDINARY = ("TcpActiveOpens", "TcpPassiveOpens")  # rise on any host at any time
ROOM = 120  # characters for the effect
_CLAUSE = re.compile(r"[.;](?= )")
_HEAD = re.compile(r"[:(]")


def text_of(report: Report, width: int, colour: bool, verbose: bool, wall_offset_ns: int) -> str:
    """All of it; the verdict is the first line."""
    page = Page(width, colour)
    clock = words.wall_clock(wall_offset_ns)
    page.say(report.verdict, _tone(report))
    page.gap()
    _watched(page, report)
    for finding in report.findings:
        page.gap()
        _heading(page, finding, len(report.findings) == 1)
        _finding(page, finding, clock, verbose or finding.rank <= IN_FULL, verbose)
    page.gap()
    _harmless(page, report)
    page.gap()
    _not_shown(page, report, verbose)
    _cross_check(page, report, verbose)
    if report.watch.others and report.incidents:  # else the first line says it
        page.gap()
        page.say(others_words(report.watch))
    return page.text


def _tone(report: Report) -> str:
    if not report.findings:
        return "benign"
    return "unknown" if report.findings[0].group.cause in NOT_KNOWN else "harm"


def _watched(page: Page, report: Report) -> None:
    watch = report.watch
    page.say(host_words(watch), first="Watched: ")
    if watch.command:
        page.say(command_words(watch.command), first="Command: ")
    if watch.probe:
        for attempt in watch.probe.attempts:
            page.say(attempt_words(attempt), first="Tried:   ")
        if watch.probe.problem:
            page.say(watch.probe.problem, first="Tried:   ")


# -- one finding -----------------------------------------------------------------------------------


def _finding(page: Page, finding: Finding, clock: words.Clock, full: bool, verbose: bool) -> None:
    group, verdict = finding.group, finding.group.example.verdict
    if not full:
        page.remedies(group.remedies[:1])
        return
    page.gap()
    if not says_again(verdict.summary, finding.headline):
        page.say(f"{'For example: ' if group.count > 1 else ''}{verdict.summary}", indent=3)
        page.gap()
    page.labelled("When", [_when(group, clock)])
    page.labelled("Who", [who_words(group, finding.where)])
    page.labelled("Peer", other_end(group))
    page.labelled("Evidence", _evidence(group, verbose))
    page.labelled("Settings", [f"{n} = {v}" for n, v in verdict.settings[:SETTINGS]])
    page.labelled("Effect", [_effect(group, verbose)])
    page.labelled("Missing", [_counted(*item) for item in group.missing.most(EVIDENCE)])
    if group.remedies:
        page.gap()
        page.say("What to change:", indent=3)
        page.remedies(group.remedies if verbose else _first_remedies(group))
    page.gap()
    _example(page, group, clock, verbose)
    causes = dict.fromkeys((group.cause, *told_there(group)))
    page.labelled("More", [f"rsttrace explain {cause}" for cause in causes])


def _first_remedies(group: Group) -> list[str]:
    """The first few. What everybody is told never takes the place of what fits this host."""
    general = set(catalogue()[group.cause].remedies)
    found = group.remedies
    room = max(0, REMEDIES - sum(text not in general for text in found))
    kept = [text for text in found if text in general][:room]
    return [text for text in found if text in kept or text not in general][:MOST_REMEDIES]


def _heading(page: Page, finding: Finding, alone: bool) -> None:
    """Its headline; that of a single finding was told in the first line."""
    group = finding.group
    tone = "unknown" if group.cause in NOT_KNOWN else "harm"
    text = finding.headline
    if alone:
        text = f"{unsure_of(group).capitalize()}{group.cause}: {catalogue()[group.cause].title}"
    page.say(text, tone, first=f"{finding.rank}. ")


def _evidence(group: Group, verbose: bool) -> list[str]:
    """What all have in common; of a single one, what its verdict rests on."""
    if group.count > 1:
        return list(evidence_of(group))
    told = _told(group, verbose)
    more = [fact for fact in single_evidence_of(group) if fact not in "\n".join(told)]
    return [*told, *more]


def _told(group: Group, verbose: bool) -> list[str]:
    """What the example's verdict rests on; ``who_words`` has named the namespace."""
    verdict = group.example.verdict
    told = [fact for fact in verdict.evidence if not fact.startswith("network namespace ")]
    if verbose:
        return told
    found = [fact for fact in told if not says_again(fact, verdict.summary)]
    # the application's own call is worth more than what the kernel did then
    return sorted(found, key=lambda fact: not fact.startswith("called by "))[:EVIDENCE]


def _when(group: Group, clock: words.Clock) -> str:
    first, last = (_at(group, ns, clock) for ns in (group.first_ns, group.last_ns))
    if group.count == 1:
        return first
    times = f"{group.count:,} times"
    return f"{times}, at {first}" if first == last else f"{times}, from {first} to {last}"


def _at(group: Group, time_ns: int, clock: words.Clock) -> str:
    """``clock`` tells the time of a reset."""
    example = group.example
    return clock(replace(example, reset=replace(example.reset, time_ns=time_ns)))


def _effect(group: Group, verbose: bool) -> str:
    """What the application there gets; as many whole clauses as fit on two lines."""
    sees = effect_of(group)
    ends = [m.start() for m in _CLAUSE.finditer(sees) if m.start() <= ROOM]
    if len(sees) > ROOM and ends and not verbose:
        sees = sees[: ends[-1]]
    if sees[1:2].islower():
        sees = sees[0].lower() + sees[1:]
    here = group.example.reset.direction in (RECEIVED, REJECTED, NONE)
    return f"{'at this end' if here else 'at the other end'}: {sees}" if sees else ""


def _example(page: Page, group: Group, clock: words.Clock, verbose: bool) -> None:
    example = group.example
    plain = replace(example, count=1)
    rows = diagram(plain, page.room)
    if group.count > 1:  # of a single one all of this has been said
        page.say(f"Example: {clock(example)}, {words.arrow(example)}", indent=3)
        common = list(evidence_of(group))
        for fact in _told(group, verbose):
            if verbose or not any(says_again(_HEAD.split(fact)[0], one) for one in common):
                page.say(fact, first="- ", indent=5)
    page.drawn(rows)
    if verbose:
        page.labelled("kernel", [words.kernel_words(example)])
        page.labelled("trigger", [words.trigger_words(example)])
        page.labelled("packet", [words.packet_words(example)])
        page.labelled("socket", [words.socket_words(example)])
    page.gap()


# -- the rest --------------------------------------------------------------------------------------


def _harmless(page: Page, report: Report) -> None:
    kinds: dict[str, list[Group]] = {}
    for group in report.harmless:
        kinds.setdefault(group.cause, []).append(group)
    if not kinds:
        return
    listed = ", ".join(sorted(map(_kind, kinds.values()), key=_first_number, reverse=True))
    also = "Also harmless" if report.findings else "Harmless"
    end = " Nothing needs to be changed for these." if report.findings else ""
    page.say(f"{also}: {listed}.{end}", "benign")


def _kind(groups: list[Group]) -> str:
    """``12 intended resets (linger-zero) by haproxy[1432]``: the harmless ones of one cause."""
    text = nouns(groups[0].cause, sum(group.count for group in groups))
    if not groups[0].benign:  # by what became of it
        text += f" ({groups[0].cause})"
    doers = {words for group in groups if "[" in (words := here_words(group))}
    return f"{text} by {doers.pop()}" if len(doers) == 1 and groups[0].act == OUT else text


def _first_number(text: str) -> int:
    return int(text.split(" ", 1)[0].replace(",", ""))


def _not_shown(page: Page, report: Report, verbose: bool) -> None:
    lines = list(_gaps(report))
    if not verbose:
        lines += _facts_of(report.findings[IN_FULL:])
    if not lines:
        return
    page.say("Not shown:")
    for line in lines:
        page.say(line, first="- ", indent=2)
    page.gap()


def _gaps(report: Report) -> Iterator[str]:
    rest, lost = report.rest, report.totals.lost
    if rest.count:
        yield (
            f"{count_of(rest.count, 'reset')} ({rest.benign:,} harmless) of more kinds than this "
            "report can hold; narrow the watch (port, process) to see them."
        )
    if lost:
        yield (
            f"{count_of(lost, 'record')} of the kernel got lost in a flood: verdicts of that time "
            "may lack facts, and some resets may not be told. Narrow the watch, or watch again."
        )
    yield from report.problems


def _facts_of(findings: tuple[Finding, ...]) -> Iterator[str]:
    """Facts that verdicts lack; of those told in full they are said there."""
    facts = Counter[str]()
    for finding in findings:
        facts.update(finding.group.missing.counts)
    for fact, count in facts.most_common(EVIDENCE):
        yield _counted(fact, count)


def _counted(fact: str, count: int) -> str:
    return f"{fact} ({count_of(count, 'reset')})" if count > 1 else fact


def _cross_check(page: Page, report: Report, verbose: bool) -> None:
    done, rose = report.totals.completeness, report.watch.counters
    if done:
        page.say(done.sentence, "harm" if done.differs else "", first="Cross-check: ")
    if not rose:
        return
    for hint in hints(rose) if report.findings else ():
        page.say(hint)
    causes = [finding.group.cause for finding in report.findings]
    mine, others = bearing_on([*causes, *(g.cause for g in report.harmless)], rose)
    if not verbose:
        others = [name for name in others if name not in ORDINARY][: max(0, COUNTERS - len(mine))]
    shown = [*mine, *others]
    if not shown:
        return
    page.say("The kernel's counters that rose meanwhile (rsttrace explain NAME):")
    for row in _table({name: rose[name] for name in shown}):
        page.drawn([row])


def _table(rose: Mapping[str, int]) -> Iterator[str]:
    wide = max(map(len, rose))
    numbers = max(len(f"+{by:,}") for by in rose.values())
    for name, by in rose.items():
        gloss = GLOSSES.get(name, "")
        yield f"{name:{wide}}  {f'+{by:,}':>{numbers}}  {gloss}".rstrip()
