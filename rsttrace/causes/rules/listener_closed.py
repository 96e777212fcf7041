"""A listening socket went away with connections that nobody had accepted (rows A4, A4b)."""

from __future__ import annotations

from rsttrace.causes.case import ACTIVE, CERTAIN, STACK, Case, Finding, name_of

CAUSE = "listener-closed"
WHEN = (ACTIVE,)
NEEDS = (STACK,)
AFTER = ("admin-destroyed", "fastopen-reset")

_MARKS = ("inet_child_forget", "inet_csk_listen_stop")


def rule(case: Case) -> Finding | None:
    """inet_child_forget() or inet_csk_listen_stop() below tcp_disconnect()."""
    if not case.active_tcp or not case.reset.in_stack(*_MARKS):
        return None
    who = name_of(case.facts.actor, "the owner")
    exits = bool(case.reset.decided and case.reset.decided.task.exiting)
    died = exits or case.reset.in_stack("do_exit")  # task_struct may not be known
    how = "exited" if died else "closed its listening socket"
    return Finding(
        CERTAIN,
        f"{who} {how} while this connection from {case.remote} was still waiting for accept().",
        (
            case.stack_evidence(*_MARKS, "__tcp_close", "inet_shutdown", "do_exit"),
            "one RST for each connection in the accept queue",
        ),
    )
