"""Rules on RSTs and SYNs that were not believed, and on RSTs that met no full socket."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes.case import Finding, Sender
from rsttrace.enrich import Facts, Process
from rsttrace.listeners import Listeners
from rsttrace.model import Reset
from rsttrace.packet import ACK, PSH, RST, SYN, Packet, signed
from rsttrace.patterns import Event, Neighbours
from rsttrace.records import Record

from .build import (
    ACCEPTED,
    CURL,
    MS,
    PORT,
    SECOND,
    SK,
    SOFTIRQ,
    THERE,
    T,
    arrived,
    dropped,
    explained,
    finding,
    judged,
    listener,
    received_reset,
    segment,
    shake,
    sock,
)

CAUSES = (
    "blind-reset-rejected",
    "out-of-window-reset",
    "blind-syn-rejected",
    "timewait-assassination",
    "handshake-aborted",
    "reset-no-socket",
)
# stacks of kfree_skb (measured on 6.18)
FREE = "sk_skb_reason_drop"
IN_CONNECTION = (
    FREE,
    "tcp_validate_incoming",
    "tcp_rcv_established",
    "tcp_v4_do_rcv",
    "tcp_v4_rcv",
    *SOFTIRQ,
)
IN_STATE = (FREE, "tcp_rcv_state_process", "tcp_v4_do_rcv", "tcp_v4_rcv", *SOFTIRQ)
BY_RESET_EXIT = (FREE, "tcp_v4_do_rcv", "tcp_v4_rcv", *SOFTIRQ)
AT_ONCE = (FREE, "tcp_v4_rcv", *SOFTIRQ)  # no socket, a request, a timewait socket

TOOL = Sender("injected-by-local-tool", "certain", "It used a raw socket.", False, (), "hping3[7]")


def refused(packet: Packet, reason: str | None, frames: tuple[str, ...], **changes: Any) -> Record:
    """kfree_skb of a RST, with the socket that it met (from 6.11 on)."""
    return dropped(packet, reason, frames=frames, **changes)


def rejected(record: Record, **changes: Any) -> Reset:
    wire = arrived(record.packet, handshake=record.handshake)
    return received_reset(record, wire, **{"direction": "rejected", **changes})


def in_connection(
    packet: Packet | None = None, reason: str | None = "TCP_RESET", **changes: Any
) -> Record:
    """A socket in ESTABLISHED that expects number 1000 next, window 64000."""
    plain = {"sk": SK, "state": "ESTABLISHED", "sock": sock(), **changes}
    return refused(packet or segment(RST, seq=1100), reason, IN_CONNECTION, **plain)


def at_request(packet: Packet, reason: str | None = "NOT_SPECIFIED", **changes: Any) -> Record:
    """A half-open connection whose SYN had number 999; the drop names its listener."""
    plain = {"sk": SK, "state": "LISTEN", "handshake": shake(), "sock": sock(), **changes}
    return refused(packet, reason, AT_ONCE, **plain)


def at_timewait(packet: Packet, **changes: Any) -> Record:
    plain = {"sk": SK, "state": "TIME_WAIT", "tw_substate": "TIME_WAIT", "tw_rcv_nxt": 1000}
    return refused(packet, "NOT_SPECIFIED", AT_ONCE, **{**plain, **changes})


def at_listener(packet: Packet, reason: str | None = "TCP_RESET", **changes: Any) -> Record:
    frames = BY_RESET_EXIT if packet.has(ACK) else IN_STATE
    plain = {"sk": SK, "state": "LISTEN", "sock": sock(), **changes}
    return refused(packet, reason, frames, **plain)


def connecting(packet: Packet, reason: str, **changes: Any) -> Record:
    frames = BY_RESET_EXIT if packet.has(ACK) else IN_STATE
    plain = {"sk": SK, "state": "SYN_SENT", "sock": sock(rcv_nxt=0, copied_seq=0), **changes}
    return refused(packet, reason, frames, **plain)


def no_socket(packet: Packet | None = None, **changes: Any) -> Record:
    return refused(packet or segment(RST), "NO_SOCKET", AT_ONCE, **changes)


def ask(cause: str, one: Reset, sender: Sender | None = None, **facts: Any) -> Finding:
    found = finding(cause, one, Facts(**{"owner": CURL, **facts}), sender)
    assert found
    return found


EXACT, BARE = segment(RST, seq=1000), segment(RST, seq=1100)
ABORT = segment(RST | ACK, seq=1000, ack=5001)
CASES: dict[str, tuple[Reset, str]] = {
    "in window": (rejected(in_connection()), "blind-reset-rejected"),
    "in window, our FIN sent": (
        rejected(replace(in_connection(), frames=IN_STATE, state="FIN_WAIT1")),
        "blind-reset-rejected",
    ),
    "half-open, not exact": (rejected(at_request(BARE)), "blind-reset-rejected"),
    "old": (rejected(in_connection(reason="TCP_OLD_SEQUENCE")), "out-of-window-reset"),
    "beyond": (rejected(in_connection(reason="TCP_INVALID_SEQUENCE")), "out-of-window-reset"),
    "ends beyond": (
        rejected(in_connection(reason="TCP_INVALID_END_SEQUENCE")),
        "out-of-window-reset",
    ),
    "half-open, outside": (rejected(at_request(BARE, "TCP_OVERWINDOW")), "out-of-window-reset"),
    "connecting, no ACK": (rejected(connecting(EXACT, "TCP_RESET")), "out-of-window-reset"),
    "connecting, wrong ACK": (
        rejected(connecting(ABORT, "TCP_INVALID_ACK_SEQUENCE")),
        "out-of-window-reset",
    ),
    "FIN_WAIT2 entry, outside": (
        rejected(at_timewait(BARE, tw_substate="FIN_WAIT2")),
        "out-of-window-reset",
    ),
    "SYN": (
        rejected(in_connection(segment(SYN, seq=70_000), "TCP_INVALID_SYN")),
        "blind-syn-rejected",
    ),
    "TIME_WAIT, killed": (
        received_reset(at_timewait(EXACT), arrived(EXACT)),
        "timewait-assassination",
    ),
    "TIME_WAIT, ignored": (rejected(at_timewait(BARE)), "timewait-assassination"),
    "half-open, exact": (
        received_reset(at_request(EXACT), arrived(EXACT, handshake=shake())),
        "handshake-aborted",
    ),
    "SYN_RECV": (received_reset(judged("SYN_RECV", ACCEPTED), arrived()), "handshake-aborted"),
    "no socket": (rejected(no_socket()), "reset-no-socket"),
    "listener": (rejected(at_listener(BARE)), "reset-no-socket"),
    "listener, ACK": (rejected(at_listener(ABORT, "TCP_FLAGS")), "reset-no-socket"),
    "closed": (
        rejected(refused(BARE, "TCP_CLOSE", IN_STATE, sk=SK, state="CLOSE", sock=sock())),
        "reset-no-socket",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cause", CAUSES)
def test_each_case_has_one_rule(name: str, cause: str) -> None:
    one, expected = CASES[name]
    assert (finding(cause, one) is not None) == (cause == expected)


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_told_by_its_rule(name: str) -> None:
    one, expected = CASES[name]
    assert explained(one, Facts(owner=CURL)).verdict.cause == expected


@pytest.mark.parametrize(
    "one",
    [
        # the firewall, a bad checksum, a full backlog: TCP has not judged these
        rejected(refused(BARE, "NETFILTER_DROP", ("nf_hook_slow", "ip_local_deliver"))),
        rejected(refused(EXACT, "TCP_CSUM", AT_ONCE, sk=SK, state="LISTEN", handshake=shake())),
        rejected(refused(EXACT, "XFRM_POLICY", AT_ONCE, sk=SK, state="LISTEN", handshake=shake())),
        rejected(refused(EXACT, "SOCKET_BACKLOG", AT_ONCE, sk=SK, state="ESTABLISHED")),
        rejected(refused(EXACT, "TCP_MD5NOTFOUND", AT_ONCE, sk=SK, state="ESTABLISHED")),
        rejected(refused(EXACT, "TCP_MINTTL", AT_ONCE, sk=SK, state="TIME_WAIT")),
        # a RST that was believed: the kernel frees a Fast Open child's with a reason
        rejected(refused(EXACT, "TCP_FASTOPEN", IN_STATE, sk=SK, state="CLOSE")),
        # believed, in an entry of FIN_WAIT2: reset-after-fin
        received_reset(at_timewait(EXACT, tw_substate="FIN_WAIT2"), arrived(EXACT)),
        received_reset(judged("ESTABLISHED"), arrived()),
        received_reset(None, arrived()),
        rejected(in_connection(segment(PSH | ACK, b"x"), "TCP_OLD_SEQUENCE")),
    ],
)
def test_none_of_them(one: Reset) -> None:
    assert explained(one).verdict.cause not in CAUSES


# -- blind-reset-rejected --------------------------------------------------------------------------


def test_guess() -> None:
    found = ask("blind-reset-rejected", rejected(in_connection()))
    assert (found.confidence, found.benign) == ("certain", True)
    assert "the kernel asked 10.0.0.9:51234 to confirm (challenge ACK)" in found.summary
    assert "the connection of curl[2001] lives" in found.summary
    assert "sequence number 1100: 100 ahead of the next one expected" in found.evidence
    assert any("a guess, or late" in line for line in found.evidence)
    assert found.sees == "nothing: the connection goes on"


def test_several_guesses_are_not_harmless() -> None:
    one = rejected(in_connection(), siblings=(segment(RST, seq=3000), segment(RST, seq=4000)))
    found = ask("blind-reset-rejected", one)
    assert found.benign is False
    assert any(line.startswith("2 more RSTs") for line in found.evidence)


@pytest.mark.parametrize(("ack", "knows"), [(5000, True), (5001, False), (4999, False)])
def test_abort_that_overtook_its_data(ack: int, knows: bool) -> None:
    """A peer that aborts acknowledges what we sent; who is blind cannot."""
    one = rejected(in_connection(segment(RST | ACK, seq=1100, ack=ack)))
    found = ask("blind-reset-rejected", one)
    assert any("its sender sees the connection" in line for line in found.evidence) == knows


def test_sender_of_a_guess_is_named() -> None:
    found = ask("blind-reset-rejected", rejected(in_connection()), TOOL)
    assert "(injected-by-local-tool by hping3[7], on this host)" in found.summary
    assert "its sender is on this host: It used a raw socket." in found.evidence


def test_guess_before_the_drop_names_a_socket() -> None:
    """Before 6.11 only the functions speak."""
    found = ask("blind-reset-rejected", rejected(in_connection(sk=0, state=None, sock=None)))
    assert found.confidence == "likely"
    assert not any("next one expected" in line for line in found.evidence)


def test_guess_at_a_half_open_connection_is_only_likely_refused() -> None:
    found = ask("blind-reset-rejected", rejected(at_request(BARE)), owner=None)
    assert (found.confidence, found.phase) == ("likely", "establishment")
    assert "sequence number 1100: 100 ahead of the next one expected" in found.evidence
    assert "whether this kernel" in found.missing


@pytest.mark.parametrize("handshake", [None, shake(rx_ns=0)])
def test_half_open_without_its_syn(handshake: Any) -> None:
    one = rejected(at_request(BARE, handshake=handshake))
    assert finding("blind-reset-rejected", one) is None
    assert explained(one).verdict.cause == "unknown"


# -- out-of-window-reset ---------------------------------------------------------------------------


def test_late_copy() -> None:
    old = in_connection(segment(RST, seq=500), "TCP_OLD_SEQUENCE")
    found = ask("out-of-window-reset", rejected(old))
    assert found.confidence == "certain"
    assert "the connection of curl[2001] goes on" in found.summary
    assert "sequence number 500: 500 behind the next one expected" in found.evidence
    assert any("a late copy" in line for line in found.evidence)


def test_outside_the_window_of_a_half_open_connection() -> None:
    found = ask("out-of-window-reset", rejected(at_request(BARE, "TCP_OVERWINDOW")))
    assert (found.confidence, found.phase) == ("certain", "establishment")
    assert "and the connection goes on" in found.summary
    assert "sequence number 1100: 100 ahead of the next one expected" in found.evidence
    unseen = at_request(BARE, "TCP_OVERWINDOW", handshake=None)
    evidence = ask("out-of-window-reset", rejected(unseen)).evidence
    assert not any("next one expected" in line for line in evidence)


def test_outside_the_window_of_an_orphan_in_fin_wait2() -> None:
    found = ask("out-of-window-reset", rejected(at_timewait(BARE, tw_substate="FIN_WAIT2")))
    assert found.confidence == "certain"
    assert "and the connection goes on" in found.summary
    assert "sequence number 1100: 100 ahead of the next one expected" in found.evidence


def test_numbers_wrap() -> None:
    far = in_connection(segment(RST, seq=50), "TCP_INVALID_SEQUENCE", sock=sock(rcv_nxt=2**32 - 50))
    assert (
        "sequence number 50: 100 ahead of the next one expected"
        in ask("out-of-window-reset", rejected(far)).evidence
    )
    assert signed(2**32 - 1) == -1
    assert signed(2**31) == -(2**31)
    assert signed(2**31 - 1) == 2**31 - 1


@pytest.mark.parametrize(
    ("packet", "reason", "flaw"),
    [
        (EXACT, "TCP_RESET", "had no ACK"),
        (ABORT, "TCP_INVALID_ACK_SEQUENCE", "acknowledged something else than our SYN"),
    ],
)
def test_not_the_answer_to_our_syn(packet: Packet, reason: str, flaw: str) -> None:
    found = ask("out-of-window-reset", rejected(connecting(packet, reason)))
    assert (found.confidence, found.phase) == ("certain", "establishment")
    assert flaw in found.summary
    assert "curl[2001] is still connecting" in found.summary


@pytest.mark.parametrize(
    ("tx_ns", "rx_ns", "listening", "cause"),
    [
        (T - MS, 0, False, "out-of-window-reset"),  # our SYN went out, nothing came back
        (0, 0, True, "reset-no-socket"),
        (T - MS, T - MS, True, "reset-no-socket"),
        (0, 0, False, "unknown"),
    ],
)
def test_connect_or_listener_before_the_drop_names_a_socket(
    tx_ns: int, rx_ns: int, listening: bool, cause: str
) -> None:
    here = shake(tx_ns=tx_ns, rx_ns=rx_ns) if tx_ns or rx_ns else None
    table = Listeners([listener()] if listening else [])
    one = rejected(refused(BARE, "TCP_RESET", IN_STATE, handshake=here))
    verdict = explained(one, Facts(listeners=table)).verdict
    assert verdict.cause == cause
    assert verdict.confidence == ("unknown" if cause == "unknown" else "likely")


# -- blind-syn-rejected ----------------------------------------------------------------------------


def test_syn_of_nobody_knows_whom() -> None:
    syn = in_connection(segment(SYN, seq=70_000), "TCP_INVALID_SYN")
    found = ask("blind-syn-rejected", rejected(syn))
    assert (found.confidence, found.benign) == ("certain", None)
    assert "its host lost that and opens a new one, or it is forged" in found.summary


def test_second_machine_answers() -> None:
    syn = in_connection(segment(SYN | ACK, seq=70_000), "TCP_INVALID_SYN")
    assert "two machines answering" in ask("blind-syn-rejected", rejected(syn)).summary


@pytest.mark.parametrize(
    ("socket", "repeats"),
    [
        (sock(rcv_nxt=1000, bytes_received=0), True),
        (sock(rcv_nxt=8000, bytes_received=7000), True),
        (sock(rcv_nxt=8001, bytes_received=7000, flags=2), True),  # the peer's FIN counts one
        (sock(rcv_nxt=8001, bytes_received=7000), False),
        (sock(rcv_nxt=704, bytes_received=2**32 - 296 + 2**32), True),  # more than once around
        (sock(rcv_nxt=1001, bytes_received=0), False),
    ],
)
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_repeated_handshake_is_harmless(socket: Any, repeats: bool, flags: int) -> None:
    """The handshake's own facts cannot tell: this very SYN has just overwritten them."""
    syn = in_connection(segment(flags, seq=999), "TCP_INVALID_SYN", sock=socket)
    found = ask("blind-syn-rejected", rejected(replace(syn, handshake=shake(rx_seq=999))))
    assert found.confidence == "certain"
    assert (found.benign is True) == repeats
    assert ("repeated the" in found.summary) == repeats


