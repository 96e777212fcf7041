"""A segment of a connection that this host does not know (rows P1, P2)."""

from __future__ import annotations

import errno

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    POSSIBLE,
    RECENT_NS,
    TRIGGER,
    Case,
    Finding,
    count_of,
    duration,
    reason_evidence,
)
from rsttrace.causes.rules._handshake import TIMESTAMPS, met_no_connection, timed_out
from rsttrace.packet import ACK, FIN, SYN, Packet
from rsttrace.records import History

CAUSE = "stale-connection"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("late-segment", "accept-queue-overflow", "ack-to-listener", "bad-syn")
# an echo of a connection that ended before the trace began comes within a few round trips
ECHO_NS = 2_000_000_000
# a Linux peer gives up its own retransmissions after about 15 min (tcp_retries2)
GIVE_UP_S = 1200


def rule(case: Case) -> Finding | None:
    """Data, ACK or FIN that matched no connection, and this is no echo of one that ended lately."""
    trigger = case.trigger
    if not trigger or not met_no_connection(case):
        return None
    if trigger.has(SYN) or not trigger.has(ACK):
        return None
    ended = _ended(case)
    if case.recent and not (ended and timed_out(ended)):
        return None
    # a probe or a repeated ACK of a live TCP has the timestamp option, a scanner's has none
    spoke = bool(trigger.length or trigger.has(FIN) or TIMESTAMPS in trigger.option_kinds)
    if ended and (spoke or case.recent):
        return _known(case, trigger, ended)
    return _unknown(case, trigger, spoke)


def _ended(case: Case) -> History | None:
    """The last connection with this tuple, if none was begun since."""
    history, shake = case.history, case.reset.handshake
    if not history or not history.closed:
        return None
    begun = max(shake.rx_ns, shake.tx_ns) if shake else 0
    return history if begun <= history.change_ns else None


def _known(case: Case, trigger: Packet, ended: History) -> Finding:
    ago = duration(case.seconds_since(ended.change_ns))
    seconds = case.seconds_since(ended.change_ns)
    if timed_out(ended):
        name = errno.errorcode.get(ended.errno, str(ended.errno))
        how = f"it timed out here {ago} before ({name}), and then no RST is sent"
    else:
        how = f"it ended here {ago} before"
    sure = timed_out(ended) and seconds < GIVE_UP_S
    return Finding(
        CERTAIN if sure else LIKELY,
        f"{case.remote} still uses a connection to {case.local} that is over: {how}.",
        (
            *_evidence(case, trigger),
            f"it had ended in {ended.old_state}",
            *(() if sure else ("or a later one with the same ports, begun with another host",)),
        ),
    )


def _unknown(case: Case, trigger: Packet, spoke: bool) -> Finding:
    young_ns = case.facts.watched_ns
    young = young_ns is not None and young_ns < RECENT_NS
    known = "no connection with these addresses and ports ended here within the last minute"
    if young:
        age = duration((young_ns or 0) / 1e9)
        known = f"none with these addresses and ports ended here in the {age} of this trace"
    others = case.facts.neighbours
    scan = bool(others and others.scan)
    doubt = not spoke or scan or (young and (young_ns or 0) < ECHO_NS)
    return Finding(
        POSSIBLE if doubt else LIKELY,
        f"{case.remote} still uses a connection that this host does not know (any more): "
        f"{_why(case)}.",
        (
            *_evidence(case, trigger),
            known,
            *_scan(trigger),
            *((f"this address tries many ports ({others.ports})",) if others and scan else ()),
        ),
    )


def _why(case: Case) -> str:
    """What listened, or listens, tells of a restart."""
    flow, table, now = case.reset.flow, case.facts.listeners, case.reset.time_ns
    listener = table.accepting(flow.netns, flow.local, flow.lport) if table else None
    if listener and 0 < listener.opened_ns <= now:
        ago = duration(case.seconds_since(listener.opened_ns))
        return f"{listener.name} began to listen {ago} before, so it was restarted, most likely"
    gone = table.closed_on_port(flow.netns, flow.lport, now) if table else None
    if not listener and gone:
        return f"{gone.name} stopped {duration(case.seconds_since(gone.closed_ns))} before"
    return "a restart, a time-out without goodbye, or a NAT or load balancer that moved it"


def _evidence(case: Case, trigger: Packet) -> tuple[str, ...]:
    listener = case.reset.state == "LISTEN"
    return (
        f"{trigger.flag_text} with {count_of(trigger.length, 'byte')} to {case.local}",
        "the port still listens, so the service is up" if listener else "no socket matched",
        *reason_evidence(case),
    )


def _scan(trigger: Packet) -> tuple[str, ...]:
    """Hand-made segments have no timestamps, but neither have those of some systems."""
    if trigger.length or TIMESTAMPS in trigger.option_kinds:
        return ()
    what, tool = ("FIN", "nmap -sM") if trigger.has(FIN) else ("bare ACK", "nmap -sA")
    return (f"a {what} without timestamps can also be a scan ({tool})",)
