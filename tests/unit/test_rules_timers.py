"""Rules on resets that a timer, a limit or MPTCP asked for (rows A5-A9, P6, M1, M2, P14, P15)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes.case import Finding
from rsttrace.decode import Decoder
from rsttrace.enrich import Facts, Process, enrich
from rsttrace.model import Reset
from rsttrace.packet import ACK, FIN, SYN

from .build import (
    A1,
    A2,
    A4,
    A10,
    ACTIVE,
    CLIENT_PORT,
    CLOSE,
    EXIT,
    LAYOUT,
    NGINX,
    P1,
    P2,
    P5,
    SECOND,
    SOFTIRQ,
    SYSCALL,
    THERE,
    FakeContext,
    FakeNames,
    T,
    answered,
    decided,
    explained,
    finding,
    history,
    left,
    raw_record,
    segment,
    sent_reset,
    sock,
    task,
)

TIMER = ("call_timer_fn", "__run_timers", "run_timer_softirq")
KEEPALIVE = (ACTIVE, "tcp_keepalive_timer", *TIMER)
RTO = (ACTIVE, "tcp_out_of_resources", "tcp_write_timeout", "tcp_retransmit_timer", *TIMER)
RTO_INLINED = (ACTIVE, "tcp_write_timeout", "tcp_retransmit_timer", *TIMER)
PROBE = (ACTIVE, "tcp_probe_timer", "tcp_write_timer", *TIMER)
BACKLOG = ("tcp_v4_send_reset", "tcp_v4_do_rcv", "__release_sock", "__tcp_close", *CLOSE)
M1_CLOSE = (ACTIVE, "mptcp_do_fastclose", "__mptcp_close", "mptcp_close", *CLOSE[1:])
M1_EXIT = (ACTIVE, "mptcp_do_fastclose", "__mptcp_close", "mptcp_close", *EXIT[1:])
# kernels before the direct reset in mptcp_do_fastclose(), and fallen back to plain TCP
M1_BY_SSK = (
    *(ACTIVE, "tcp_disconnect", "__tcp_close", "__mptcp_close_ssk", "mptcp_do_fastclose"),
    *("__mptcp_close", "mptcp_close", *CLOSE[1:]),
)
M1_UNSPEC = (ACTIVE, "mptcp_do_fastclose", "mptcp_disconnect", "__inet_stream_connect", *SYSCALL)
M1_LISTENER = (
    *(ACTIVE, "mptcp_do_fastclose", "__mptcp_unaccepted_force_close"),
    *("mptcp_subflow_queue_clean", "mptcp_check_listen_stop", "__mptcp_close", "mptcp_close"),
)
M1_TIMEOUT = (ACTIVE, "mptcp_do_fastclose", "mptcp_worker", "process_one_work")
M2_PEER = (ACTIVE, "mptcp_check_fastclose", "mptcp_worker", "process_one_work")
M2_SUBFLOW = (ACTIVE, "mptcp_subflow_reset", "subflow_finish_connect", *SOFTIRQ)
M2_ANSWER = (ACTIVE, "mptcp_subflow_reset", "mptcp_incoming_options", "tcp_reset", *SOFTIRQ)
P14 = ("tcp_v4_send_reset", "subflow_v4_route_req", "tcp_conn_request", *SOFTIRQ)
P15 = ("tcp_v4_send_reset", "subflow_syn_recv_sock", "tcp_check_req", "tcp_v4_rcv", *SOFTIRQ)

DEAD, KEEPOPEN, LINGER = 1, 8, 16
SILENT = sock(flags=KEEPOPEN, shutdown=0, probes_out=9, heard_ms=7_875_000, owned=False)
ORPHAN = sock(flags=DEAD, has_socket=False, inode=0)
THERE_TEXT = f"{THERE}:{CLIENT_PORT}"
NO_WAIT = replace(ORPHAN, linger2=-1)
SUBFLOW = sock(is_mptcp=True)
OWNED = Facts(owner=NGINX)
CLOSED = Facts(closer=NGINX)
FIN_WAIT1, FIN_WAIT2 = history(old_state="FIN_WAIT1"), history(old_state="FIN_WAIT2")

ROWS: dict[str, tuple[str, Reset]] = {}


def row(name: str, cause: str, frames: tuple[str, ...], **changes: Any) -> None:
    ROWS[name] = (cause, sent_reset(decided(frames, **changes)))


def passive_row(
    name: str, cause: str, flags: int, frames: tuple[str, ...] = P2, **changes: Any
) -> None:
    payload = changes.pop("payload", b"")
    trigger = segment(flags, payload, option_kinds=changes.pop("option_kinds", ()))
    ROWS[name] = (cause, sent_reset(answered(trigger, frames, sk=1, **changes)))


TIMEOUT = {"reason": "TCP_KEEPALIVE_TIMEOUT", "state": "ESTABLISHED"}
ON_DATA: dict[str, Any] = {"reason": "TCP_ABORT_ON_DATA", "state": "CLOSE", "history": FIN_WAIT2}
NO_MEMORY = {"reason": "TCP_ABORT_ON_MEMORY"}
FASTCLOSE = {"reason": "TCP_ABORT_ON_CLOSE", "state": "ESTABLISHED", "sock": SUBFLOW}
row("A8", "keepalive-timeout", KEEPALIVE, sock=SILENT, **TIMEOUT)
row("A8 user", "user-timeout", KEEPALIVE, sock=replace(SILENT, user_timeout=30_000), **TIMEOUT)
row("A9", "linger2-expired", KEEPALIVE, sock=ORPHAN, state="FIN_WAIT2", reason="TCP_STATE")
row("A5", "linger2-expired", A1, sock=NO_WAIT, reason="TCP_ABORT_ON_LINGER", history=FIN_WAIT2)
passive_row("P6", "linger2-expired", ACK, BACKLOG, sock=NO_WAIT, **ON_DATA)
row("A6", "out-of-memory", A1, sock=ORPHAN, history=FIN_WAIT1, **NO_MEMORY)
row("A7", "out-of-memory", RTO, sock=ORPHAN, state="FIN_WAIT1", **NO_MEMORY)
row("M1", "mptcp-reset", M1_CLOSE, **FASTCLOSE)
row("M1 unspec", "mptcp-reset", M1_UNSPEC, **FASTCLOSE)
row("M2", "mptcp-reset", M2_SUBFLOW, state="ESTABLISHED", sock=SUBFLOW, reason="MPTCP_RST_EMPTCP")
LISTENER: dict[str, Any] = {"state": "LISTEN", "sock": sock(is_mptcp=True, shutdown=0)}
passive_row("P14", "mptcp-reset", SYN, P14, **LISTENER, reason="MPTCP_RST_EMPTCP")
passive_row("P15", "mptcp-reset", ACK, P15, **LISTENER, reason="MPTCP_RST_EPROHIBIT")
# what is somebody else's
row("A1", "unread-data-on-close", A1, sock=sock(rcv_nxt=1312), reason="TCP_ABORT_ON_CLOSE")
row("A2", "linger-zero", A2, sock=sock(flags=LINGER), reason="TCP_STATE")
row("A4", "listener-closed", A4, sock=sock(has_socket=False), reason="TCP_STATE")
row("A10", "admin-destroyed", A10, reason="TCP_STATE", state="ESTABLISHED")
row("A10 orphan", "admin-destroyed", A10, reason="TCP_STATE", state="FIN_WAIT2", sock=ORPHAN)
passive_row("P6 data", "data-after-close", ACK, payload=b"more\n" * 40, sock=NO_WAIT, **ON_DATA)
passive_row("P6 data, waiting", "data-after-close", ACK, payload=b"a" * 200, sock=ORPHAN, **ON_DATA)
OWN = ("keepalive-timeout", "user-timeout", "linger2-expired", "out-of-memory", "mptcp-reset")


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("cause", OWN)
def test_each_row_has_one_rule(name: str, cause: str) -> None:
    """Reasons and stacks overlap: TCP_STATE, __tcp_close and tcp_keepalive_timer mean several."""
    expected, reset = ROWS[name]
    assert (finding(cause, reset, OWNED) is not None) == (cause == expected)


@pytest.mark.parametrize("name", ROWS)
def test_the_engine_says_the_same(name: str) -> None:
    """Also before 6.12, where active resets have no reason."""
    expected, reset = ROWS[name]
    verdict = explained(reset, OWNED).verdict
    assert (verdict.cause, verdict.confidence) == (expected, "certain")
    assert reset.decided
    old = replace(reset.decided, reason=None)
    verdict = explained(sent_reset(old), OWNED).verdict
    assert (verdict.cause, verdict.confidence) == (expected, "certain")


@pytest.mark.parametrize("name", ["A8", "A9", "A5", "A6", "A7"])
def test_hidden_symbols(name: str) -> None:
    """Without the stack only a reason of its own helps; TCP_STATE is none."""
    expected, reset = ROWS[name]
    assert reset.decided
    blind = sent_reset(replace(reset.decided, frames=("0xffffffff81000000",)))
    verdict = explained(blind, OWNED).verdict
    if name in ("A5", "A6", "A7"):
        assert (verdict.cause, verdict.confidence) == (expected, "likely")
    else:
        assert verdict.cause == "insufficient-data"
        assert "stack" in verdict.missing


def found(cause: str, one: Reset, facts: Facts = OWNED) -> Finding:
    """What the rule says; it must say something."""
    result = finding(cause, one, facts)
    assert result
    return result


def with_sock(name: str, **changes: Any) -> Reset:
    """A row of the table whose socket differs."""
    record = ROWS[name][1].decided
    assert record
    assert record.sock
    return sent_reset(replace(record, sock=replace(record.sock, **changes)))


def without_sock(name: str) -> Reset:
    record = ROWS[name][1].decided
    assert record
    return sent_reset(replace(record, sock=None))


# -- keepalive-timeout, user-timeout ---------------------------------------------------------------


def test_keepalive_says_probes_and_silence() -> None:
    said = found("keepalive-timeout", ROWS["A8"][1])
    assert "silent for 2.2 h" in said.summary
    assert "did not answer 9 keepalive probes of nginx[1432]" in said.summary
    assert "stack: tcp_send_active_reset < tcp_keepalive_timer" in said.evidence
    assert "TCP_USER_TIMEOUT is not set" in said.evidence


def test_silence_may_be_unknown() -> None:
    said = found("keepalive-timeout", with_sock("A8", heard_ms=None))
    assert "was silent and did not answer" in said.summary
    assert not any("no data and no ACK" in line for line in said.evidence)


def test_which_of_the_two_decided() -> None:
    """With TCP_USER_TIMEOUT the number of probes means nothing, however many are out."""
    reset = with_sock("A8", user_timeout=1, probes_out=1)
    assert finding("keepalive-timeout", reset, OWNED) is None
    said = found("user-timeout", ROWS["A8 user"][1])
    assert "nginx[1432] allows 30.0 s of silence (TCP_USER_TIMEOUT)" in said.summary
    assert "TCP_USER_TIMEOUT is 30000 ms" in said.evidence


def test_shut_down_but_not_an_orphan() -> None:
    """FIN_WAIT2 with a descriptor still open: keepalive works as ever."""
    record = ROWS["A8"][1].decided
    assert record
    half = sent_reset(replace(record, state="FIN_WAIT2"))
    assert finding("keepalive-timeout", half, OWNED)
    assert finding("linger2-expired", half, OWNED) is None


@pytest.mark.parametrize("cause", ["keepalive-timeout", "user-timeout"])
def test_keepalive_of_an_mptcp_path(cause: str) -> None:
    """The timer is TCP's, whatever the socket belongs to."""
    user = 30_000 if cause == "user-timeout" else 0
    reset = with_sock("A8", is_mptcp=True, user_timeout=user)
    assert explained(reset, OWNED).verdict.cause == cause


