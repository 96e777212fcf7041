"""connect(AF_UNSPEC) on a live connection (row A3)."""

from __future__ import annotations

from rsttrace.causes.case import ACTIVE, CERTAIN, STACK, Case, Finding, name_of

CAUSE = "disconnect-call"
WHEN = (ACTIVE,)
NEEDS = (STACK,)
AFTER = ("listener-closed",)


def rule(case: Case) -> Finding | None:
    """tcp_disconnect() called by __inet_stream_connect()."""
    reset = case.reset
    if not case.active_tcp or not reset.in_stack("tcp_disconnect"):
        return None
    if not reset.in_stack("__inet_stream_connect"):
        return None
    return Finding(
        CERTAIN,
        f"{name_of(case.facts.actor, 'the application')} dissolved the connection by "
        "connect() with AF_UNSPEC.",
        (
            case.stack_evidence("tcp_disconnect", "__inet_stream_connect"),
            case.state_evidence(),
        ),
    )
