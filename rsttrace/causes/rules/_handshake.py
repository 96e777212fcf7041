"""What the rules on handshakes, and on segments that met no connection, share."""

from __future__ import annotations

from rsttrace.causes.case import Case
from rsttrace.records import Handshake, History

# a half-open connection lives about one minute (net.ipv4.tcp_synack_retries=5), a SYN cookie two
HANDSHAKE_NS = 120_000_000_000
TIMESTAMPS = 8  # TCP option kind (RFC 7323)


def at_listener(case: Case) -> bool:
    """A listener answered: neither a connection nor a half-open one took it (rows P2, P3)."""
    reset = case.reset
    if not case.passive or reset.state != "LISTEN" or case.mptcp_join:
        return False
    return not reset.in_stack("tcp_check_req")


def met_no_connection(case: Case) -> bool:
    """No socket at all matched the segment, or only a listener (rows P1, P2, P3)."""
    return case.socketless or at_listener(case)


def unfinished(case: Case) -> Handshake | None:
    """A handshake that the peer began and this host answered lately, and that came to nothing."""
    shake, history = case.reset.handshake, case.history
    if not shake or not 0 < shake.rx_ns <= shake.tx_ns:
        return None
    if case.reset.time_ns - shake.tx_ns > HANDSHAKE_NS:
        return None
    # a connection that ended after the SYN came was this one
    return None if history and history.change_ns > shake.rx_ns else shake


def syn_left_ns(case: Case) -> int:
    """When this host last sent a SYN with these addresses and ports, 0: not lately."""
    shake = case.reset.handshake
    if not shake or not 0 <= case.reset.time_ns - shake.tx_ns <= HANDSHAKE_NS:
        return 0
    return shake.tx_ns


def timed_out(earlier: History) -> bool:
    """Did it end here by an error, without a word to the peer (no RST then, nor since)?"""
    return bool(earlier.errno and not earlier.sent_reset and not earlier.got_reset)
