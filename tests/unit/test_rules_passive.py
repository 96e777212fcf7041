"""Rules on resets that answer a segment: told by the socket and the segment."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.causes.case import Finding
from rsttrace.enrich import Facts, Process
from rsttrace.listeners import Listener, Listeners
from rsttrace.packet import ACK, FIN, PSH, RST, SYN, Packet
from rsttrace.records import History

from .build import (
    A1,
    CLIENT_PORT,
    FLOW,
    FLOW6,
    HERE,
    MS,
    NGINX,
    NOT_A_RESET,
    OTHER_NETNS,
    P1,
    P2,
    P5,
    PORT,
    SECOND,
    SK,
    THERE,
    T,
    answered,
    decided,
    dropped,
    earlier,
    explained,
    finding,
    history,
    judged,
    left,
    listener,
    record,
    rst,
    segment,
    sent_reset,
    sock,
)

DATA = segment(PSH | ACK, b"x" * 132)
ALERT = b"\x15\x03\x03\x00\x02\x01\x00"
FULL = sock(ack_backlog=3, max_ack_backlog=2)
LISTENING: dict[str, Any] = {"sk": SK, "state": "LISTEN", "sock": sock()}
TIME_WAIT: dict[str, Any] = {"sk": SK, "state": "TIME_WAIT", "tw_substate": "FIN_WAIT2"}
CLOSED: dict[str, Any] = {"sk": SK, "state": "CLOSE", "sock": sock(has_socket=False, flags=1)}


def ask(
    cause: str,
    trigger: Packet,
    frames: tuple[str, ...] = P1,
    facts: Facts | None = None,
    **changes: Any,
) -> Finding | None:
    return finding(cause, sent_reset(answered(trigger, frames, **changes)), facts)


# -- closed-port -----------------------------------------------------------------------------------


def knock(*listeners: Listener, gone: Listener | None = None, flow: Any = FLOW) -> Finding:
    """A SYN that found no socket, with these listeners about."""
    table = Listeners(listeners)
    if gone:
        table.add([gone])
        closed = record(
            "inet_sock_set_state",
            sk=gone.sk,
            state="CLOSE",
            flow=type(FLOW)(gone.address, gone.port, "0.0.0.0", 0, gone.netns),
            time_ns=T - 35 * MS,
        )
        table.feed(closed)
    reset = sent_reset(answered(segment(SYN), flow=flow), flow=flow)
    found = finding("closed-port", reset, Facts(listeners=table))
    assert found
    assert found.confidence == "certain"
    return found


def test_closed_port() -> None:
    found = knock()
    assert f"{THERE}:{CLIENT_PORT} wanted to connect" in found.summary
    assert found.summary.endswith(f"nothing listens on {HERE}:{PORT}.")
    assert found.remedies is None


@pytest.mark.parametrize(
    ("trigger", "frames", "changes"),
    [
        (segment(SYN), P2, {**LISTENING}),  # a listener answered
        (segment(SYN | ACK), P1, {}),  # the answer to a SYN that we never sent
        (segment(SYN | FIN), P1, {}),
        (segment(PSH), P1, {}),  # neither SYN nor ACK: a scan
        (segment(0), P1, {}),
        (segment(ACK), P1, {}),
        (DATA, P1, {}),
    ],
)
def test_not_a_closed_port(
    trigger: Packet, frames: tuple[str, ...], changes: dict[str, Any]
) -> None:
    assert ask("closed-port", trigger, frames, **changes) is None


def test_closed_port_before_6_10() -> None:
    """No decision was traced; the packet's stack and its sequence number 0 tell."""
    wire = left(rst(RST | ACK, seq=0))
    assert finding("closed-port", sent_reset(None, left(frames=(*wire.frames, *P1[1:])))) is None
    on_kernel = left(rst(RST | ACK, seq=0), (*wire.frames, *P1[1:]))
    found = finding("closed-port", sent_reset(None, on_kernel))
    assert found
    # with the SYN known from its drop, it must be one
    drop = dropped(DATA, "NO_SOCKET")
    assert finding("closed-port", sent_reset(None, on_kernel, trigger_drop=drop)) is None
    listening = left(rst(RST | ACK, seq=0), (*wire.frames, *P2[1:]))
    assert finding("closed-port", sent_reset(None, listening)) is None


def test_bound_to_another_address() -> None:
    found = knock(listener("127.0.0.1"))
    assert "nginx[1432] on 127.0.0.1:8080 is bound to another address" in found.summary
    assert found.remedies
    assert f"bind the server to {HERE}" in found.remedies[0]


