"""An MPTCP connection or one of its paths was reset (rows M1, M2, P14, P15).

The kernel gives TCP_ABORT_ON_CLOSE for three different acts; the stack and SO_LINGER of the
subflow tell which it was.
"""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    LIKELY,
    PASSIVE,
    Case,
    Finding,
    how_it_ended,
    name_of,
    reason_evidence,
)
from rsttrace.packet import SYN

CAUSE = "mptcp-reset"
WHEN = (ACTIVE, PASSIVE)
NEEDS = ()  # whichever there is of socket, stack and reason
AFTER = ("keepalive-timeout", "linger2-expired", "out-of-memory", "user-timeout")
OPTION = 30  # MPTCP's TCP option (RFC 8684 3)

# RFC 8684 3.6, by enum sk_rst_reason
_REASONS = {
    "MPTCP_RST_EUNSPEC": "it gave no particular reason",
    "MPTCP_RST_EMPTCP": "an MPTCP-specific error, such as an unknown connection or a wrong key",
    "MPTCP_RST_ERESOURCE": "lack of resources",
    "MPTCP_RST_EPROHIBIT": "not allowed: a limit or a policy",
    "MPTCP_RST_EWQ2BIG": "too much data under way",
    "MPTCP_RST_EBADPERF": "the path was too bad",
    "MPTCP_RST_EMIDDLEBOX": "a device in the path spoils MPTCP",
}
_CLOSE = ("read to EOF before close(), or shutdown(SHUT_WR), drain, then close()",)
_LINGER = ("remove SO_LINGER {1,0}; a plain close() sends the rest and an orderly goodbye",)
_UNSPEC = ("find the connect() with AF_UNSPEC; close() and a new socket instead",)
_BACKLOG = ("before a restart take the host out of the load balancer, then accept() what waits",)
_KILLED = ("ask whoever destroyed it (ss -K, an agent); if it was meant: nothing to change",)
_PEER = ("look at the peer: it aborted the whole connection (MP_FASTCLOSE)",)
_SAME_HOST = ("behind a load balancer: send all paths of a connection to the same host",)
_LIMIT = ("if the path is wanted: ip mptcp limits set subflow NUMBER",)
_PATH = ("nstat -az 'MPTcpExt*' counts what is wrong with paths; ip mptcp monitor shows it live",)
_TIMEOUT = ("find out why the peer did not answer; net.mptcp.close_timeout limits the wait",)

WHOLE = "ECONNRESET once, then end of file on read and EPIPE on write"
ONE_PATH = "nothing if another path is left; else ECONNRESET once"

Act = tuple[str, str, tuple[str, ...]]  # what was done, what the peer sees, remedies


def rule(case: Case) -> Finding | None:
    """A full MPTCP subflow resets, or MPTCP refuses a handshake."""
    if case.passive:
        return _refused(case)
    sock = case.sock
    in_stack = any(_is_mptcp(frame) for frame in case.reset.frames)
    if not (sock.is_mptcp if sock else in_stack):
        return None  # also a plain connection to a listener that takes both
    named = in_stack or case.reset.in_stack("tcp_abort")
    did, sees, remedies = _act(case)
    return Finding(
        CERTAIN if named else LIKELY,
        f"{did}.",
        (
            "the socket is a subflow of MPTCP" if sock and sock.is_mptcp else "",
            case.stack_evidence("tcp_send_active_reset", *filter(_telling, case.reset.frames)),
            case.state_evidence(),
            *reason_evidence(case),
        ),
        remedies=remedies,
        sees=sees,
        benign=True if answers_reset(case) else None,
        missing="" if named else "the function of MPTCP that reset it",
    )


def _is_mptcp(frame: str) -> bool:
    return frame.startswith(("mptcp_", "__mptcp_", "subflow_"))


def _telling(frame: str) -> bool:
    return _is_mptcp(frame) or frame in ("tcp_abort", "tcp_disconnect", "__tcp_close", "do_exit")


