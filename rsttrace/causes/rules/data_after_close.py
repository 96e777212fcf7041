"""The peer sent data to a connection whose application had closed (rows P6, P7, P8)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    TRIGGER,
    Case,
    Finding,
    count_of,
    duration,
    how_it_ended,
    name_of,
    reason_evidence,
)
from rsttrace.packet import SYN, Packet

CAUSE = "data-after-close"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("tls-close-notify",)
# TLS alerts: one, or a warning and a close_notify
MAX_ALERT_BYTES = 140


def data_met_closed_reader(case: Case) -> Packet | None:
    """The data segment if this is row P6, P7 or P8, else None."""
    reset, trigger = case.reset, case.trigger
    decided = reset.decided
    if not case.passive or not trigger or not trigger.length or trigger.has(SYN):
        return None
    if decided and decided.tw_substate == "FIN_WAIT2":
        return trigger
    if reset.state == "CLOSE" and reset.reason in (None, "TCP_ABORT_ON_DATA", "NOT_SPECIFIED"):
        return trigger
    recent = case.recent
    if case.socketless and recent and recent.old_state == "FIN_WAIT2" and not recent.sent_reset:
        return trigger  # FIN_WAIT2 timed out (tcp_fin_timeout) before the data came
    return None


def closed_evidence(case: Case) -> tuple[str, ...]:
    """When, how and by whom it had been closed."""
    reset, history = case.reset, case.history
    found = []
    if reset.decided and reset.decided.tw_substate:
        found.append(f"the socket was an orphan in {reset.decided.tw_substate}")
    if reset.unread_judgement:
        found.append("tcp_rcv_state_process() found RCV_SHUTDOWN set and aborted (no RST came in)")
    if history and history.close_ns:
        found.append(f"closed {duration(case.seconds_since(history.close_ns))} earlier")
    return (*found, *reason_evidence(case))


def closer_of(case: Case) -> str:
    """Who had closed it, as far as is known."""
    return name_of(case.facts.closer or case.facts.owner, "the application")


def rule(case: Case) -> Finding | None:
    """Data arrived that nobody can read any more."""
    data = data_met_closed_reader(case)
    if data is None:
        return None
    still_open = bool(case.sock and case.sock.has_socket)
    # what cannot be read may have been a TLS goodbye, which is harmless
    unclear = not data.payload and data.length <= MAX_ALERT_BYTES
    history, sock = case.history, case.sock
    # close() that waits (SO_LINGER) holds the socket until the last ACK, as shutdown() does
    waits = bool(still_open and sock and sock.linger and sock.linger_ms)
    if waits:
        did = "had closed the socket (and waits, SO_LINGER) or shut it down"
    elif still_open:
        did = "shut the socket down for reading"
    elif history and history.closed_by_exit:
        did = f"{how_it_ended(history.close_exit_code)}, which closed the socket"
    else:
        did = "had closed the socket"
    return Finding(
        LIKELY if unclear or waits else CERTAIN,
        f"{closer_of(case)} {did}, then {count_of(data.length, 'byte')} came from "
        f"{case.remote}: nobody can read that any more.",
        (f"{data.flag_text} with {count_of(data.length, 'byte')}", *closed_evidence(case)),
        missing="the payload (a TLS goodbye would be harmless)" if unclear else "",
    )
