"""Rules on connections that ended without any RST."""

from __future__ import annotations

from dataclasses import replace
from errno import (
    EACCES,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTUNREACH,
    ENETUNREACH,
    EPROTO,
    ETIMEDOUT,
    errorcode,
)
from typing import Any

import pytest

from rsttrace.causes.case import Finding
from rsttrace.enrich import Facts
from rsttrace.model import Reset

from .build import (
    CURL,
    MS,
    SECOND,
    SK,
    SOFTIRQ,
    T,
    explained,
    finding,
    history,
    record,
    reset,
    sock,
)

# stacks of inet_sk_error_report (measured on 6.18: tcp_write_err() is called as a tail)
REPORT = "sk_error_report"
TIMER = ("tcp_write_timer", "call_timer_fn", "__run_timers")
DATA = (REPORT, "tcp_retransmit_timer", *TIMER)
OLDER = (REPORT, "tcp_write_err", "tcp_write_timeout", "tcp_retransmit_timer", *TIMER)
PROBES = (REPORT, "tcp_write_timer_handler", *TIMER)
ICMP = (REPORT, "tcp_v4_err", "icmp_unreach", "icmp_rcv", *SOFTIRQ)
ICMP6 = (REPORT, "tcp_v6_err", "icmpv6_notify", "icmpv6_rcv", *SOFTIRQ)
KEEPALIVE = (REPORT, "tcp_keepalive_timer", *TIMER)
UNNAMED = ("0xffffffff81000001", "0xffffffff81000002")

WAITING = sock(retransmits=7, snd_una=4000, heard_ms=90_000)


def aborted(
    frames: tuple[str, ...] = DATA,
    errno: int = ETIMEDOUT,
    before: str | None = "ESTABLISHED",
    **changes: Any,
) -> Reset:
    """inet_sk_error_report of curl's socket, opened 2 s ago."""
    life = history(old_state=before, flags=1, close_ns=0, closed=False) if before else None
    plain = {"sk": SK, "state": "CLOSE", "sock": WAITING, "history": life, "errno": errno}
    error = record("inet_sk_error_report", frames=frames, **{**plain, **changes})
    return reset(direction="none", error=error)


def ask(cause: str, one: Reset) -> Finding:
    found = finding(cause, one, Facts(owner=CURL))
    assert found
    return found


@pytest.mark.parametrize(
    ("one", "cause"),
    [
        (aborted(), "retransmit-timeout"),
        (aborted(OLDER), "retransmit-timeout"),
        # before 6.10 the error is reported before the state changes
        (aborted(OLDER, state="ESTABLISHED"), "retransmit-timeout"),
        (aborted(PROBES), "retransmit-timeout"),
        (aborted(errno=EHOSTUNREACH), "retransmit-timeout"),
        (aborted(errno=ECONNREFUSED, before="SYN_SENT"), "retransmit-timeout"),
        (aborted(ICMP, ECONNREFUSED, "SYN_SENT"), "icmp-unreachable"),
        (aborted(ICMP6, EACCES, "SYN_SENT"), "icmp-unreachable"),
        (aborted(ICMP, EHOSTUNREACH, None), "icmp-unreachable"),
        (aborted(ICMP, EHOSTUNREACH, None, state="SYN_SENT"), "icmp-unreachable"),
        # IP_RECVERR: told at once, but the connection goes on
        (aborted(ICMP, EHOSTUNREACH, None, state="ESTABLISHED"), "unknown"),
        (aborted(ICMP, EHOSTUNREACH, "ESTABLISHED"), "unknown"),
        # these send a RST first, whose record must have been lost
        (aborted(KEEPALIVE), "unknown"),
        (aborted((REPORT, "tcp_out_of_resources", "tcp_retransmit_timer")), "unknown"),
        (aborted((REPORT, "tcp_disconnect", "__tcp_close"), ECONNRESET), "unknown"),
        (aborted((REPORT, "tcp_abort", "tcp_diag_destroy")), "unknown"),
        (aborted((REPORT, "tcp_reset", "tcp_validate_incoming"), ECONNRESET), "unknown"),
        (aborted(UNNAMED), "retransmit-timeout"),
        (aborted(UNNAMED, EHOSTUNREACH), "insufficient-data"),
        (aborted(UNNAMED, ECONNREFUSED, "SYN_SENT"), "insufficient-data"),
    ],
)
def test_one_rule_for_each(one: Reset, cause: str) -> None:
    assert explained(one, Facts(owner=CURL)).verdict.cause == cause