def _refused(case: Case) -> Finding | None:
    """Rows P14 and P15: a SYN or its final ACK wanted to add a path."""
    reason, trigger = case.reset.reason or "", case.trigger
    if reason not in _REASONS and not case.mptcp_join:
        return None
    step = "in the SYN" if trigger and trigger.has(SYN) else "at the end of the handshake"
    join = trigger and OPTION in trigger.option_kinds
    return Finding(
        CERTAIN,
        f"{case.remote} wanted to add a path to an MPTCP connection, and this host refused it "
        f"{step}{_because(reason)}.",
        (
            f"{trigger.flag_text} with an MPTCP option" if trigger and join else "",
            case.stack_evidence(*filter(_is_mptcp, case.reset.frames), "tcp_check_req"),
            *reason_evidence(case),
        ),
        remedies=_LIMIT if reason == "MPTCP_RST_EPROHIBIT" else _SAME_HOST,
        phase="establishment",
        sees="no application is told: the connection goes on over its other paths, if any",
    )


def _because(reason: str) -> str:
    return f": {_REASONS[reason]}" if reason in _REASONS else ""


def _act(case: Case) -> Act:
    """What was done to it: the most special function that is in the stack decides.

    The owner is not named where no application acted: further paths are opened by the kernel.
    """
    reset = case.reset
    actor = name_of(case.facts.actor, case.who)
    path = f"a path of the MPTCP connection with {case.remote}"
    if reset.in_stack("tcp_abort"):
        return f"{actor} destroyed {path} from outside", ONE_PATH, _KILLED
    if reset.in_stack("__mptcp_unaccepted_force_close", "inet_child_forget"):
        did = f"{actor} closed a listening socket while this MPTCP connection from {case.remote}"
        return f"{did} was still waiting for accept()", WHOLE, _BACKLOG
    if reset.in_stack("mptcp_check_fastclose"):
        return f"The peer aborted all of the connection, so {path} was reset too", ONE_PATH, _PEER
    if reset.in_stack("mptcp_disconnect"):
        did = f"{actor} dissolved the MPTCP connection by connect() with AF_UNSPEC"
        return did, WHOLE, _UNSPEC
    if reset.in_stack("mptcp_close", "__mptcp_close"):
        return _closed(case, actor)
    if reset.in_stack("mptcp_do_fastclose"):
        did = f"The MPTCP connection with {case.remote} had been closed or had lost its paths"
        return f"{did}, and nothing came of it in time", WHOLE, _TIMEOUT
    if answers_reset(case):
        return f"The peer reset {path}, and MPTCP here answered by a reset", "nothing", _PATH
    return f"MPTCP reset {path}{_because(reset.reason or '')}", ONE_PATH, _PATH


def answers_reset(case: Case) -> bool:
    """mptcp_incoming_options() found a RST without the options that this path needs."""
    return case.reset.in_stack("tcp_reset") and case.reset.in_stack("mptcp_incoming_options")


def _closed(case: Case, actor: str) -> Act:
    """__mptcp_close() resets for data unread or SO_LINGER {on, 0}.

    Where it reaches the reset by way of __mptcp_close_ssk(), kernels without the direct one set
    SO_LINGER 0 on the subflow themselves, so that there it tells nothing.
    """
    sock = case.sock
    task = case.reset.decided.task if case.reset.decided else None
    did = f"{actor} closed the MPTCP connection"
    if task and (task.exiting or case.reset.in_stack("do_exit")):
        did = f"{actor} {how_it_ended(task.exit_code)}, which closed the MPTCP connection"
    if sock and not (sock.linger and sock.linger_ms == 0):
        return f"{did} while received data was still unread", WHOLE, _CLOSE
    if sock and not case.reset.in_stack("__mptcp_close_ssk"):
        return f"{did} with SO_LINGER {{on, 0 s}}, which asks for a reset", WHOLE, _LINGER
    did = f"{did} with received data unread or with SO_LINGER {{on, 0 s}}"
    return did, WHOLE, (*_CLOSE, *_LINGER)
