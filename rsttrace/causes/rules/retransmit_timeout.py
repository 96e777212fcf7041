"""Retransmissions, SYN retries or window probes ran out: no RST is sent (chapter 1.1, end)."""

from __future__ import annotations

import errno

from rsttrace.causes.case import CERTAIN, LIKELY, QUIET, STACK, Case, Finding, count_of, duration
from rsttrace.records import Sock

CAUSE = "retransmit-timeout"
WHEN = (QUIET,)
NEEDS = ()
AFTER = ("icmp-unreachable",)

# tcp_write_err() and the functions above it are often inlined or tail-called: one is enough
_TIMERS = (
    "tcp_write_err",
    "tcp_write_timeout",
    "tcp_retransmit_timer",
    "tcp_probe_timer",
    "tcp_write_timer_handler",
)
# these send a RST first; if that is missing here, its record is lost
_OTHERS = ("tcp_keepalive_timer", "tcp_out_of_resources", "tcp_disconnect", "tcp_abort")
_CLOSING = ("FIN_WAIT1", "CLOSING", "LAST_ACK")


def rule(case: Case) -> Finding | None:
    """inet_sk_error_report below the retransmission timer."""
    error, reset = case.reset.error, case.reset
    if error is None or reset.in_stack(*_OTHERS):
        return None
    if error.named and not reset.in_stack(*_TIMERS):
        return None
    if not error.named and error.errno != errno.ETIMEDOUT:
        return None
    summary, phase, evidence = _what(case)
    name = errno.errorcode.get(error.errno, str(error.errno))
    noted: tuple[str, ...] = ()
    if error.errno != errno.ETIMEDOUT:
        noted = (f"{name}: an ICMP message, or a missing route here, was noted on the way",)
    timers = (case.stack_evidence(*_TIMERS),) if error.named else ()
    return Finding(
        CERTAIN if error.named else LIKELY,
        f"{summary}: the kernel gave up {_told(case, name)}. It sent no reset.",
        (*evidence, *_limit(case.sock, phase), *noted, *timers),
        phase=phase,
        sees=_sees(case.sock, name, phase),
        missing="" if error.named else STACK.text,
    )


def _what(case: Case) -> tuple[str, str, tuple[str, ...]]:
    """(sentence, phase, evidence) by what was waited for."""
    sock, before = case.sock, case.reset.state_before
    if before == "SYN_SENT" or (sock and before in (None, "CLOSE") and _never_answered(sock)):
        return _unanswered(case), "establishment", _tries(case, "SYN")
    if before == "SYN_RECV":
        tries = _tries(case, "SYN+ACK")
        return f"{case.remote} never completed the handshake", "establishment", tries
    evidence = [f"state {before or 'not known'}"]
    if sock is None and case.reset.in_stack("tcp_probe_timer"):
        what = f"{case.remote} kept its receive window closed, or did not answer any more"
        return what, "transfer", tuple(evidence)
    if sock is None:
        return f"{case.remote} did not answer any more", "transfer", tuple(evidence)
    unsent = not sock.retransmits and not case.reset.in_stack("tcp_retransmit_timer")
    if unsent or case.reset.in_stack("tcp_probe_timer"):
        return _closed_window(case, sock, evidence)
    evidence.append(f"{count_of(sock.retransmits, 'retransmission')} unanswered")
    evidence.append(f"{count_of(sock.unacked, 'byte')} not acknowledged")
    what = f"{case.remote} did not acknowledge what was sent{_silence(sock)}"
    return what, "disconnection" if before in _CLOSING else "transfer", tuple(evidence)


def _unanswered(case: Case) -> str:
    """What came to the device need not reach TCP: rp_filter, a firewall, a missing signature."""
    shake = case.reset.handshake
    if shake and shake.tx_ns and shake.rx_ns > shake.tx_ns:
        return (
            f"{case.remote} answered the SYN, but the answer did not reach TCP here (own firewall, "
            "rp_filter)"
        )
    return f"No answer of {case.remote} to the SYN reached TCP here"


def _closed_window(case: Case, sock: Sock, evidence: list[str]) -> tuple[str, str, tuple[str, ...]]:
    """Nothing to retransmit, only probes: the peer has no room, or is not there to say so.

    Each answer sets icsk_probes_out back to 0 (tcp_ack()).
    """
    evidence.append(f"{count_of(sock.unacked, 'byte')} not sent or not acknowledged")
    if sock.probes_out:
        evidence.append(f"{count_of(sock.probes_out, 'window probe')} unanswered")
        what = f"{case.remote} closed its receive window{_silence(sock)}"
    else:
        evidence.append("the window probes were answered: its application does not read")
        what = f"{case.remote} kept its receive window closed for too long"
    return what, "transfer", tuple(evidence)


def _never_answered(sock: Sock) -> bool:
    """SYN_SENT, where the state before was not seen: no number of the peer is known."""
    return sock.rcv_nxt == 0 and sock.srtt_us == 0 and not sock.bytes_acked


def _tries(case: Case, what: str) -> tuple[str, ...]:
    sock, history = case.sock, case.history
    found = [f"state {case.reset.state_before}"] if case.reset.state_before else []
    if sock:
        found.append(f"{what} repeated {count_of(sock.retransmits, 'time')}")
    if history and history.open_ns and not history.closed:
        found.append(f"waited {duration(case.seconds_since(history.open_ns))}")
    return tuple(found)


def _silence(sock: Sock) -> str:
    if sock.heard_ms is None:
        return ""
    return f" and has been silent for {duration(sock.heard_ms / 1000)}"


def _limit(sock: Sock | None, phase: str) -> tuple[str, ...]:
    """Which setting ended the wait."""
    if sock is None:
        return ()
    sysctl = "net.ipv4.tcp_retries2"
    if phase == "establishment":
        sysctl = "net.ipv4.tcp_syn_retries or TCP_SYNCNT"
    if sock.user_timeout:
        also = f" (or {sysctl})" if phase == "establishment" else ""
        return (f"limit: TCP_USER_TIMEOUT {duration(sock.user_timeout / 1000)}{also}",)
    return (f"limit: {sysctl}",)


def _told(case: Case, name: str) -> str:
    sock = case.sock
    if sock and sock.is_mptcp:
        return f"this path of an MPTCP connection ({name}), which can go on over others"
    if sock and not sock.has_socket:
        return f"({name}); no application held the connection"
    return f"and told {case.who} {name}"


def _sees(sock: Sock | None, name: str, phase: str) -> str:
    """What the application here gets."""
    if sock and sock.is_mptcp:
        return f"nothing while other paths live, else {name}"
    if sock and not sock.has_socket:
        return "nothing: no application held the connection"
    if phase == "establishment":
        return f"connect() fails with {name}"
    return f"{name} once, then end of file on read and EPIPE on write; the peer is not told"
