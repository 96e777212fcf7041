"""SOCK_DESTROY: tcp_abort() (row A10)."""

from __future__ import annotations

from rsttrace.causes.case import ACTIVE, CERTAIN, STACK, Case, Finding, name_of

CAUSE = "admin-destroyed"
WHEN = (ACTIVE,)
NEEDS = (STACK,)
AFTER = ()

_CALLERS = {
    "tcp_diag_destroy": "ss -K or another SOCK_DESTROY request",
    "bpf_sock_destroy": "a BPF program (bpf_sock_destroy)",
}


def rule(case: Case) -> Finding | None:
    """tcp_abort() below tcp_send_active_reset(); the task on the CPU is the killer."""
    if not case.active_tcp or not case.reset.in_stack("tcp_abort"):
        return None
    how = next((text for f, text in _CALLERS.items() if case.reset.in_stack(f)), "tcp_abort()")
    killer = name_of(case.facts.actor)
    if case.reset.in_stack("inet_csk_listen_stop", "inet_child_forget"):
        return Finding(
            CERTAIN,
            f"{killer} destroyed the listening socket of {case.local} by {how}, while this "
            f"connection from {case.remote} waited for accept().",
            (case.stack_evidence("tcp_abort", "inet_csk_listen_stop", *_CALLERS),),
            remedies=("restart the service: it listens no more",),
            phase="establishment",
        )
    return Finding(
        CERTAIN,
        f"{killer} destroyed the connection of {case.who} by {how}.",
        (
            case.stack_evidence("tcp_abort", *_CALLERS),
            f"{killer} was on the CPU; the socket belongs to {case.who}",
            f"the state was still {case.reset.state}",
        ),
    )