def test_syn_without_the_numbers() -> None:
    syn = in_connection(segment(SYN, seq=999), "TCP_INVALID_SYN", sk=0, state=None, sock=None)
    found = ask("blind-syn-rejected", rejected(syn))
    assert found.confidence == "likely"
    assert "sequence numbers" in found.missing


@pytest.mark.parametrize("reason", ["NETFILTER_DROP", "TCP_RESET", None])
def test_syn_that_was_dropped_for_another_reason(reason: str | None) -> None:
    syn = in_connection(segment(SYN, seq=70_000), reason)
    assert finding("blind-syn-rejected", rejected(syn)) is None


# -- timewait-assassination ------------------------------------------------------------------------


def test_killed() -> None:
    found = ask("timewait-assassination", received_reset(at_timewait(EXACT), arrived(EXACT)))
    assert found.confidence == "certain"
    assert "removed the finished connection from TIME_WAIT" in found.summary
    assert "sequence number 1000: exactly the next one expected" in found.evidence


def test_timestamp_of_the_rst_might_be_too_old() -> None:
    stamped = segment(RST | ACK, seq=1000, option_kinds=(1, 1, 8))
    found = ask("timewait-assassination", received_reset(at_timewait(stamped), arrived(stamped)))
    assert found.confidence == "likely"
    assert "timestamp" in found.missing


