"""Words for what was watched: the host, a command, a probe; and for a watch that saw nothing."""

from __future__ import annotations

import shlex
import signal
import textwrap
from collections import Counter
from pathlib import PurePosixPath

from rsttrace.causes.case import count_of
from rsttrace.output import printable
from rsttrace.report.counters import hints
from rsttrace.report.model import Attempt, Command, Probe, Watch
from rsttrace.sinks.totals import Totals

EVERYTHING = "this host"
LONGEST = 140  # characters of a command
OUTCOMES = {
    "connected": "connected, and nothing happened until the end",
    "refused": "refused the connection",
    "reset": "reset the connection",
    "closed": "closed the connection in the ordinary way",
    "timeout": "did not answer in time",
    "unreachable": "could not be reached",
    "tls-ok": "connected, and the TLS handshake was fine",
    "tls-failed": "connected, but the TLS handshake failed",
    "answered": "connected and sent data",
    "error": "could not be tried",
}
BRIEFLY = {
    "connected": "connected",
    "refused": "refused",
    "reset": "reset",
    "closed": "closed in the ordinary way",
    "timeout": "without an answer",
    "unreachable": "unreachable",
    "tls-ok": "with TLS fine",
    "tls-failed": "with TLS failed",
    "answered": "answered",
    "error": "in error",
}
ABRUPT = ("refused", "reset")  # by a RST, mostly


def span_words(seconds: float) -> str:
    """``30 s``, ``1.2 s``, ``12 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def host_words(watch: Watch) -> str:
    """``this host (web1, Linux 6.1.0) for 30 s``."""
    host = watch.host
    known = [str(host[key]) for key in ("hostname",) if host.get(key)]
    known += [f"Linux {host['kernel']}"] if host.get("kernel") else []
    where = f" ({', '.join(known)})" if known else ""
    took = f" for {span_words(watch.seconds)}" if watch.seconds else ""
    return printable(f"{watch.what}{where}{took}")


def ended_words(status: int | None) -> str:
    """How a command ended, for a sentence."""
    if status is None:
        return "was still running"
    if status >= 0:
        return f"ended with status {status}" if status else "ended well (status 0)"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def command_words(command: Command) -> str:
    """``curl -s 'http://...': ended with status 56 after 1.2 s; 3 processes``."""
    text = " ".join(shlex.join(command.argv).split())
    text = textwrap.shorten(text, LONGEST, placeholder=" ...") if len(text) > LONGEST else text
    several = f"; {command.processes:,} processes" if command.processes > 1 else ""
    after = f" after {span_words(command.seconds)}{several}"
    return printable(f"{text}: {ended_words(command.status)}{after}")


def attempt_words(attempt: Attempt) -> str:
    """What became of one connection that was tried."""
    said = OUTCOMES.get(attempt.outcome, attempt.outcome)
    text = f": {attempt.text}" if attempt.text else f" {said}"
    told = f" ({attempt.errno})" if attempt.errno and attempt.errno not in text else ""
    where = f"[{attempt.address}]" if ":" in attempt.address else attempt.address
    return printable(f"{where}:{attempt.port}{text.rstrip('.')}{told}")


def others_words(watch: Watch) -> str:
    """``8 other resets on this host, not part of this.``"""
    return f"{count_of(watch.others, 'other reset')} on this host, not part of this."


def nothing_words(totals: Totals, watch: Watch) -> str:
    """The first line of a report without any reset, and what that means."""
    lost = ""
    if totals.lost:
        lost = f" {count_of(totals.lost, 'record')} were lost, so one may have been missed."
    lost += "".join(f" {hint}" for hint in hints(watch.counters))
    others = f" {others_words(watch)}" if watch.others else ""
    if watch.probe:
        return printable(_probe_words(watch.probe) + lost)
    if watch.command:
        name = PurePosixPath(watch.command.argv[0]).name if watch.command.argv else "the command"
        end = ended_words(watch.command.status)
        return printable(f"{name} {end}; none of its connections was reset.{others}{lost}")
    of = "" if watch.what == EVERYTHING else f" of {watch.what}"
    took = f" in {span_words(watch.seconds)}" if watch.seconds else ""
    return printable(f"No TCP reset{of}{took}.{_counted(totals)}{others}{lost}")


def _counted(totals: Totals) -> str:
    """What the kernel says to that."""
    done = totals.completeness
    if done is None or done.counted is None:
        return ""
    if not done.counted:
        return " The kernel counted none either (TcpOutRsts)."
    verb = "it" if done.counted == 1 else "they"
    return f" But the kernel counted {done.counted:,} sent (TcpOutRsts): {verb} went unseen."


def _probe_words(probe: Probe) -> str:
    if probe.problem:
        return f"{probe.target} could not be tried: {probe.problem.rstrip('.')}."
    if not probe.attempts:
        return f"{probe.target} was not tried."
    outcomes = Counter(attempt.outcome for attempt in probe.attempts)
    if len(outcomes) == 1:
        (outcome,) = outcomes
        text = f"{probe.target} {OUTCOMES.get(outcome, outcome)}"
        text += f" ({len(probe.attempts)} attempts)" if len(probe.attempts) > 1 else ""
    else:
        parts = [
            f"{count} {BRIEFLY.get(outcome, outcome)}" for outcome, count in outcomes.most_common()
        ]
        text = f"{probe.target}: {len(probe.attempts)} attempts, {', '.join(parts)}"
    abrupt = any(outcome in ABRUPT for outcome in outcomes)
    return f"{text}; {'but no reset was seen' if abrupt else 'nothing was reset'}."