def test_keepalive_needs_the_socket() -> None:
    """Without it TCP_USER_TIMEOUT is not known, nor whether it was an orphan."""
    verdict = explained(without_sock("A8"), OWNED).verdict
    assert (verdict.cause, verdict.missing) == ("insufficient-data", "the state of the socket")


def test_keepalive_without_the_decision() -> None:
    """Before 6.12 and after a lost record: the packet's stack and its socket are enough."""
    frames = ("__dev_queue_xmit", "__tcp_transmit_skb", *KEEPALIVE)
    reset = sent_reset(None, left(frames=frames, sock=SILENT, state="ESTABLISHED", sk=1))
    assert explained(reset, OWNED).verdict.cause == "keepalive-timeout"


# -- linger2-expired -------------------------------------------------------------------------------


def test_a5_says_who() -> None:
    said = found("linger2-expired", ROWS["A5"][1])
    assert said.summary.startswith("nginx[1432] closed the socket in FIN_WAIT2")
    assert "state FIN_WAIT2 before the abort" in said.evidence


def test_a5_or_a6_before_there_was_a_reason() -> None:
    """An orphan reset by __tcp_close(): TCP_LINGER2 and the state before tell which."""
    record = ROWS["A5"][1].decided
    assert record
    old = replace(record, reason=None)
    for state, cause in (("FIN_WAIT2", "linger2-expired"), ("FIN_WAIT1", "out-of-memory")):
        reset = sent_reset(replace(old, history=history(old_state=state)))
        verdict = explained(reset, OWNED).verdict
        assert (verdict.cause, verdict.confidence) == (cause, "certain")
    unknown = explained(sent_reset(replace(old, history=None)), OWNED).verdict
    assert (unknown.cause, unknown.confidence) == ("linger2-expired", "likely")
    assert unknown.missing == "the state before close()"