@pytest.mark.parametrize(
    ("packet", "rfc1337", "expected", "why"),
    [
        (EXACT, True, 1000, "(net.ipv4.tcp_rfc1337=1)"),
        (BARE, False, 1000, "(not the number that it waits for)"),
        (BARE, False, None, "was ignored."),
    ],
)
def test_ignored(packet: Packet, rfc1337: bool, expected: int | None, why: str) -> None:
    one = rejected(at_timewait(packet, rfc1337=rfc1337, tw_rcv_nxt=expected))
    found = ask("timewait-assassination", one)
    assert found.confidence == "certain"
    assert why in found.summary


# -- handshake-aborted -----------------------------------------------------------------------------

NGINX = Process(1432, "nginx")
ATTEMPTED = tuple(Event(T - n * SECOND, PORT, "handshake-aborted", True) for n in (6, 4, 2))
SCANNED = tuple(Event(T - n * MS, 20 + n, "closed-port", True) for n in range(12))


def half_open(packet: Packet, **facts: Any) -> Finding:
    one = received_reset(at_request(packet), arrived(packet, handshake=shake()))
    return ask("handshake-aborted", one, **{"owner": NGINX, **facts})


def test_nobody_hears_of_it() -> None:
    found = half_open(EXACT)
    assert found.confidence == "certain"
    assert f"{THERE}:51234 asked for a connection to 10.0.0.5:{PORT}" in found.summary
    assert "nginx[1432] never heard of it" in found.summary
    assert "the RST came 9 ms after the SYN" in found.evidence
    assert found.sees == "nothing: the connection was never handed to accept()"