def test_listens_on_the_other_family_only() -> None:
    v6_only = knock(listener("::"))
    assert "is IPv6 only (IPV6_V6ONLY)" in v6_only.summary
    v4_only = knock(listener("0.0.0.0"), flow=FLOW6)
    assert "nginx[1432] on 0.0.0.0:8080 listens on IPv4 only" in v4_only.summary


def test_wildcard_of_the_right_family_is_not_called_ipv4_only() -> None:
    """SO_BINDTODEVICE or a VRF hides an IPv6 listener; the hint must not say what is false."""
    assert "IPv4 only" not in knock(listener("::"), flow=FLOW6).summary


def test_listens_in_another_namespace() -> None:
    found = knock(listener("0.0.0.0", netns=OTHER_NETNS))
    assert "in this network namespace" in found.summary
    assert "listens in another one" in found.summary


def test_stopped_listening_a_moment_ago() -> None:
    found = knock(gone=listener(sk=SK))
    assert "nginx[1432] on 10.0.0.5:8080 stopped listening 35 ms ago" in found.summary
    assert found.remedies == ("start the server again",)


def test_listener_on_another_port_is_no_hint() -> None:
    assert knock(listener(port=PORT + 1)).remedies is None


# -- stale-connection and late-segment -------------------------------------------------------------


@pytest.mark.parametrize(
    "frames_and_socket", [(P1, {}), (P2, LISTENING)], ids=["no-socket", "listener"]
)
@pytest.mark.parametrize("trigger", [DATA, segment(FIN | ACK)])
def test_stale_connection(
    trigger: Packet, frames_and_socket: tuple[tuple[str, ...], dict[str, Any]]
) -> None:
    frames, socket = frames_and_socket
    found = ask("stale-connection", trigger, frames, **socket)
    assert found
    assert found.confidence == "likely"
    assert "still uses a connection that this host does not know" in found.summary
    assert ask("late-segment", trigger, frames, **socket) is None


def test_bare_ack_may_be_a_scan() -> None:
    found = ask("stale-connection", segment(ACK))
    assert found
    assert found.confidence == "possible"
    assert "a bare ACK without timestamps can also be a scan (nmap -sA)" in found.evidence


@pytest.mark.parametrize(
    ("watched", "confidence", "words"),
    [
        (None, "likely", "within the last minute"),
        (90 * SECOND, "likely", "within the last minute"),
        (5 * SECOND, "likely", "in the 5.0 s of this trace"),
        (SECOND, "possible", "in the 1.0 s of this trace"),
    ],
)
def test_a_young_trace_knows_less(watched: int | None, confidence: str, words: str) -> None:
    found = ask("stale-connection", DATA, facts=Facts(watched_ns=watched))
    assert found
    assert found.confidence == confidence
    assert any(words in line for line in found.evidence)


@pytest.mark.parametrize(
    ("trigger", "frames", "changes"),
    [
        (segment(SYN), P1, {}),  # closed port
        (segment(SYN | ACK), P1, {}),
        (segment(FIN), P1, {}),  # no ACK: never part of a connection
        (DATA, P5, LISTENING),  # the last ACK of a handshake
        (DATA, (*P2, "subflow_v4_conn_request"), LISTENING),
        (DATA, P1, {"history": earlier()}),  # late-segment
        (DATA, P2, {**CLOSED}),
        (DATA, P1, TIME_WAIT),
    ],
)
def test_not_a_stale_connection(
    trigger: Packet, frames: tuple[str, ...], changes: dict[str, Any]
) -> None:
    assert ask("stale-connection", trigger, frames, **changes) is None


@pytest.mark.parametrize(
    ("flags", "confidence", "words"),
    [
        (8, "certain", "this host had reset it 5 ms before"),
        (16, "certain", "a reset from the peer had ended it 5 ms before"),
        (2, "likely", "it had ended in LAST_ACK 5 ms before"),
    ],
)
@pytest.mark.parametrize(("frames", "socket"), [(P1, {}), (P2, LISTENING)])
def test_late_segment(
    flags: int, confidence: str, words: str, frames: tuple[str, ...], socket: dict[str, Any]
) -> None:
    past = earlier(flags=flags, old_state="LAST_ACK")
    found = ask("late-segment", DATA, frames, history=past, **socket)
    assert found
    assert found.confidence == confidence
    assert words in found.summary


