"""Rules on resets that an application or an administrator asked for: told by the stack."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.causes.case import Finding, how_it_ended
from rsttrace.enrich import Facts
from rsttrace.packet import ACK, RST

from .build import (
    A1,
    A1_EXIT,
    A2,
    A3,
    A4,
    A10,
    ACTIVE,
    NGINX,
    P2,
    XMIT,
    answered,
    decided,
    finding,
    history,
    left,
    rst,
    segment,
    sent_reset,
    sock,
    task,
)

UNREAD = sock(rcv_nxt=1312, copied_seq=1000)
LINGER_ZERO = sock(flags=16, linger_ms=0)
BY_NGINX = Facts(owner=NGINX, actor=NGINX)
ABORT_ON_CLOSE = {"reason": "TCP_ABORT_ON_CLOSE"}
PF_EXITING, PF_KTHREAD = 0x4, 0x200000


def ask(cause: str, frames: tuple[str, ...], **changes: Any) -> Finding | None:
    return finding(cause, sent_reset(decided(frames, **changes)), BY_NGINX)


ACTIVE_CAUSES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "unread-data-on-close": (A1, {"sock": UNREAD, **ABORT_ON_CLOSE}),
    "process-exit-unread-data": (A1_EXIT, {"sock": UNREAD, "task": task(flags=PF_EXITING)}),
    "linger-zero": (A2, {"sock": LINGER_ZERO, "reason": "TCP_STATE"}),
    "disconnect-call": (A3, {"reason": "TCP_STATE"}),
    "listener-closed": (A4, {"reason": "TCP_STATE", "sock": sock(has_socket=False, owned=False)}),
    "admin-destroyed": (A10, {"reason": "TCP_STATE", "state": "ESTABLISHED"}),
}


@pytest.mark.parametrize("cause", ACTIVE_CAUSES)
@pytest.mark.parametrize("row", ACTIVE_CAUSES)
def test_each_stack_has_one_rule(cause: str, row: str) -> None:
    """TCP_STATE stands for four different acts: only the stack tells them apart."""
    frames, facts = ACTIVE_CAUSES[row]
    found = ask(cause, frames, **facts)
    # an exiting process also closes: the more special rule is asked first
    both = {row, "unread-data-on-close"} if row == "process-exit-unread-data" else {row}
    assert (found is not None) == (cause in both)


@pytest.mark.parametrize("cause", ACTIVE_CAUSES)
def test_fits(cause: str) -> None:
    frames, facts = ACTIVE_CAUSES[cause]
    found = ask(cause, frames, **facts)
    assert found
    assert found.confidence == "certain"
    assert "nginx[1432]" in found.summary
    assert any("stack: " in line for line in found.evidence)


@pytest.mark.parametrize("cause", ACTIVE_CAUSES)
def test_not_for_a_passive_reset(cause: str) -> None:
    """The same functions below a passive reset: data came while the lock was held."""
    frames, _ = ACTIVE_CAUSES[cause]
    data = segment(ACK, b"x")
    reset = sent_reset(answered(data, (*P2, "__release_sock", *frames[1:]), sock=UNREAD))
    assert finding(cause, reset, BY_NGINX) is None


@pytest.mark.parametrize("cause", ACTIVE_CAUSES)
def test_not_for_mptcp(cause: str) -> None:
    """M1: the kernel says TCP_ABORT_ON_CLOSE for three different acts of MPTCP."""
    frames, facts = ACTIVE_CAUSES[cause]
    mptcp = sock(is_mptcp=True, rcv_nxt=1312, copied_seq=1000, flags=16)
    assert ask(cause, frames, **{**facts, "sock": mptcp}) is None


# -- unread-data-on-close --------------------------------------------------------------------------


def test_unread_says_how_many_bytes() -> None:
    found = ask("unread-data-on-close", A1, sock=UNREAD, **ABORT_ON_CLOSE)
    assert found
    assert "312 received bytes were still unread" in found.summary
    assert "state ESTABLISHED before the abort" in found.evidence
    assert "kernel reason TCP_ABORT_ON_CLOSE" in found.evidence


def test_one_unread_byte() -> None:
    found = ask("unread-data-on-close", A1, sock=sock(rcv_nxt=1001, copied_seq=1000))
    assert found
    assert "1 received byte was still unread" in found.summary


def test_consumed_packets_still_in_the_queue() -> None:
    """Up to 2025 the kernel counted whole packets: a reset with nothing left to read."""
    with_reason = ask("unread-data-on-close", A1, **ABORT_ON_CLOSE)
    assert with_reason
    assert with_reason.confidence == "certain"
    assert "the receive queue was not empty" in with_reason.summary
    without = ask("unread-data-on-close", A1)
    assert without
    assert without.confidence == "likely"


@pytest.mark.parametrize("reason", ["TCP_ABORT_ON_MEMORY", "TCP_ABORT_ON_LINGER"])
def test_same_stack_for_other_reasons(reason: str) -> None:
    """Rows A5 and A6 come out of __tcp_close() as well."""
    assert ask("unread-data-on-close", A1, sock=UNREAD, reason=reason) is None


def test_orphan_is_not_unread_data() -> None:
    """Rows A5 and A6 without a reason: SOCK_DEAD is set by then."""
    assert ask("unread-data-on-close", A1, sock=sock(flags=1)) is None


def test_unread_needs_the_socket() -> None:
    assert ask("unread-data-on-close", A1, sock=None) is None


# -- process-exit-unread-data ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [
        (0, "exited with status 0"),
        (0x100, "exited with status 1"),
        (0xFF00, "exited with status 255"),
        (9, "was killed by SIGKILL"),
        (15, "was killed by SIGTERM"),
        (0x8B, "was killed by SIGSEGV"),  # with a core dump
        (77, "was killed by signal 77"),
    ],
)
def test_how_it_ended(exit_code: int, text: str) -> None:
    assert how_it_ended(exit_code) == text


@pytest.mark.parametrize(
    ("frames", "flags"), [(A1_EXIT, 0), (A1_EXIT, PF_EXITING), (A1, PF_EXITING)]
)
def test_exit_is_seen_by_the_stack_or_the_task(frames: tuple[str, ...], flags: int) -> None:
    dying = task(flags=flags, exit_code=9)
    found = ask("process-exit-unread-data", frames, sock=UNREAD, task=dying)
    assert found
    assert "was killed by SIGKILL and left 312 received bytes unread" in found.summary


def test_close_of_a_living_process_is_no_exit() -> None:
    assert ask("process-exit-unread-data", A1, sock=UNREAD) is None


def test_exit_with_all_data_read() -> None:
    """exit() with SO_LINGER 0 is linger-zero."""
    frames = (ACTIVE, "tcp_disconnect", "__tcp_close", "tcp_close", "do_exit")
    assert ask("process-exit-unread-data", frames, sock=LINGER_ZERO) is None
    assert ask("linger-zero", frames, sock=LINGER_ZERO)


# -- linger-zero -----------------------------------------------------------------------------------


@pytest.mark.parametrize("socket", [sock(), sock(flags=16, linger_ms=100), sock(linger_ms=0)])
def test_linger_must_be_on_with_no_time(socket: Any) -> None:
    assert ask("linger-zero", A2, sock=socket) is None


def test_linger_that_could_not_be_read() -> None:
    found = ask("linger-zero", A2, sock=None)
    assert found
    assert (found.confidence, found.missing) == ("likely", "the socket's options")


def test_linger_of_the_kernel_itself() -> None:
    """Row A11: a kernel-owned socket, closed by a worker; not a program's, closed on its behalf."""
    worker = task(comm="kworker", flags=PF_KTHREAD)
    own = (ACTIVE, "tcp_disconnect", "__tcp_close", "tcp_close", "sock_release", "svc_xprt_free")
    found = ask("linger-zero", own, sock=LINGER_ZERO, task=worker)
    assert found
    assert found.summary.startswith("the kernel (its own socket)")
    behalf = ask("linger-zero", A2, sock=LINGER_ZERO, task=worker)
    assert behalf
    assert "the kernel" not in behalf.summary.split(",")[0]