@pytest.mark.parametrize("cause", ["retransmit-timeout", "icmp-unreachable"])
@pytest.mark.parametrize("direction", ["sent", "received", "rejected"])
def test_not_about_resets(cause: str, direction: str) -> None:
    """The error report of a RST tells what the application got, not why."""
    verdict = explained(replace_direction(aborted(), direction)).verdict
    assert verdict.cause != cause


def replace_direction(one: Reset, direction: str) -> Reset:
    one.direction = direction
    return one


@pytest.mark.parametrize("cause", ["retransmit-timeout", "icmp-unreachable"])
def test_without_a_report(cause: str) -> None:
    assert finding(cause, reset(direction="none")) is None


# -- retransmit-timeout ----------------------------------------------------------------------------


def test_data_without_answer() -> None:
    found = ask("retransmit-timeout", aborted())
    assert (found.confidence, found.phase) == ("certain", "transfer")
    assert "did not acknowledge what was sent and has been silent for 90.0 s" in found.summary
    assert "told curl[2001] ETIMEDOUT. It sent no reset." in found.summary
    assert "7 retransmissions unanswered" in found.evidence
    assert "1,000 bytes not acknowledged" in found.evidence
    assert "limit: net.ipv4.tcp_retries2" in found.evidence
    assert found.sees
    assert found.sees.startswith("ETIMEDOUT once, then end of file")


def test_own_limit() -> None:
    found = ask("retransmit-timeout", aborted(sock=replace(WAITING, user_timeout=30_000)))
    assert "limit: TCP_USER_TIMEOUT 30.0 s" in found.evidence


@pytest.mark.parametrize("number", [EHOSTUNREACH, ENETUNREACH, ECONNREFUSED])
def test_icmp_is_only_noted(number: int) -> None:
    """tcp_write_err() gives sk_err_soft if there is one; it is a time-out all the same."""
    found = ask("retransmit-timeout", aborted(errno=number))
    assert any("ICMP message, or a missing route here" in line for line in found.evidence)
    assert "ETIMEDOUT" not in found.summary


def test_connect_without_answer() -> None:
    silent = sock(retransmits=6, rcv_nxt=0, copied_seq=0)
    found = ask("retransmit-timeout", aborted(before="SYN_SENT", sock=silent))
    assert (found.confidence, found.phase) == ("certain", "establishment")
    assert "No answer of 10.0.0.9:51234 to the SYN reached TCP" in found.summary
    assert "SYN repeated 6 times" in found.evidence
    assert "waited 2.0 s" in found.evidence
    assert "limit: net.ipv4.tcp_syn_retries or TCP_SYNCNT" in found.evidence
    assert found.sees == "connect() fails with ETIMEDOUT"


@pytest.mark.parametrize(
    ("changes", "connecting"),
    [
        ({"rcv_nxt": 0, "copied_seq": 0}, True),
        ({"rcv_nxt": 0, "copied_seq": 0, "srtt_us": 800}, False),
        ({"rcv_nxt": 0, "copied_seq": 0, "bytes_acked": 1}, False),
        ({}, False),
    ],
)
def test_connect_that_began_before_the_trace(changes: Any, connecting: bool) -> None:
    one = aborted(before=None, sock=replace(WAITING, **changes))
    found = ask("retransmit-timeout", one)
    assert ("to the SYN reached TCP" in found.summary) == connecting


def test_handshake_that_was_never_completed() -> None:
    """A full socket in SYN_RECV: Fast Open, or both ends opened at once."""
    found = ask("retransmit-timeout", aborted(before="SYN_RECV"))
    assert "never completed the handshake" in found.summary
    assert "SYN+ACK repeated 7 times" in found.evidence


@pytest.mark.parametrize("before", ["FIN_WAIT1", "CLOSING", "LAST_ACK"])
def test_while_closing(before: str) -> None:
    assert ask("retransmit-timeout", aborted(before=before)).phase == "disconnection"