@pytest.mark.parametrize(("flags", "payload"), [(ACK, b""), (FIN | ACK, b"")])
def test_p6_without_data(flags: int, payload: bytes) -> None:
    """The peer's FIN may come with the ACK of ours: still nothing that somebody could read."""
    record = answered(segment(flags, payload), P2, sk=1, sock=NO_WAIT, **ON_DATA)
    said = found("linger2-expired", sent_reset(record), CLOSED)
    assert said.summary.startswith("nginx[1432] had closed with TCP_LINGER2 negative")


@pytest.mark.parametrize(
    "change",
    [
        {"sock": ORPHAN},  # TCP_LINGER2 is not negative
        {"sock": sock(linger2=-1)},  # not an orphan
        {"sock": None},
        {"state": "ESTABLISHED"},
        {"state": "LISTEN"},
        {"reason": "TCP_OLD_ACK"},
        {"packet": segment(SYN)},
        {"packet": segment(ACK, b"data")},
    ],
)
def test_p6_not_for(change: dict[str, Any]) -> None:
    record = ROWS["P6"][1].decided
    assert record
    reset = sent_reset(replace(record, **change))
    assert finding("linger2-expired", reset, CLOSED) is None


def test_p6_needs_the_trigger() -> None:
    record = ROWS["P6"][1].decided
    assert record
    reset = sent_reset(replace(record, packet=None))
    assert explained(reset, CLOSED).verdict.cause == "insufficient-data"


