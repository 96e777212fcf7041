"""Too many orphans, or TCP memory used up: tcp_check_oom() (rows A6, A7)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    Case,
    Finding,
    count_of,
    name_of,
    reason_evidence,
)

CAUSE = "out-of-memory"
WHEN = (ACTIVE,)
NEEDS = ()  # the kernel's reason is enough; before 6.12 the stack and the socket
AFTER = ("linger2-expired",)
# the only reset that these timers send; tcp_out_of_resources() may be inlined
TIMERS = ("tcp_out_of_resources", "tcp_write_timeout", "tcp_retransmit_timer", "tcp_probe_timer")
ORPHANS = "more closed connections still have work to do than net.ipv4.tcp_max_orphans allows"
EITHER = (
    "too many closed connections still have work to do (net.ipv4.tcp_max_orphans) or TCP memory "
    "is used up (net.ipv4.tcp_mem)"
)


def rule(case: Case) -> Finding | None:
    """At close(), or later when an orphan's retransmission or probe timer looks."""
    reset = case.reset
    later = reset.in_stack(*TIMERS)
    if reset.reason != "TCP_ABORT_ON_MEMORY" and not later and not _closed_as_orphan(case):
        return None
    who = name_of(case.facts.closer or case.facts.owner, "the application")
    did = f"{who} had closed the connection" if later else f"{who} closed the connection"
    why, known_by = _limit(case)
    return Finding(
        CERTAIN,
        f"{did}, and the kernel did not wait for its orderly end: {why}.",
        (
            known_by,
            case.stack_evidence(
                "tcp_send_active_reset", *TIMERS, "__tcp_close", "tcp_close", "do_exit"
            ),
            case.state_evidence(),
            *reason_evidence(case),
        ),
    )


def _closed_as_orphan(case: Case) -> bool:
    """Row A6 without the kernel's reason: __tcp_close() itself, after SOCK_DEAD was set."""
    reset, sock = case.reset, case.sock
    if reset.reason not in (None, "NOT_SPECIFIED") or not sock or not sock.dead:
        return False
    return reset.in_stack("__tcp_close", "tcp_close") and not reset.in_stack("tcp_disconnect")


def _limit(case: Case) -> tuple[str, str]:
    """Which limit, and how that is known.

    tcp_out_of_memory() is true only of a socket that holds more than SOCK_MIN_SNDBUF (over
    4 kB) to be sent; a lone FIN is less.
    """
    sock = case.sock
    if sock and sock.unacked <= 1:
        return ORPHANS, "it held no data, so only the number of orphans can have decided"
    held = f"it held {count_of(sock.unacked, 'byte')} not acknowledged; " if sock else ""
    return EITHER, f"{held}the kernel's log says which limit it was"