@pytest.mark.parametrize(
    ("packet", "near", "words"),
    [
        (EXACT, None, "a scan, a forged SYN, or a client that had given up"),
        (ABORT, None, "a health check that stops there, or a client that gave up"),
        (EXACT, Neighbours(SCANNED), "a port scan or a monitor, it tried 12 ports within a minute"),
        (ABORT, Neighbours(ATTEMPTED), "a health check, it comes every 2.0 s"),
        (ABORT, Neighbours(ATTEMPTED[:1]), "a health check that stops there"),
        (segment(RST, seq=1000, ttl=50), None, "a scan that made its SYN by hand, or a device"),
    ],
)
def test_who_and_why(packet: Packet, near: Neighbours | None, words: str) -> None:
    assert words in half_open(packet, neighbours=near).summary


def test_neighbours_are_evidence() -> None:
    found = half_open(ABORT, neighbours=Neighbours(ATTEMPTED))
    assert "in the minute before, this address tried 1 port, this one 3 times" in found.evidence
    assert not any("in the minute" in e for e in half_open(ABORT, neighbours=Neighbours()).evidence)


def test_sender_of_an_aborted_handshake_is_named() -> None:
    one = received_reset(at_request(EXACT), arrived(EXACT, handshake=shake()))
    scanner = Sender("unexpected-syn-ack", "certain", "Nobody had asked.", True)
    assert "unexpected-syn-ack, on this host" in ask("handshake-aborted", one, scanner).summary


