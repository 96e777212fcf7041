"""The rules, in the order they are asked: the first that answers decides.

Each module has one function ``rule(case) -> Finding | None`` and names its cause. A rule
looks at facts only (stack, state, socket, segment), never at versions or port numbers.
"""

from __future__ import annotations

from collections.abc import Callable

from rsttrace.causes.case import Case, Finding
from rsttrace.causes.rules import (
    accept_queue_overflow,
    admin_destroyed,
    closed_port,
    connection_refused,
    data_after_close,
    disconnect_call,
    firewall_reject,
    forwarded_reset,
    insufficient_data,
    late_segment,
    linger_zero,
    listener_closed,
    peer_closed_first,
    peer_reset,
    process_exit_unread_data,
    reset_after_fin,
    reset_no_socket,
    stale_connection,
    tls_close_notify,
    unread_data_on_close,
)

Rule = Callable[[Case], Finding | None]

RULES: tuple[tuple[str, Rule], ...] = (
    # not made by this host's TCP
    (firewall_reject.CAUSE, firewall_reject.rule),
    (forwarded_reset.CAUSE, forwarded_reset.rule),
    # active: told apart by the stack
    (admin_destroyed.CAUSE, admin_destroyed.rule),
    (listener_closed.CAUSE, listener_closed.rule),
    (disconnect_call.CAUSE, disconnect_call.rule),
    (linger_zero.CAUSE, linger_zero.rule),
    (process_exit_unread_data.CAUSE, process_exit_unread_data.rule),
    (unread_data_on_close.CAUSE, unread_data_on_close.rule),
    # passive: told apart by the socket and the segment
    (accept_queue_overflow.CAUSE, accept_queue_overflow.rule),
    (tls_close_notify.CAUSE, tls_close_notify.rule),
    (data_after_close.CAUSE, data_after_close.rule),
    (closed_port.CAUSE, closed_port.rule),
    (late_segment.CAUSE, late_segment.rule),
    (stale_connection.CAUSE, stale_connection.rule),
    # received: told apart by the state
    (connection_refused.CAUSE, connection_refused.rule),
    (peer_closed_first.CAUSE, peer_closed_first.rule),
    (reset_after_fin.CAUSE, reset_after_fin.rule),
    (peer_reset.CAUSE, peer_reset.rule),
    (reset_no_socket.CAUSE, reset_no_socket.rule),
    # a fact is missing
    (insufficient_data.CAUSE, insufficient_data.rule),
)
