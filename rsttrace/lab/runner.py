"""Run a lab under a live trace and judge: exactly the resets it promises, no more, no less."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import Any

from rsttrace.causes.case import CERTAIN, LIKELY, POSSIBLE
from rsttrace.explain import NO_FACT, Explained
from rsttrace.fold import HOLD_NS
from rsttrace.kernel.filters import Filter
from rsttrace.kernel.gaps import gaps_of
from rsttrace.lab.base import Expect, LabSpec
from rsttrace.lab.errors import LabError, LabSkip
from rsttrace.lab.net import Lab
from rsttrace.lab.topology import ADDRESSES
from rsttrace.matching import PATIENCE_NS
from rsttrace.model import BY_TCP, SENT, SUPPRESSED
from rsttrace.session import Session, in_order
from rsttrace.sinks.jsonl import reset_object

FAMILY_NAMES: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
LAB_PATIENCE_S = 10.0  # for a virtual machine without KVM a listing of rules is slow


@dataclass
class Outcome:
    """What a lab run showed. ``problems`` empty: right. ``skipped``: why it could not run.

    ``gaps``: what this kernel does not tell (kernel/gaps.py). Only where it has some, a verdict may
    say less than promised, with the fact that was missing: ``weaker`` holds these.
    """

    spec: LabSpec
    family: int
    explained: list[Explained] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    weaker: list[str] = field(default_factory=list)
    gaps: tuple[str, ...] = ()
    skipped: str = ""
    out_rsts: int = 0

    @property
    def name(self) -> str:
        """``closed-port IPv4``."""
        return f"{self.spec.name} {FAMILY_NAMES[self.family]}"

    @property
    def verdict(self) -> str:
        """``right``, ``weaker``, ``WRONG`` or ``skipped``."""
        if self.skipped:
            return "skipped"
        if self.problems:
            return "WRONG"
        return "weaker" if self.weaker else "right"


def only_labs() -> Filter:
    """The addresses of the labs: what else happens on a busy host is not their matter."""
    return Filter(addresses=tuple(sorted(ADDRESSES)))


def refusal(spec: LabSpec) -> str:
    """Why a lab is only run when asked for by ``--change-global-limits``; empty: no reason."""
    if not spec.global_limit:
        return ""
    return (
        f"it changes {spec.global_limit} of the whole host for a moment, which may reset other "
        "connections; --change-global-limits runs it, best in a virtual machine"
    )


def run_lab(
    session: Session,
    spec: LabSpec,
    family: int,
    surroundings: type[Lab] = Lab,
    change_global_limits: bool = False,
) -> Outcome:
    """Run one lab in one family; KeyboardInterrupt leaves nothing behind."""
    outcome = Outcome(spec, family)
    if not change_global_limits and (reason := refusal(spec)):
        outcome.skipped = reason
        return outcome
    try:
        with surroundings(family, spec.topology) as lab:
            # new namespaces may have the inode numbers, and have the addresses, of those before
            session.pipeline.forget_neighbours()
            before, lost, began = lab.tcp_out_rsts(), session.lost, time.monotonic_ns()
            spec.run(lab)
            outcome.out_rsts = lab.tcp_out_rsts() - before
            ends = {inode: end for end, inode in lab.netns.items()}
            # a namespace may have the inode number of one that is gone
            outcome.explained = in_order(
                e
                for e in settle(session)
                if e.reset.flow.netns in ends and e.reset.time_ns >= began
            )
    except LabSkip as err:
        outcome.skipped = err.message
        return outcome
    except (LabError, OSError) as err:  # OSError: of a socket call of the lab
        outcome.problems.append(str(err))
        return outcome
    outcome.gaps = gaps_of(session.kernel.features)
    outcome.problems = judge(outcome, ends)
    if session.lost > lost:
        outcome.problems.append(f"{session.lost - lost} records were lost: is this host busy?")
    return outcome


def settle(session: Session) -> list[Explained]:
    """Everything that happened until now, explained: poll until the join has given it up.

    A poll speaks for the time at which it began, and may take long on a busy host.
    """
    until = time.monotonic_ns() + PATIENCE_NS + 20_000_000
    found: list[Explained] = []
    began = 0
    while began < until or (session.pipeline.busy and began < until + HOLD_NS):
        began = time.monotonic_ns()
        found += session.poll(20)
    return found


def judge(outcome: Outcome, ends: dict[int, str]) -> list[str]:
    """Differences between what the lab promised and what was explained."""
    problems = []
    left = [(e, ends[e.reset.flow.netns]) for e in outcome.explained]
    lacking = []
    for expected in outcome.spec.expect:
        match = next((pair for pair in left if not differences(expected, *pair)), None)
        match = match or _weaker(outcome, expected, left)
        if match:
            left.remove(match)
        else:
            lacking.append(expected)
    for expected in lacking:
        if _no_wonder(outcome, expected, left):
            continue
        near = next((p for p in left if p[1] == expected.end), None)
        why = f": {'; '.join(differences(expected, *near))}" if near else ""
        problems.append(
            f"expected {expected.direction} {expected.cause} at the {expected.end}, not seen{why}"
        )
    problems += [
        f"not expected: {e.reset.direction} {e.verdict.cause} at the {end}" for e, end in left
    ]
    by_tcp = sum(
        e.count * (e.reset.direction in (SENT, SUPPRESSED) and e.reset.maker in BY_TCP)
        for e in outcome.explained
    )
    if by_tcp < outcome.out_rsts and "unseen-strays" in outcome.gaps:
        outcome.weaker.append(f"TcpOutRsts is {outcome.out_rsts}, explained: {by_tcp}")
    elif by_tcp != outcome.out_rsts:
        problems.append(f"the kernel counted {outcome.out_rsts} TcpOutRsts, explained: {by_tcp}")
    return problems


def _weaker(
    outcome: Outcome, expected: Expect, left: list[tuple[Explained, str]]
) -> tuple[Explained, str] | None:
    """One that says less than promised, on a kernel that does not tell all, and why it does."""
    alike = sorted(left, key=lambda pair: _unlike(expected, pair[0]))
    for explained, end in alike if outcome.gaps else ():
        verdict, direction = explained.verdict, explained.reset.direction
        silent = verdict.cause == NO_FACT
        honest = verdict.missing and verdict.confidence != CERTAIN
        if end != expected.end or not honest or (expected.confidence != CERTAIN and not silent):
            continue
        if silent or (verdict.cause == expected.cause and direction == expected.direction):
            outcome.weaker.append(
                f"{direction} {expected.cause} at the {end}: {verdict.cause}, "
                f"{verdict.confidence}; missing: {verdict.missing}"
            )
            return explained, end
    return None


def _unlike(expected: Expect, explained: Explained) -> tuple[bool, bool]:
    """Small for one that is likely to be what was promised."""
    verdict = explained.verdict
    return verdict.cause != expected.cause, explained.reset.direction != expected.direction


def _no_wonder(outcome: Outcome, expected: Expect, left: list[tuple[Explained, str]]) -> bool:
    """Without BTF packets are not seen: neither are resets that only they tell of, and others are
    guessed at.
    """
    if "btf" not in outcome.gaps:
        return False
    here = [pair for pair in left if pair[1] == expected.end]
    guess = next((pair for pair in here if _is_guess(expected, pair[0])), None)
    if guess:
        left.remove(guess)
    verdict = guess[0].verdict if guess else None
    said = f"{verdict.cause}, {verdict.confidence}; missing: {verdict.missing}" if verdict else ""
    outcome.weaker.append(
        f"{expected.direction} {expected.cause} at the {expected.end}: {said or 'not seen'}"
    )
    return True


def _is_guess(expected: Expect, explained: Explained) -> bool:
    verdict = explained.verdict
    unsure = (POSSIBLE, LIKELY) if verdict.cause == expected.cause else (POSSIBLE,)
    return bool(verdict.missing) and verdict.confidence in unsure


def differences(expected: Expect, explained: Explained, end: str) -> list[str]:
    """How an explained reset differs from an expected one."""
    got = reset_object(explained, 0)
    wanted: dict[str, Any] = {
        "direction": expected.direction,
        "cause": expected.cause,
        "confidence": expected.confidence,
        **expected.facts,
    }
    if expected.state is not None:
        wanted["state"] = expected.state
    found = [
        f"{path} is {value!r}, not {want!r}"
        for path, want in wanted.items()
        if (value := look_up(got, path)) != want
    ]
    told = "\n".join((got["summary"], *got["remedies"]))
    found += [f"nothing is said of {word!r}" for word in expected.says if word not in told]
    return found if end == expected.end else [f"at the {end}", *found]


def look_up(tree: Any, path: str) -> Any:
    """``socket.unread_bytes`` in nested dictionaries; None if a part is missing."""
    for part in path.split("."):
        if not isinstance(tree, dict):
            return None
        tree = tree.get(part)
    return tree