def test_believed_before_the_drop_names_a_socket() -> None:
    """Before 6.11 the join cannot know that the RST ended a request: it says rejected."""
    found = ask("handshake-aborted", rejected(at_request(EXACT, sk=0, state=None, sock=None)))
    assert found.confidence == "likely"
    assert found.missing


@pytest.mark.parametrize(
    ("frames", "socket", "kind", "sees", "benign"),
    [
        (ACCEPTED, sock(has_socket=True), "both ends were opening", "ECONNRESET", False),
        (
            ("tcp_reset", "tcp_check_req", "tcp_rcv_state_process", *SOFTIRQ),
            sock(has_socket=False),
            "a Fast Open connection",
            None,
            True,
        ),
        (ACCEPTED, sock(fastopen=True, has_socket=True), "Fast Open", "ECONNRESET", False),
    ],
)
def test_full_socket_in_handshake(
    frames: tuple[str, ...], socket: Any, kind: str, sees: str | None, benign: bool
) -> None:
    one = received_reset(judged("SYN_RECV", frames, sock=socket), arrived())
    found = ask("handshake-aborted", one)
    assert found.confidence == "certain"
    assert kind in found.summary
    assert (found.sees, found.benign) == (sees, benign)


@pytest.mark.parametrize(
    ("packet", "reason", "frames", "handshake"),
    [
        (EXACT, "TCP_CSUM", AT_ONCE, shake()),
        (EXACT, "NOT_SPECIFIED", ("ip_local_deliver", *SOFTIRQ), shake()),
        (EXACT, "NOT_SPECIFIED", AT_ONCE, None),
    ],
)
def test_not_a_request_before_the_drop_names_a_socket(
    packet: Packet, reason: str, frames: tuple[str, ...], handshake: Any
) -> None:
    one = rejected(refused(packet, reason, frames, handshake=handshake))
    assert explained(one).verdict.cause == "unknown"