@pytest.mark.parametrize(
    ("frames", "socket", "words"),
    [
        (PROBES, sock(probes_out=0, heard_ms=50), "kept its receive window closed for too long"),
        (PROBES, sock(probes_out=15, heard_ms=9000), "closed its receive window and has been sil"),
        ((REPORT, "tcp_probe_timer", *TIMER), sock(probes_out=15), "closed its receive window"),
        # the retransmission timer can be inlined as well
        (PROBES, sock(retransmits=3), "did not acknowledge"),
        # a shrunk window: sent and not acknowledged, so that is not wrong
        (DATA, sock(retransmits=0), "did not acknowledge"),
    ],
)
def test_closed_window(frames: tuple[str, ...], socket: Any, words: str) -> None:
    found = ask("retransmit-timeout", aborted(frames, sock=socket))
    assert words in found.summary
    assert found.confidence == "certain"


def test_reader_that_is_stuck_is_told_from_a_dead_peer() -> None:
    stuck = ask("retransmit-timeout", aborted(PROBES, sock=sock(heard_ms=50)))
    assert any("its application does not read" in line for line in stuck.evidence)
    dead = ask("retransmit-timeout", aborted(PROBES, sock=sock(probes_out=15)))
    assert "15 window probes unanswered" in dead.evidence


def test_hidden_stack_is_only_likely() -> None:
    found = ask("retransmit-timeout", aborted(UNNAMED))
    assert found.confidence == "likely"
    assert "kernel stack" in found.missing


def test_no_socket_facts() -> None:
    found = ask("retransmit-timeout", aborted(sock=None))
    assert found.confidence == "certain"
    assert "did not answer any more" in found.summary


def test_nobody_is_told() -> None:
    found = ask("retransmit-timeout", aborted(sock=replace(WAITING, has_socket=False)))
    assert "no application held the connection" in found.summary
    assert found.sees == "nothing: no application held the connection"
    assert "told" not in found.summary


def test_one_path_of_many() -> None:
    found = ask("retransmit-timeout", aborted(sock=replace(WAITING, is_mptcp=True)))
    assert "this path of an MPTCP connection (ETIMEDOUT)" in found.summary
    assert "told" not in found.summary
    assert found.sees == "nothing while other paths live, else ETIMEDOUT"


def test_not_heard_of() -> None:
    found = ask("retransmit-timeout", aborted(sock=replace(WAITING, heard_ms=None)))
    assert "silent" not in found.summary


# -- icmp-unreachable ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "number", "meaning"),
    [
        (ICMP, ECONNREFUSED, "port unreachable"),
        (ICMP6, ECONNREFUSED, "port unreachable"),
        (ICMP, EHOSTUNREACH, "host unreachable"),
        (ICMP, ENETUNREACH, "network unreachable"),
        (ICMP6, EACCES, "forbidden"),
        (ICMP, EPROTO, "an ICMP error"),
    ],
)
def test_connect_ended_by_icmp(frames: tuple[str, ...], number: int, meaning: str) -> None:
    found = ask("icmp-unreachable", aborted(frames, number, "SYN_SENT"))
    assert found.confidence == "certain"
    assert "An ICMP message, not a reset, ended the attempt of curl[2001]" in found.summary
    assert any(meaning in line for line in found.evidence)
    assert "2.0 s after the connection began" in found.evidence
    assert found.sees == f"connect() fails with {errorcode[number]}"


def test_state_before_not_seen() -> None:
    found = ask("icmp-unreachable", aborted(ICMP, EHOSTUNREACH, None))
    assert found.confidence == "likely"
    assert found.missing


def test_times_of_another_connection_are_not_quoted() -> None:
    old = history(closed=True, open_ns=T - 50 * SECOND, change_ns=T - 5 * MS)
    error = aborted(ICMP, EHOSTUNREACH, "SYN_SENT", history=old, state="SYN_SENT")
    assert not any("after the connection" in e for e in ask("icmp-unreachable", error).evidence)


def test_path_of_mptcp() -> None:
    one = aborted(ICMP, EHOSTUNREACH, "SYN_SENT", sock=sock(is_mptcp=True))
    found = ask("icmp-unreachable", one)
    assert "one path of an MPTCP connection" in found.summary
    assert found.sees == "EHOSTUNREACH, unless another path works"