def test_a9_says_how_long() -> None:
    record = ROWS["A9"][1].decided
    assert record
    since = history(old_state="FIN_WAIT1", change_ns=T - 90 * SECOND)
    said = found("linger2-expired", sent_reset(replace(record, history=since)), CLOSED)
    assert "was over 90.0 s after it began" in said.summary
    assert said.remedies
    assert "negative" not in said.remedies[0]
    earlier = replace(since, closed=True)
    said = found("linger2-expired", sent_reset(replace(record, history=earlier)), CLOSED)
    assert "was over, so the kernel" in said.summary


def test_a9_by_a_negative_option() -> None:
    said = found("linger2-expired", with_sock("A9", linger2=-1))
    assert any("TCP_LINGER2 is negative" in line for line in said.evidence)


def test_linger2_is_signed() -> None:
    """The record keeps it as u32."""
    raw = raw_record(have=LAYOUT.numbers["HAVE_SOCK"], tcp_linger2=2**32 - 1)
    record = Decoder(LAYOUT, FakeNames()).decode(raw)
    assert record.sock
    assert record.sock.linger2 == -1


# -- out-of-memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [RTO, RTO_INLINED, PROBE])
def test_timer_of_an_orphan(frames: tuple[str, ...]) -> None:
    """The only reset that these timers send, with the kernel's reason or without."""
    reset = sent_reset(decided(frames, sock=ORPHAN, state="LAST_ACK"))
    said = found("out-of-memory", reset, CLOSED)
    assert said.confidence == "certain"
    assert said.summary.startswith("nginx[1432] had closed the connection")