@pytest.mark.parametrize(
    ("trigger", "past"),
    [
        (DATA, None),
        (DATA, history()),  # this very connection, not an earlier one
        (DATA, earlier(change_ns=T - 61 * SECOND)),
        (segment(SYN), earlier()),  # a new connection
    ],
)
def test_not_a_late_segment(trigger: Packet, past: History | None) -> None:
    assert ask("late-segment", trigger, history=past) is None


def test_handshake_that_fails_is_no_late_segment() -> None:
    """The same tuple again: it is the new connection's last ACK that was refused."""
    assert ask("late-segment", DATA, P5, history=earlier(), **LISTENING) is None


# -- data-after-close and tls-close-notify ---------------------------------------------------------

READERS_GONE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "fin-wait2 minisocket": (P1, {**TIME_WAIT, "reason": "TCP_TIMEWAIT_SOCKET"}),
    "closed": (P2, {**CLOSED, "reason": "TCP_ABORT_ON_DATA"}),
    "closed, old kernel": (P2, CLOSED),
    "fin-wait2 timed out": (P1, {"history": earlier(old_state="FIN_WAIT2", flags=2)}),
}


@pytest.mark.parametrize("how", READERS_GONE)
def test_data_after_close(how: str) -> None:
    frames, socket = READERS_GONE[how]
    found = ask("data-after-close", DATA, frames, Facts(closer=NGINX), **socket)
    assert found
    assert found.confidence == "certain"
    assert "nginx[1432] had closed the socket, then 132 bytes came" in found.summary
    assert ask("tls-close-notify", DATA, frames, **socket) is None


@pytest.mark.parametrize("how", READERS_GONE)
def test_tls_close_notify(how: str) -> None:
    frames, socket = READERS_GONE[how]
    found = ask("tls-close-notify", segment(PSH | ACK, ALERT), frames, **socket)
    assert found
    assert found.confidence == "certain"
    assert "no data was lost" in found.summary


def test_time_of_the_close_is_told_only_if_it_was_seen() -> None:
    seen = ask("data-after-close", DATA, P2, history=history(close_ns=T - 35 * MS), **CLOSED)
    assert seen
    assert "closed 35 ms earlier" in seen.evidence
    unseen = ask("data-after-close", DATA, P2, history=history(close_ns=0), **CLOSED)
    assert unseen
    assert not any("earlier" in line for line in unseen.evidence)


def test_shutdown_of_a_socket_that_is_still_held() -> None:
    reset = sent_reset(
        answered(DATA, P2, sk=SK, state="CLOSE", sock=sock(), reason="TCP_ABORT_ON_DATA"),
        unread_judgement=judged("FIN_WAIT2", NOT_A_RESET),
    )
    found = finding("data-after-close", reset, Facts(owner=NGINX))
    assert found
    assert "nginx[1432] shut the socket down for reading" in found.summary
    assert any("no RST came in" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("trigger", "frames", "changes"),
    [
        (segment(ACK), P1, TIME_WAIT),  # no data
        (segment(FIN | ACK), P2, CLOSED),
        (segment(SYN, b"x"), P1, TIME_WAIT),
        (DATA, P1, {**TIME_WAIT, "tw_substate": "TIME_WAIT"}),
        (DATA, P2, {**CLOSED, "state": "SYN_SENT"}),
        (DATA, P2, {**CLOSED, "reason": "TCP_INVALID_ACK_SEQUENCE"}),
        (DATA, P1, {"history": earlier(old_state="FIN_WAIT2")}),  # this host had reset it
        (DATA, P1, {"history": earlier(old_state="LAST_ACK", flags=2)}),
        (DATA, P1, {}),
    ],
)
def test_not_data_after_close(
    trigger: Packet, frames: tuple[str, ...], changes: dict[str, Any]
) -> None:
    assert ask("data-after-close", trigger, frames, **changes) is None
    assert ask("tls-close-notify", trigger, frames, **changes) is None


@pytest.mark.parametrize(
    ("payload", "confidence"),
    [
        (ALERT, "certain"),
        (ALERT + ALERT, "certain"),
        (b"\x15\x03\x03\x00\x1a" + b"\xaa" * 26, "certain"),  # encrypted, TLS 1.2
        (b"\x17\x03\x03\x00\x13" + b"\xaa" * 19, "likely"),  # hidden by TLS 1.3
        (b"\x17\x03\x03\x00\x14" + b"\xaa" * 20, None),
        (b"\x17\x03\x03\x00\x13" + b"\xaa" * 19 + ALERT, None),
        (ALERT + b"GET / HTTP/1.1\r\n", None),  # an alert, then data
        (ALERT + b"\x17\x03\x03\x00\x02ab", None),
        (b"\x15\x03\x03\x00\x02\x01", None),  # cut short
        (b"plain text", None),
        (b"", None),
    ],
)
def test_only_alerts_are_harmless(payload: bytes, confidence: str | None) -> None:
    trigger = segment(PSH | ACK, payload, length=max(1, len(payload)))
    found = ask("tls-close-notify", trigger, **TIME_WAIT)
    assert (found.confidence if found else None) == confidence


