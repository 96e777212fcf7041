"""A SYN where none may be, or flags that no TCP sends (rows P1, P2, P4, P8)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    TRIGGER,
    Case,
    Finding,
    duration,
    name_of,
    reason_evidence,
)
from rsttrace.causes.rules._handshake import met_no_connection
from rsttrace.causes.rules._refused import STILL_THERE, told_by_kernel
from rsttrace.packet import ACK, FIN, SYN, Packet

CAUSE = "bad-syn"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("closed-port", "fastopen-reset")

_SCANS = {0: "nmap -sN", FIN: "nmap -sF"}


def rule(case: Case) -> Finding | None:
    """A second SYN in a half-open or half-closed connection, or impossible flags anywhere."""
    trigger, reset = case.trigger, case.reset
    if not case.passive or not trigger:
        return None
    if reset.state == "LISTEN" and reset.in_stack("tcp_check_req"):
        return _half_open(case, trigger) if trigger.has(SYN) else None
    decided = reset.decided
    if decided and decided.tw_substate == "FIN_WAIT2":
        return _half_closed(case, trigger) if trigger.has(SYN) else None
    return _scan(case, trigger) if met_no_connection(case) and impossible(trigger) else None


def impossible(trigger: Packet) -> bool:
    """SYN with FIN, or, without SYN, no ACK (RFC 9293 3.10.7.4: all but the first have one)."""
    return trigger.has(FIN) if trigger.has(SYN) else not trigger.has(ACK)


def _half_open(case: Case, trigger: Packet) -> Finding:
    """tcp_check_req(): row P4."""
    return Finding(
        CERTAIN,
        f"{case.remote} sent a second {trigger.flag_text} with another number while it was opening "
        f"a connection to {case.local}: a client that tries again from the same port, two clients "
        "behind one NAT, or a forgery. The kernel refused it and dropped the first as well.",
        (
            f"{trigger.flag_text} within the window of a half-open connection",
            case.stack_evidence("tcp_check_req", "tcp_v4_rcv", "tcp_v6_rcv"),
            *reason_evidence(case),
        ),
    )


def _half_closed(case: Case, trigger: Packet) -> Finding:
    """tcp_timewait_state_process(): row P8."""
    closer = name_of(case.facts.closer, "the application here")
    recent = case.recent
    ago = f" {duration(case.seconds_since(recent.change_ns))} before" if recent else ""
    decided = case.reset.decided
    sure = bool(decided and told_by_kernel(decided))
    return Finding(
        CERTAIN if sure else LIKELY,
        f"{case.remote} wants to open a connection, but {closer} had closed one with the same "
        f"ports{ago} and still waits for the end of the other side (FIN_WAIT2). The kernel refused "
        "the new one and dropped the old.",
        (f"{trigger.flag_text} met an entry in FIN_WAIT2", *reason_evidence(case)),
        remedies=(
            "the next attempt works: the old entry is gone now",
            "client: do not bind a fixed source port; close connections before the process ends",
        ),
        missing="" if sure else STILL_THERE,
    )


def _scan(case: Case, trigger: Packet) -> Finding:
    """No socket, or only a listener."""
    tool = _SCANS.get(trigger.flags, "nmap -sX" if not trigger.has(SYN) else "")
    where = "only a listener has that port" if case.reset.state == "LISTEN" else "no socket matched"
    return Finding(
        CERTAIN,
        f"{case.remote} sent {_flags(trigger)} to port {case.reset.flow.lport}, which no TCP does: "
        f"a scan{f' ({tool} and the like)' if tool else ''}.",
        (f"flags {trigger.flag_text}: {where}", *_others(case), *reason_evidence(case)),
        phase="no-connection",
        sees="a scanner: the port looks closed",
        benign=True,
        remedies=("nothing is broken; drop that source in the firewall if it disturbs",),
    )


def _others(case: Case) -> tuple[str, ...]:
    others = case.facts.neighbours
    if not others or others.ports < 2:
        return ()
    return (f"in the minute before, this address tried {others.ports} ports",)


def _flags(trigger: Packet) -> str:
    if not trigger.flags:
        return "a segment without any flag"
    return trigger.flag_text + ("" if trigger.has(ACK | SYN) else " without ACK")