# -- disconnect-call, listener-closed, admin-destroyed ---------------------------------------------


def test_tcp_disconnect_by_another_caller() -> None:
    frames = (ACTIVE, "tcp_disconnect", "some_new_caller")
    assert ask("disconnect-call", frames) is None
    assert ask("linger-zero", frames, sock=LINGER_ZERO) is None


def test_listener_shut_down() -> None:
    frames = (ACTIVE, "tcp_disconnect", "inet_child_forget", "inet_csk_listen_stop")
    found = ask("listener-closed", (*frames, "tcp_disconnect", "inet_shutdown"))
    assert found
    assert "closed its listening socket" in found.summary


def test_listener_whose_process_died() -> None:
    found = ask("listener-closed", A4, task=task(flags=PF_EXITING))
    assert found
    assert "nginx[1432] exited while this connection from 10.0.0.9:51234" in found.summary


def test_handshake_that_completed_after_the_listener_left() -> None:
    """Row A4b: out of a softirq; nobody acted."""
    frames = (ACTIVE, "tcp_disconnect", "inet_child_forget", "inet_csk_reqsk_queue_add")
    found = finding("listener-closed", sent_reset(decided(frames)), Facts())
    assert found
    assert found.summary.startswith("the owner closed")


@pytest.mark.parametrize(
    ("caller", "text"),
    [
        ("tcp_diag_destroy", "ss -K"),
        ("bpf_sock_destroy", "bpf_sock_destroy"),
        ("smc_release", "tcp_abort()"),
    ],
)
def test_destroyed_by(caller: str, text: str) -> None:
    facts = Facts(owner=NGINX, actor=type(NGINX)(99, "ss"))
    reset = sent_reset(decided((ACTIVE, "tcp_abort", caller), state="ESTABLISHED"))
    found = finding("admin-destroyed", reset, facts)
    assert found
    assert found.summary.startswith("ss[99] destroyed the connection of nginx[1432]")
    assert text in found.summary


# -- what the decision was lost of -----------------------------------------------------------------


@pytest.mark.parametrize("cause", ACTIVE_CAUSES)
def test_packet_alone_does_not_claim_what_only_the_socket_knows(cause: str) -> None:
    frames, _ = ACTIVE_CAUSES[cause]
    wire = left(rst(RST | ACK), (*XMIT, "__tcp_transmit_skb", *frames))
    found = finding(cause, sent_reset(None, wire), Facts())
    socket_decides = ("unread-data-on-close", "process-exit-unread-data")
    if cause in socket_decides:
        assert found is None
    else:
        assert found
    if cause == "linger-zero":
        assert found
        assert found.confidence == "likely"


def test_state_before_is_that_of_this_socket_only() -> None:
    reset = sent_reset(decided(A1, sock=UNREAD, history=history(closed=True)))
    assert reset.state_before is None
    found = finding("unread-data-on-close", reset)
    assert found
    assert "state not known before the abort" in found.evidence


def test_timer_is_no_close() -> None:
    frames = (ACTIVE, "tcp_keepalive_timer", "call_timer_fn", "run_timer_softirq")
    assert [c for c in ACTIVE_CAUSES if ask(c, frames, sock=UNREAD)] == []