def test_at_close() -> None:
    said = found("out-of-memory", ROWS["A6"][1], CLOSED)
    assert said.summary.startswith("nginx[1432] closed the connection")
    assert "state FIN_WAIT1 before the abort" in said.evidence


@pytest.mark.parametrize(("unsent", "orphans_only"), [(0, True), (1, True), (2, False)])
def test_which_limit(unsent: int, orphans_only: bool) -> None:
    """tcp_mem is only held against sockets that hold data; a FIN counts as one byte."""
    said = found("out-of-memory", with_sock("A6", write_seq=5000 + unsent))
    assert "tcp_max_orphans" in said.summary
    assert ("tcp_mem" in said.summary) != orphans_only


def test_which_limit_without_the_socket() -> None:
    said = found("out-of-memory", without_sock("A7"))
    assert "tcp_mem" in said.summary
    assert "the kernel's log says which limit it was" in said.evidence


def test_not_an_orphan() -> None:
    """SOCK_DEAD clear: __tcp_close() has not come to that test yet (row A1)."""
    record = ROWS["A6"][1].decided
    assert record
    reset = sent_reset(replace(record, sock=sock(), reason=None))
    assert finding("out-of-memory", reset, CLOSED) is None
    assert finding("out-of-memory", sent_reset(replace(record, sock=None, reason=None))) is None


# -- mptcp-reset -----------------------------------------------------------------------------------


def mptcp(frames: tuple[str, ...], facts: Facts | None = None, **changes: Any) -> Finding:
    record = decided(frames, **{**FASTCLOSE, **changes})
    return found("mptcp-reset", sent_reset(record), facts or Facts(owner=NGINX, actor=NGINX))


@pytest.mark.parametrize(
    ("frames", "flags", "said"),
    [
        (M1_CLOSE, 0, "nginx[1432] closed the MPTCP connection while received data was"),
        (M1_CLOSE, LINGER, "nginx[1432] closed the MPTCP connection with SO_LINGER {on, 0 s}"),
        (M1_BY_SSK, LINGER, "with received data unread or with SO_LINGER {on, 0 s}"),
        (M1_BY_SSK, 0, "while received data was still unread"),
        (M1_UNSPEC, 0, "dissolved the MPTCP connection by connect() with AF_UNSPEC"),
        (M1_LISTENER, 0, "closed a listening socket while this MPTCP connection from 10.0.0.9:"),
        (M1_TIMEOUT, 0, "had been closed or had lost its paths, and nothing came of it in time"),
        (M2_PEER, 0, "The peer aborted all of the connection, so a path"),
    ],
)
def test_which_act(frames: tuple[str, ...], flags: int, said: str) -> None:
    """All of them are TCP_ABORT_ON_CLOSE."""
    answer = mptcp(frames, sock=sock(is_mptcp=True, flags=flags))
    assert answer.confidence == "certain"
    assert said in answer.summary
    assert answer.remedies


def test_linger_with_time_left_is_not_zero() -> None:
    answer = mptcp(M1_CLOSE, sock=sock(is_mptcp=True, flags=LINGER, linger_ms=5000))
    assert "still unread" in answer.summary


