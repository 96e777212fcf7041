"""Rules on resets that came in: told by the state in which they were believed."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.causes.case import Finding, Sender
from rsttrace.causes.rules._received import fingerprint
from rsttrace.enrich import Facts
from rsttrace.packet import ACK, RST

from .build import (
    ACCEPTED,
    CURL,
    MS,
    REFUSED,
    T,
    arrived,
    dropped,
    explained,
    finding,
    judged,
    received_reset,
    record,
    segment,
    shake,
    sock,
)

CAUSES = ("connection-refused", "peer-closed-first", "reset-after-fin", "peer-reset")
STATES = {
    "SYN_SENT": "connection-refused",
    "ESTABLISHED": "peer-reset",
    "CLOSE_WAIT": "peer-closed-first",
    "FIN_WAIT1": "reset-after-fin",
    "FIN_WAIT2": "reset-after-fin",
    "CLOSING": "reset-after-fin",
    "LAST_ACK": "reset-after-fin",
    "SYN_RECV": None,
    "CLOSE": None,
}
SENDER = Sender("linger-zero", "certain", "It closed with SO_LINGER.", False, (), "nginx[1432]")
BARE = segment(RST, window=0)
APPLICATION = segment(RST | ACK, window=64, option_kinds=(1, 1, 8))


def ask(
    cause: str, state: str, sender: Sender | None = None, packet: Any = APPLICATION, **changes: Any
) -> Finding | None:
    wire = arrived(packet, handshake=shake()) if packet else None
    frames = REFUSED if state == "SYN_SENT" else ACCEPTED
    reset = received_reset(judged(state, frames, **changes), wire)
    return finding(cause, reset, Facts(owner=CURL), sender)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("cause", CAUSES)
def test_each_state_has_one_rule(state: str, cause: str) -> None:
    assert (ask(cause, state) is not None) == (STATES[state] == cause)


@pytest.mark.parametrize("cause", CAUSES)
def test_only_for_a_reset_that_was_believed(cause: str) -> None:
    state = next(s for s, c in STATES.items() if c == cause)
    refused = dropped(segment(RST), "TCP_RESET", state=state)
    assert finding(cause, received_reset(refused, arrived())) is None
    assert finding(cause, received_reset(None, arrived())) is None
    rejected = received_reset(judged(state), arrived(), direction="rejected")
    assert finding(cause, rejected) is None


@pytest.mark.parametrize("cause", CAUSES)
def test_sender_on_this_host_is_named(cause: str) -> None:
    state = next(s for s, c in STATES.items() if c == cause)
    found = ask(cause, state, SENDER)
    assert found
    assert found.confidence == "certain"
    assert "linger-zero by nginx[1432], on this host" in found.summary
    assert any("SO_LINGER" in line for line in found.evidence)


@pytest.mark.parametrize("cause", CAUSES)
def test_sender_that_was_not_understood_is_not_quoted(cause: str) -> None:
    state = next(s for s, c in STATES.items() if c == cause)
    found = ask(cause, state, Sender("unknown", "unknown", "No rule fits.", False))
    assert found
    assert "unknown" not in found.summary


# -- peer-reset ------------------------------------------------------------------------------------


def test_peer_reset_from_elsewhere_is_only_likely() -> None:
    found = ask("peer-reset", "ESTABLISHED")
    assert found
    assert found.confidence == "likely"
    assert "10.0.0.9:51234 reset the connection of curl[2001]" in found.summary
    assert "the other application or its kernel aborted the connection" in found.summary


def test_peer_that_has_no_such_connection() -> None:
    found = ask("peer-reset", "ESTABLISHED", packet=BARE)
    assert found
    assert "the other end has no such connection" in found.summary


def test_peer_reset_whose_packet_was_not_seen() -> None:
    found = ask("peer-reset", "ESTABLISHED", packet=None)
    assert found
    assert "the packet itself was not seen" in found.evidence
    assert found.summary.endswith("curl[2001].")


@pytest.mark.parametrize(
    ("ttl", "confidence"), [(64, "likely"), (62, "likely"), (61, "possible"), (255, "possible")]
)
def test_other_ttl_than_the_handshake(ttl: int, confidence: str) -> None:
    found = ask("peer-reset", "ESTABLISHED", packet=segment(RST | ACK, ttl=ttl))
    assert found
    assert found.confidence == confidence
    assert any("device in the path" in line for line in found.evidence) == (
        confidence == "possible"
    )


def test_ttl_does_not_matter_when_the_sender_is_known() -> None:
    found = ask("peer-reset", "ESTABLISHED", SENDER, segment(RST | ACK, ttl=255))
    assert found
    assert found.confidence == "certain"


def test_what_is_lost() -> None:
    busy = sock(rcv_nxt=1010, copied_seq=1000, write_seq=5001, snd_una=5000)
    found = ask("peer-reset", "ESTABLISHED", sock=busy)
    assert found
    assert "10 received bytes not read yet" in found.evidence
    assert "1 byte sent but not acknowledged" in found.evidence


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (None, ""),
        (APPLICATION, "aborted the connection"),
        (BARE, "no such connection"),
        (segment(RST, window=0, option_kinds=(1, 1, 8)), ""),
        (segment(RST, window=512), ""),
    ],
)
def test_fingerprint(packet: Any, words: str) -> None:
    assert words in fingerprint(packet)
    assert bool(words) == bool(fingerprint(packet))


# -- the others ------------------------------------------------------------------------------------


def test_connection_refused() -> None:
    reset = received_reset(
        judged("SYN_SENT", REFUSED), arrived(APPLICATION, handshake=shake(tx_ns=T - 10 * MS))
    )
    found = finding("connection-refused", reset, Facts(owner=CURL))
    assert found
    assert found.confidence == "certain"
    assert "nothing listens there, or a firewall there rejects" in found.summary
    assert "answered 10 ms after our SYN" in found.evidence
    assert found.initiator == "server"


def test_peer_closed_first() -> None:
    found = ask("peer-closed-first", "CLOSE_WAIT")
    assert found
    assert "had closed its end; curl[2001] had not" in found.summary


@pytest.mark.parametrize(
    ("socket", "benign"), [(sock(), False), (sock(has_socket=False), True), (None, False)]
)
def test_reset_after_fin_matters_only_to_who_still_holds_it(socket: Any, benign: bool) -> None:
    found = ask("reset-after-fin", "FIN_WAIT2", sock=socket)
    assert found
    assert found.benign is benign


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("FIN_WAIT1", "ECONNRESET on the next read"),
        ("FIN_WAIT2", "ECONNRESET on the next read"),
        ("CLOSING", "end of file"),  # the peer's FIN had come
        ("LAST_ACK", "end of file"),
    ],
)
def test_what_the_holder_of_a_half_closed_socket_sees(state: str, words: str) -> None:
    held = ask("reset-after-fin", state)
    assert held
    assert held.sees
    assert words in held.sees
    orphan = ask("reset-after-fin", state, sock=sock(has_socket=False))
    assert orphan
    assert orphan.sees is None


def test_reset_no_socket() -> None:
    gone = dropped(segment(RST), "NO_SOCKET")
    found = finding("reset-no-socket", received_reset(gone, arrived(), direction="rejected"))
    assert found
    assert found.confidence == "certain"


@pytest.mark.parametrize("reason", ["TCP_RESET", "NETFILTER_DROP", None])
def test_other_drops_are_not_for_want_of_a_socket(reason: str | None) -> None:
    gone = dropped(segment(RST), reason)
    reset = received_reset(gone, arrived(), direction="rejected")
    assert finding("reset-no-socket", reset) is None


def test_suppressed_is_not_received() -> None:
    """Our own RST that our firewall dropped."""
    gone = dropped(segment(RST), "NO_SOCKET")
    reset = received_reset(gone, direction="suppressed", decided=record("tcp_send_reset", skb=1))
    assert explained(reset).verdict.cause == "reset-suppressed"