def test_alerts_beyond_the_capture() -> None:
    """Only 32 bytes of the payload are copied: two long alerts may still be told."""
    two = (b"\x15\x03\x03\x00\x1a" + b"\xaa" * 26) * 2
    cut = segment(PSH | ACK, two[:32], length=len(two))
    assert ask("tls-close-notify", cut, **TIME_WAIT)
    long = segment(PSH | ACK, two[:32], length=1000)
    assert ask("tls-close-notify", long, **TIME_WAIT) is None


# -- accept-queue-overflow -------------------------------------------------------------------------


def test_accept_queue_overflow() -> None:
    found = ask(
        "accept-queue-overflow",
        segment(ACK),
        P5,
        Facts(owner=Process(7, "java")),
        **{**LISTENING, "sock": FULL, "reason": "INVALID_SYN"},
    )
    assert found
    assert found.confidence == "certain"
    assert "accept queue of java[7] on 10.0.0.5:8080 is full (3 waiting, limit 2)" in found.summary
    assert "kernel reason INVALID_SYN" in found.evidence


@pytest.mark.parametrize(
    ("waiting", "confidence"), [(3, "certain"), (2, "likely"), (1, "possible")]
)
@pytest.mark.parametrize("named", ["TCP_LISTEN_OVERFLOW", "NOT_SPECIFIED"])
def test_overflow_drained_since_or_no_overflow(waiting: int, confidence: str, named: str) -> None:
    """The kernel gives the same name to a socket that could not be made."""
    queue = sock(ack_backlog=waiting, max_ack_backlog=2)
    reset = sent_reset(
        answered(segment(ACK), P5, **{**LISTENING, "sock": queue}),
        trigger_drop=dropped(segment(ACK), named),
    )
    found = finding("accept-queue-overflow", reset)
    assert found
    assert found.confidence == confidence
    assert f"drop reason {named}" in found.evidence
    assert ("or memory or a route was missing" in found.summary) == (confidence != "certain")
    assert bool(found.missing) == (confidence != "certain")


@pytest.mark.parametrize(
    ("trigger", "frames", "changes"),
    [
        (segment(SYN), P5, {**LISTENING, "sock": FULL}),  # row P4, an unexpected SYN
        (segment(ACK), P2, {**LISTENING, "sock": FULL}),  # a stale connection
        (segment(ACK), P5, {**LISTENING, "sock": FULL, "state": "SYN_RECV"}),
        (segment(ACK), (*P5, "subflow_syn_recv_sock"), {**LISTENING, "sock": FULL}),
        (segment(ACK), P5, {**LISTENING, "sock": None}),
    ],
)
def test_not_an_overflow(trigger: Packet, frames: tuple[str, ...], changes: dict[str, Any]) -> None:
    assert ask("accept-queue-overflow", trigger, frames, **changes) is None


# -- none of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "frames", "changes"),
    [
        (segment(ACK), P2, {"sk": SK, "state": "ESTABLISHED", "sock": sock()}),
        (segment(SYN), P2, LISTENING),  # a listener answers no ordinary SYN by RST
        (segment(ACK), P1, {"sk": SK, "state": "TIME_WAIT", "tw_substate": "TIME_WAIT"}),
    ],
)
def test_what_no_rule_fits_is_unknown_and_says_what_was_seen(
    trigger: Packet, frames: tuple[str, ...], changes: dict[str, Any]
) -> None:
    verdict = explained(sent_reset(answered(trigger, frames, **changes))).verdict
    assert (verdict.cause, verdict.confidence) == ("unknown", "unknown")
    assert any(trigger.flag_text in line for line in verdict.evidence)
    assert any("tcp_v4_send_reset" in line for line in verdict.evidence)


@pytest.mark.parametrize("cause", ["closed-port", "stale-connection", "late-segment"])
def test_active_resets_are_none_of_these(cause: str) -> None:
    assert finding(cause, sent_reset(decided(A1, sk=0, history=earlier()))) is None
