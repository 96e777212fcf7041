"""close() with SO_LINGER {1, 0} (rows A2, A11). The kernel's reason is TCP_STATE."""

from __future__ import annotations

from rsttrace.causes.case import ACTIVE, CERTAIN, LIKELY, STACK, Case, Finding

CAUSE = "linger-zero"
WHEN = (ACTIVE,)
NEEDS = (STACK,)
AFTER = ("disconnect-call", "listener-closed")


def rule(case: Case) -> Finding | None:
    """tcp_disconnect() called by __tcp_close(), linger on with time 0."""
    reset, sock = case.reset, case.sock
    if not case.active_tcp or not reset.in_stack("tcp_disconnect"):
        return None
    if not reset.in_stack("__tcp_close", "tcp_close"):
        return None
    if sock and not (sock.linger and sock.linger_ms == 0):
        return None
    kernel = bool(reset.decided and reset.decided.task.kernel_thread)
    # io_uring and passed descriptors are closed for a program by a kernel thread
    own = kernel and not reset.in_stack("delayed_fput", "__fput", "sock_close")
    who = "the kernel (its own socket)" if own else case.who
    return Finding(
        CERTAIN if sock else LIKELY,
        f"{who} closed the socket with SO_LINGER {{on, 0 s}}, which asks for a reset, not a FIN.",
        (
            "SO_LINGER is on with time 0" if sock else "SO_LINGER could not be read",
            case.stack_evidence("tcp_disconnect", "__tcp_close", "tcp_close", "do_exit"),
            case.state_evidence(),
        ),
        missing="" if sock else "the socket's options",
    )
