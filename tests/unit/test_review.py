"""Verdicts that a reader of the rules found too sure of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.enrich import Facts
from rsttrace.explain import Verdict
from rsttrace.packet import ACK, PSH, RST

from .build import (
    A1,
    ACTIVE,
    CURL,
    FLOW,
    MS,
    NGINX,
    NOT_A_RESET,
    P2,
    SK,
    SOFTIRQ,
    SYSCALL,
    T,
    answered,
    arrived,
    decided,
    dropped,
    explained,
    history,
    judged,
    received_reset,
    record,
    reset,
    segment,
    sent_reset,
    shake,
    sock,
)

CLOSED: dict[str, Any] = {"sk": SK, "state": "CLOSE", "sock": sock(has_socket=False, flags=1)}


def alert(description: int, **changes: Any) -> Verdict:
    payload = bytes((0x15, 3, 3, 0, 2, 2, description))
    reset = sent_reset(answered(segment(PSH | ACK, payload), P2, **CLOSED), **changes)
    return explained(reset).verdict


def test_only_close_notify_is_a_goodbye() -> None:
    assert alert(0).cause == "tls-close-notify"
    for failure in (40, 48):  # handshake_failure, unknown_ca
        assert alert(failure).cause == "data-after-close"


def test_a_goodbye_in_the_middle_of_our_answer_is_not_harmless() -> None:
    spoken = record(
        "tcp_receive_reset", sk=SK, frames=NOT_A_RESET, state="FIN_WAIT1", flow=FLOW,
        sock=sock(snd_una=1000, write_seq=5001),
    )  # fmt: skip
    lost = alert(0, unread_judgement=spoken)
    assert not lost.benign
    assert "4,000 bytes of ours" in lost.summary
    done = record(
        "tcp_receive_reset", sk=SK, frames=NOT_A_RESET, state="FIN_WAIT1", flow=FLOW,
        sock=sock(snd_una=5000, write_seq=5001),
    )  # fmt: skip
    assert alert(0, unread_judgement=done).benign


def closing(packet_ack: int, **changes: Any) -> Verdict:
    """A RST to a connection that nobody holds any more."""
    packet = segment(RST | ACK, ack=packet_ack)
    about = judged("FIN_WAIT1", sock=sock(has_socket=False, **changes))
    return explained(received_reset(about, arrived(packet))).verdict


def test_an_answer_cut_short_after_close_matters() -> None:
    cut = closing(1000, snd_una=1000, write_seq=5001)
    assert (cut.cause, cut.benign) == ("reset-after-fin", False)
    assert "4,000 bytes written before close()" in cut.summary
    assert closing(5000, snd_una=1000, write_seq=5001).benign, "the RST acknowledges all"
    assert closing(5001, snd_una=5000, write_seq=5001).benign, "only the FIN is outstanding"


@pytest.mark.parametrize(("waiting", "benign"), [(3, False), (2, True)])
def test_a_full_queue_is_no_health_check(waiting: int, benign: bool) -> None:
    """tcp_check_req() keeps the request although the last ACK came."""
    gone = dropped(
        segment(RST | ACK, seq=1001), "NOT_SPECIFIED", state="LISTEN", sk=SK,
        sock=sock(ack_backlog=waiting, max_ack_backlog=2), frames=("tcp_v4_rcv", *SOFTIRQ),
        handshake=shake(rx_seq=1000, rx_ns=T - MS),
    )  # fmt: skip
    found = explained(received_reset(gone, arrived(segment(RST | ACK, seq=1001)))).verdict
    assert (found.cause, found.benign) == ("handshake-aborted", benign)
    assert ("its accept queue is full (3 waiting, limit 2)" in found.summary) is not benign
    assert found.confidence == ("certain" if benign else "likely")


def test_a_refusal_without_the_signature_is_not_called_wrong() -> None:
    """A BGP speaker: the RST was right, its missing signature dropped it."""
    gone = dropped(segment(RST | ACK), "TCP_MD5NOTFOUND", state="SYN_SENT", sk=SK, sock=sock())
    found = explained(received_reset(gone, arrived(), direction="rejected")).verdict
    assert found.cause == "unknown"


def test_half_closed_and_then_aborted() -> None:
    """shutdown(SHUT_WR) by the client, a long answer, and then the client is killed."""
    life = history(flags=1, close_ns=0, change_ns=T - 2000 * MS)
    about = judged("CLOSE_WAIT", sock=sock(spoke_ms=5), history=life)
    found = explained(received_reset(about, arrived(segment(RST | ACK))), Facts(owner=CURL)).verdict
    assert (found.cause, found.confidence) == ("peer-closed-first", "likely")
    assert "half-closed on purpose" in found.remedies[0]


def test_a_forwarded_reset_was_not_for_this_host() -> None:
    frames = ("nft_do_chain", "nf_hook_slow", "ip_forward", *SOFTIRQ)
    gone = dropped(segment(RST), "NETFILTER_DROP", frames=frames, skb_iif=2)
    found = explained(received_reset(gone, arrived(), direction="rejected")).verdict
    assert found.cause == "reset-suppressed"
    assert "on its way through this host" in found.summary


def test_a_destroyed_listener_is_not_one_connection() -> None:
    stack = (
        *(ACTIVE, "tcp_disconnect", "inet_child_forget", "inet_csk_listen_stop", "tcp_abort"),
        *("tcp_diag_destroy", *SYSCALL),
    )
    found = explained(sent_reset(decided(stack)), Facts(actor=NGINX)).verdict
    assert found.cause == "admin-destroyed"
    assert "destroyed the listening socket" in found.summary
    assert explained(sent_reset(decided(A1)), Facts(actor=NGINX)).verdict.cause != found.cause


def test_a_proxy_that_answered_the_syn_accuses_nobody() -> None:
    """TTL, IP ID and DF are all held against the same SYN-ACK."""
    packet = segment(RST | ACK, ttl=58, ip_id=0, df=False)
    about = judged("ESTABLISHED", sock=sock(bytes_received=5))
    before = shake(rx_ttl=52, rx_ip_id=7, rx_df=True)
    found = explained(received_reset(about, arrived(packet, handshake=before))).verdict
    assert (found.cause, found.confidence) == ("peer-reset", "possible")
    assert len([line for line in found.evidence if "in the handshake" in line]) >= 3


def test_windows_behind_a_proxy_has_no_timestamps() -> None:
    packet = segment(RST | ACK, ttl=120, option_kinds=())
    about = judged("ESTABLISHED", sock=sock(bytes_received=5, header_len=32))
    found = explained(received_reset(about, arrived(packet, handshake=shake(rx_ttl=59)))).verdict
    assert found.cause == "peer-reset"


@pytest.mark.parametrize(
    ("came_ns", "words"),
    [(0, "No answer of"), (T - 2 * MS, "No answer of"), (T, "the answer did not reach TCP")],
)
def test_an_answer_that_the_own_firewall_ate_is_not_called_silence(
    came_ns: int, words: str
) -> None:
    report = record(
        "inet_sk_error_report", sk=SK, state="CLOSE", errno=110, flow=FLOW,
        frames=("sk_error_report", "tcp_retransmit_timer", "tcp_write_timer", *SOFTIRQ),
        history=history(flags=1, old_state="SYN_SENT", established_ns=0, close_ns=0),
        sock=sock(retransmits=3), handshake=shake(tx_ns=T - MS, rx_ns=came_ns),
    )  # fmt: skip
    found = explained(reset(direction="none", error=report)).verdict
    assert found.cause == "retransmit-timeout"
    assert words in found.summary
