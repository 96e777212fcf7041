"""A joined reset to a verdict. Pure: no clock, no /proc, no netlink."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from rsttrace.causes import Cause, catalogue
from rsttrace.causes.case import (
    CERTAIN,
    CLIENT,
    LIKELY,
    RECENT_NS,
    SERVER,
    UNKNOWN,
    Case,
    Finding,
    Sender,
)
from rsttrace.causes.kinds import PACKET, SOCKET, Fact, kind_of
from rsttrace.causes.rules import reset_suppressed, rules_for
from rsttrace.enrich import Facts
from rsttrace.enrich.place import Question
from rsttrace.model import BY_TCP, FORWARDED, NONE, RECEIVED, REJECTED, SENT, SUPPRESSED, Reset
from rsttrace.packet import ACK, SYN
from rsttrace.strays import NO_SOCKET

NO_CAUSE, NO_FACT = "unknown", "insufficient-data"
_BTF = (
    "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; rsttrace doctor tells what is missing here",
    "run rsttrace on the other end as well, if its kernel has BTF",
)


@dataclass(frozen=True)
class Verdict:
    """The answer: what happened, how sure it is, and what to do.

    ``sees``: what the application on the receiving end gets; of an abort without RST, the one
    on this end. ``missing``: the fact that
    would have decided, empty if none was missing. ``suppressed_cause``: why TCP made the RST
    that the own firewall dropped. ``settings``: sysctls that bear on the cause, by name, as the
    reset's namespace has them.
    """

    cause: str
    confidence: str
    summary: str
    evidence: tuple[str, ...]
    remedies: tuple[str, ...]
    benign: bool
    phase: str
    initiator: str
    errno: str | None
    log_term: str | None
    sees: str
    missing: str
    suppressed_cause: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Related:
    """The earlier reset, or abort, of the same connection at the same end."""

    id: int
    cause: str
    direction: str
    time_ns: int


@dataclass(frozen=True)
class Explained:
    """A reset with its facts and its verdict: what the sinks print.

    ``count``: it stands for so many equal ones. ``related``: the one it is an echo of.
    """

    reset: Reset
    facts: Facts
    verdict: Verdict
    count: int = 1
    related: Related | None = None


def sender_of(explained: Explained) -> Sender:
    """What the other end of the same RST must know of this one."""
    verdict, facts = explained.verdict, explained.facts
    process = facts.actor or facts.owner or facts.closer
    return Sender(
        verdict.cause,
        verdict.confidence,
        verdict.summary,
        verdict.benign,
        verdict.remedies,
        process.name if process else "",
    )


def explain(reset: Reset, facts: Facts, sender: Sender | None = None) -> Verdict:
    """Ask the rules in order; ``sender`` tells of the other end if that is on this host."""
    case = Case(reset, facts, sender)
    cause, finding = ask(case)
    if reset.direction == SUPPRESSED:
        finding = reset_suppressed.about(case, cause, finding)
        verdict = _verdict(case, catalogue()[reset_suppressed.CAUSE], finding)
        return replace(verdict, suppressed_cause=cause)
    return _verdict(case, catalogue()[cause], finding)


def ask(case: Case) -> tuple[str, Finding]:
    """The first rule that answers, by its cause.

    A rule that lacks a fact is passed over; what a later one finds is then at most likely,
    because the first might have fitted better.
    """
    lacking: list[Fact] = []
    for rule in rules_for(kind_of(case.reset)):
        lacks = [fact for fact in rule.needs if fact.lacks(case.reset)]
        lacking += [fact for fact in lacks if fact not in lacking]
        finding = None if lacks else rule.ask(case)
        if finding:
            finding = _capped(finding, lacking)
            return rule.cause, _left(case, _unread(case, _assumed(case, finding)))
    if lacking:
        return NO_FACT, _insufficient(case, lacking)
    return NO_CAUSE, _no_rule(case)


def _left(case: Case, finding: Finding) -> Finding:
    """A RST that was decided but not seen to leave may have been dropped by this host."""
    reset = case.reset
    by_tcp = reset.direction == SENT and reset.maker in BY_TCP
    if reset.wire or not by_tcp or finding.confidence != CERTAIN:
        return finding
    missing = finding.missing or "whether the RST left this host"
    return replace(finding, confidence=LIKELY, missing=missing)


def _assumed(case: Case, finding: Finding) -> Finding:
    """Kernels that give no reason: what closed before the trace may wait in FIN_WAIT2 (row P8)."""
    decided, watched = case.reset.decided, case.facts.watched_ns
    by_sight = decided and decided.inferred == NO_SOCKET and not decided.drop_reason
    if not by_sight or watched is None or watched >= RECENT_NS or finding.confidence != CERTAIN:
        return finding
    missing = "whether a connection that closed before the trace began still waits for its end"
    return replace(finding, confidence=LIKELY, missing=finding.missing or missing)


def _unread(case: Case, finding: Finding) -> Finding:
    """Without BTF neither socket nor packet is known: something else is never ruled out."""
    if not case.blind or finding.confidence not in (CERTAIN, LIKELY):
        return finding
    missing = PACKET.text if case.reset.direction == RECEIVED else SOCKET.text
    return replace(finding, confidence=LIKELY, missing=finding.missing or missing)


def _capped(finding: Finding, lacking: list[Fact]) -> Finding:
    if not lacking or finding.confidence != CERTAIN:
        return finding
    missing = finding.missing or lacking[0].text
    return replace(finding, confidence=LIKELY, missing=missing)


def _insufficient(case: Case, lacking: list[Fact]) -> Finding:
    """Name the missing fact in place of a guess."""
    missing = lacking[0].text
    why = " Records were lost at about this time." if case.reset.lossy else ""
    also = tuple(f"also missing: {fact.text}" for fact in lacking[1:])
    remedies = None
    if case.blind:
        why, remedies = " This kernel has no BTF, so it cannot be read.", _BTF
        also = (*_seen(case), *also)
    text = f"Cannot tell: {missing} is missing.{why}"
    return Finding(UNKNOWN, text, also, missing=missing, remedies=remedies)


def _no_rule(case: Case) -> Finding:
    seen = _seen(case)
    return Finding(UNKNOWN, f"No rule fits this reset. Seen: {'; '.join(seen[:4])}.", tuple(seen))


def _seen(case: Case) -> list[str]:
    """What there is to go by, for a person to judge."""
    reset = case.reset
    seen = []
    if reset.reason:
        seen.append(f"kernel reason {reset.reason}")
    if reset.drop_reason:
        seen.append(f"drop reason {reset.drop_reason}")
    if reset.state:
        seen.append(f"state {reset.state}")
    if case.trigger:
        seen.append(f"provoked by {case.trigger.flag_text}, {case.trigger.length} bytes")
    if reset.maker and not reset.maker.startswith("tcp"):
        seen.append(f"made by: {reset.maker}")
    if reset.frames:
        seen.append("stack: " + " < ".join(reset.frames[:6]))
    return seen


def _verdict(case: Case, cause: Cause, finding: Finding) -> Verdict:
    reset = case.reset
    initiator = finding.initiator or _initiator(case)
    usual = cause.sender_sees if reset.direction == NONE else cause.receiver_sees
    return Verdict(
        cause=cause.id,
        confidence=finding.confidence,
        summary=finding.summary,
        evidence=tuple(e for e in finding.evidence if e),
        remedies=_remedies(case, cause, finding),
        benign=_benign(case, cause, finding),
        phase=finding.phase or cause.phase,
        initiator=initiator,
        errno=errno_of(reset),
        log_term=_log_term(case, initiator),
        sees=finding.sees or usual,
        missing=finding.missing,
    )


def _remedies(case: Case, cause: Cause, finding: Finding) -> tuple[str, ...]:
    """The rule's own, else those of the end that reset, else the catalogue's."""
    if finding.remedies is not None:
        return finding.remedies
    if case.sender and case.sender.confidence != UNKNOWN and _same_incident(case, cause):
        return case.sender.remedies
    return cause.remedies


def _benign(case: Case, cause: Cause, finding: Finding) -> bool:
    """Harmless at the sender is harmless here."""
    if case.sender and case.sender.benign and _same_incident(case, cause):
        return True
    return cause.benign if finding.benign is None else finding.benign


def _same_incident(case: Case, cause: Cause) -> bool:
    """Was this end told by a RST that it believed, and is that understood?"""
    return case.reset.direction == RECEIVED and cause.id not in (NO_CAUSE, NO_FACT)


def role_of_local_end(case: Case) -> str | None:
    """``client`` or ``server``, by who opened the connection; None if that was not seen."""
    reset, history = case.reset, case.history
    if history and history.active:
        return CLIENT
    if (history and history.passive) or reset.state == "LISTEN":
        return SERVER
    if reset.state == "SYN_SENT":
        return CLIENT
    trigger = case.trigger
    if trigger and trigger.has(SYN):
        return CLIENT if trigger.has(ACK) else SERVER
    table, flow = case.facts.listeners, reset.flow
    if table and table.accepting(flow.netns, flow.local, flow.lport):
        return SERVER
    return None


def question_of(case: Case, wants: tuple[str, ...]) -> Question:
    """What to ask the host about the place of a reset.

    The port that this end or the other chose by chance is left out where no source needs it, so
    that one answer serves all clients of a server.
    """
    flow, wire = case.reset.flow, case.reset.wire
    exact = "conntrack" in wants or case.reset.direction == REJECTED
    role = None if exact else role_of_local_end(case)
    return Question(
        flow.netns,
        flow.family,
        flow.local,
        0 if role == CLIENT else flow.lport,
        flow.remote,
        0 if role == SERVER else flow.rport,
        wire.dev if wire and wire.dev else "",
        wants,
    )


def _initiator(case: Case) -> str:
    """Who reset the connection, in the words of a flow log."""
    if case.reset.direction == FORWARDED:
        return "unknown"
    role = role_of_local_end(case)
    if role is None:
        return "unknown"
    if case.sender and case.sender.cause == "firewall-reject":
        return "local-firewall"
    if case.reset.direction == RECEIVED and case.blind:
        return "unknown"  # a device in the path shows only in the packet
    if case.reset.direction in (RECEIVED, REJECTED):
        return SERVER if role == CLIENT else CLIENT
    return role


def _log_term(case: Case, initiator: str) -> str | None:
    """What a firewall or flow log in the path would have noted."""
    direction = case.reset.direction
    if direction in (NONE, SUPPRESSED):
        young = case.reset.state_before in ("SYN_SENT", "SYN_RECV")
        return "incomplete" if young else "aged-out"  # it never saw an end
    if direction == REJECTED:
        return None  # the connection, if there is one, lives on
    if initiator in (CLIENT, SERVER):
        return f"tcp-rst-from-{initiator}"
    return "not-applicable" if initiator == "local-firewall" else None


def _nobody_listens(reset: Reset) -> bool:
    """The application itself has closed, or never had the socket (rows A1, A2, A4)."""
    sock = reset.sock
    return reset.in_stack("__tcp_close", "tcp_close") or bool(sock and not sock.has_socket)


_CLOSING = ("FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK")
# tcp_reset(): sk_err by the state the RST was accepted in
_RECEIVED_ERRNO = {"SYN_SENT": "ECONNREFUSED", "CLOSE_WAIT": "EPIPE"}


def errno_of(reset: Reset) -> str | None:
    """What the application on this end gets, None if nobody is told."""
    sock = reset.sock
    if sock and sock.dead:
        return None
    if reset.direction in (SENT, SUPPRESSED) and _nobody_listens(reset):
        return None
    if reset.error and reset.error.errno:
        number = reset.error.errno
        return errno.errorcode.get(number, str(number))
    if reset.direction == RECEIVED and reset.judged and reset.judged.kind == "tcp_receive_reset":
        if sock is None and reset.judged.state in _CLOSING:
            return None  # perhaps nobody holds it any more
        return _RECEIVED_ERRNO.get(reset.judged.state or "", "ECONNRESET")
    if reset.direction in (SENT, SUPPRESSED):
        return _without_report(reset)
    return None


def _without_report(reset: Reset) -> str | None:
    """The same by the kernel's code: before 5.14 there is no inet_sk_error_report."""
    sock = reset.sock
    if reset.in_stack("tcp_abort"):
        return "ECONNABORTED"
    if reset.in_stack("tcp_keepalive_timer"):
        number = sock.err_soft if sock else 0
        return errno.errorcode.get(number, "ETIMEDOUT")
    if reset.in_stack("__inet_stream_connect") or (reset.unread_judgement and sock):
        return "ECONNRESET"
    return None