def test_exit_of_the_process() -> None:
    answer = mptcp(M1_EXIT, task=task(flags=0x4, exit_code=9))
    assert "nginx[1432] was killed by SIGKILL, which closed the MPTCP connection" in answer.summary


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("MPTCP_RST_EPROHIBIT", ": not allowed: a limit or a policy."),
        ("MPTCP_RST_EUNSPEC", ": it gave no particular reason."),
        ("NOT_SPECIFIED", f"with {THERE_TEXT}."),
        (None, f"with {THERE_TEXT}."),
    ],
)
def test_reason_of_a_path(reason: str | None, said: str) -> None:
    """RFC 8684 3.6; 6.10 and 6.11 have the names and do not use them."""
    answer = mptcp(M2_SUBFLOW, Facts(), reason=reason)
    assert answer.summary.endswith(said)


def test_answer_to_a_reset() -> None:
    answer = mptcp(M2_ANSWER, Facts(), reason="MPTCP_RST_EUNSPEC")
    assert answer.benign
    assert "The peer reset a path" in answer.summary
    assert mptcp(M2_SUBFLOW).benign is None


def test_destroyed() -> None:
    """ss -K of one path; on a plain connection that is admin-destroyed."""
    facts = Facts(owner=NGINX, actor=Process(99, "ss"))
    answer = mptcp(A10, facts, reason="TCP_STATE")
    assert answer.summary.startswith("ss[99] destroyed a path of the MPTCP connection")
    reset = sent_reset(decided(A10, **{**FASTCLOSE, "reason": "TCP_STATE"}))
    assert explained(reset, facts).verdict.cause == "mptcp-reset"


def test_plain_connection_in_an_mptcp_stack() -> None:
    """A listener that takes both: its plain children are listener-closed."""
    frames = (*A4[:4], "mptcp_check_listen_stop", "__mptcp_close", "mptcp_close")
    plain = decided(frames, sock=sock(has_socket=False), reason="TCP_STATE")
    assert finding("mptcp-reset", sent_reset(plain)) is None
    assert explained(sent_reset(plain)).verdict.cause == "listener-closed"


def test_without_the_socket_the_stack_decides() -> None:
    assert mptcp(M1_CLOSE, sock=None).summary.endswith("or with SO_LINGER {on, 0 s}.")
    for frames in (A1, A2, A10, KEEPALIVE):
        assert finding("mptcp-reset", sent_reset(decided(frames, sock=None))) is None


def test_with_hidden_symbols_the_act_is_missing() -> None:
    answer = mptcp(("0xffffffff81000000",))
    assert answer.confidence == "likely"
    assert answer.missing == "the function of MPTCP that reset it"


@pytest.mark.parametrize(
    ("name", "step"), [("P14", "refused it in the SYN"), ("P15", "at the end of the handshake")]
)
def test_refused_path(name: str, step: str) -> None:
    answer = found("mptcp-reset", ROWS[name][1])
    assert f"{THERE_TEXT} wanted to add a path" in answer.summary
    assert step in answer.summary
    assert answer.phase == "establishment"


def test_refused_path_by_the_option() -> None:
    record = ROWS["P14"][1].decided
    assert record
    trigger = segment(SYN, option_kinds=(2, 30))
    answer = found("mptcp-reset", sent_reset(replace(record, packet=trigger)))
    assert "SYN with an MPTCP option" in answer.evidence


def test_path_opened_by_the_kernel_has_no_owner() -> None:
    """MPTCP opens further paths in a kernel thread, which then works for somebody else."""
    worker = history(pid=7, comm="kworker/1:2")
    reset = sent_reset(decided(M2_SUBFLOW, task=task(pid=0), history=worker))
    assert enrich(reset, FakeContext([Process(7, "kworker/1:2")])).owner is None
    app = history(pid=8, comm="curl")
    reset = sent_reset(decided(M2_SUBFLOW, task=task(pid=0), history=app))
    assert enrich(reset, FakeContext([Process(8, "curl")])).owner == Process(8, "curl")


@pytest.mark.parametrize("frames", [P1, P2, P5])
def test_other_passive_resets_are_not_mptcp(frames: tuple[str, ...]) -> None:
    """Also with the option: a listener on MPTCP refuses plain things like any other."""
    trigger = segment(ACK, option_kinds=(30,))
    reset = sent_reset(answered(trigger, frames, state="LISTEN", reason="INVALID_SYN"))
    assert finding("mptcp-reset", reset) is None