def test_a_request_that_was_guessed_at_before_the_drop_names_a_socket() -> None:
    guess = refused(BARE, "NOT_SPECIFIED", AT_ONCE, handshake=shake())
    verdict = explained(rejected(guess)).verdict
    assert (verdict.cause, verdict.confidence) == ("blind-reset-rejected", "likely")


@pytest.mark.parametrize(("ttl", "apart"), [(66, False), (62, False), (67, True), (61, True)])
def test_routes_change_by_two_hops(ttl: int, apart: bool) -> None:
    found = half_open(segment(RST, seq=1000, ttl=ttl))
    assert ("made its SYN by hand" in found.summary) == apart


# -- reset-no-socket -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (no_socket(), "a connection that does not exist here; it was dropped"),
        (at_listener(BARE), f"only a listener has 10.0.0.5:{PORT}"),
        (at_listener(ABORT, "TCP_FLAGS"), f"only a listener has 10.0.0.5:{PORT}"),
        (at_listener(ABORT, "NOT_SPECIFIED"), "only a listener"),  # before 6.10
        (refused(BARE, "TCP_CLOSE", IN_STATE, sk=SK, state="CLOSE"), "is over already"),
    ],
)
def test_what_it_met(record: Record, words: str) -> None:
    found = ask("reset-no-socket", rejected(record))
    assert found.confidence == "certain"
    assert words in found.summary


@pytest.mark.parametrize(
    ("tx_ns", "rx_ns", "told"),
    [
        (T - 10 * MS, T - 9 * MS, "10 ms"),
        (T - 10 * MS, 0, "10 ms"),
        (0, T - 9 * MS, "9 ms"),
        (0, 0, ""),
        (T - 90 * SECOND, 0, ""),
        (T + 9 * SECOND, 0, ""),
    ],
)
def test_attempt_that_it_may_belong_to(tx_ns: int, rx_ns: int, told: str) -> None:
    one = rejected(no_socket(handshake=shake(tx_ns=tx_ns, rx_ns=rx_ns)))
    lines = [e for e in ask("reset-no-socket", one).evidence if "a handshake between" in e]
    assert lines == ([f"a handshake between these two ports began {told} ago"] if told else [])


def test_sender_of_a_stray_reset_is_named() -> None:
    assert "hping3[7]" in ask("reset-no-socket", rejected(no_socket()), TOOL).summary
