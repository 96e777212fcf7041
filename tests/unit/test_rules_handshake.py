"""Rules on handshakes that go wrong, and on segments that met no connection."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes.case import Finding
from rsttrace.enrich import Facts, Process
from rsttrace.explain import Verdict
from rsttrace.listeners import Listener, Listeners
from rsttrace.packet import ACK, FIN, PSH, RST, SYN, URG, Packet
from rsttrace.patterns import Event, Neighbours
from rsttrace.records import Handshake, History

from .build import (
    A4,
    HERE,
    MS,
    NGINX,
    P1,
    P2,
    P5,
    PORT,
    SECOND,
    SK,
    SOFTIRQ,
    THERE,
    T,
    answered,
    decided,
    earlier,
    explained,
    finding,
    history,
    left,
    listener,
    rst,
    segment,
    sent_reset,
    shake,
    sock,
)

P13 = (
    "tcp_v4_send_reset",
    "tcp_check_req",
    "tcp_rcv_state_process",
    "tcp_v4_do_rcv",
    "tcp_v4_rcv",
    *SOFTIRQ,
)
A12 = (
    "tcp_send_active_reset",
    "tcp_disconnect",
    "inet_child_forget",
    "inet_csk_reqsk_queue_add",
    "tcp_conn_request",
    "tcp_v4_conn_request",
    "tcp_rcv_state_process",
    "tcp_v4_do_rcv",
    *SOFTIRQ,
)
JOIN = ("tcp_v4_send_reset", "subflow_v4_route_req", "tcp_conn_request", "tcp_v4_rcv", *SOFTIRQ)

# sequence numbers: our SYN has 4999, so 5000 (the ack of segment()) acknowledges it
OPENING = sock(snd_una=4999, snd_nxt=5000, write_seq=5000)
LISTENING: dict[str, Any] = {"sk": SK, "state": "LISTEN", "sock": sock()}
SYN_SENT: dict[str, Any] = {"sk": SK, "state": "SYN_SENT", "sock": OPENING}
SYN_RECV: dict[str, Any] = {"sk": SK, "state": "SYN_RECV", "sock": OPENING}
FIN_WAIT2: dict[str, Any] = {"sk": SK, "state": "TIME_WAIT", "tw_substate": "FIN_WAIT2"}
# the peer's SYN came 20 ms ago, our SYN+ACK has the number 4999
ASKED = shake(rx_ns=T - 20 * MS, tx_ns=T - 19 * MS, tx_seq=4999)
# our SYN left 20 ms ago, the SYN+ACK has just come
LEFT = shake(rx_ns=T - MS, tx_ns=T - 20 * MS, tx_seq=4999)
SYN_ACK = segment(SYN | ACK, ack=5000)
DATA = segment(PSH | ACK, b"x" * 10)
GAVE_UP = earlier(old_state="SYN_SENT", flags=1 | 32, close_pid=2001, close_comm="curl")
ENDED = earlier(old_state="LAST_ACK", flags=1)
SCANNER = Facts(
    neighbours=Neighbours(tuple(Event(T - i * MS, i, "closed-port", True) for i in range(1, 13)))
)

Setting = dict[str, Any]


def verdict(
    trigger: Packet, frames: tuple[str, ...], facts: Facts | None = None, **changes: Any
) -> Verdict:
    """What all rules say to such a passive reset."""
    return explained(sent_reset(answered(trigger, frames, **changes)), facts).verdict


def ask(
    cause: str,
    trigger: Packet,
    frames: tuple[str, ...] = P1,
    facts: Facts | None = None,
    **changes: Any,
) -> Finding:
    found = finding(cause, sent_reset(answered(trigger, frames, **changes)), facts)
    assert found
    return found


# -- each cause out of all rules -------------------------------------------------------------------

EXACT: dict[str, tuple[Packet, tuple[str, ...], Setting, str, str]] = {
    # unexpected-syn-ack
    "given up": (SYN_ACK, P1, {"history": GAVE_UP}, "unexpected-syn-ack", "certain"),
    "made by hand": (SYN_ACK, P1, {"handshake": LEFT}, "unexpected-syn-ack", "likely"),
    "unasked": (SYN_ACK, P1, {}, "unexpected-syn-ack", "likely"),
    "unasked, port listens": (SYN_ACK, P2, LISTENING, "unexpected-syn-ack", "likely"),
    "repeated SYN+ACK": (SYN_ACK, P1, {"history": earlier()}, "late-segment", "certain"),
    # an ordinary SYN
    "closed port": (segment(SYN), P1, {}, "closed-port", "certain"),
    # bad-syn
    "no flags": (segment(0), P1, {}, "bad-syn", "certain"),
    "FIN": (segment(FIN), P1, {}, "bad-syn", "certain"),
    "Xmas": (segment(FIN | PSH | URG), P1, {}, "bad-syn", "certain"),
    "PSH": (segment(PSH), P1, {}, "bad-syn", "certain"),
    "SYN and FIN": (segment(SYN | FIN), P1, {}, "bad-syn", "certain"),
    "SYN, FIN and ACK": (segment(SYN | FIN | ACK), P2, LISTENING, "bad-syn", "certain"),
    "FIN, connection known": (segment(FIN), P1, {"history": earlier()}, "bad-syn", "certain"),
    "second SYN": (segment(SYN), P5, LISTENING, "bad-syn", "certain"),
    "second SYN+ACK": (SYN_ACK, P5, LISTENING, "bad-syn", "certain"),
    "SYN in FIN_WAIT2": (segment(SYN), P1, FIN_WAIT2, "bad-syn", "certain"),
    # fastopen-reset
    "Fast Open": (segment(SYN), P13, SYN_RECV, "fastopen-reset", "certain"),
    "Fast Open, SYN+ACK": (SYN_ACK, P13, SYN_RECV, "fastopen-reset", "certain"),
    "Fast Open, closed": (
        segment(SYN),
        P13,
        {**SYN_RECV, "state": "FIN_WAIT1"},
        "fastopen-reset",
        "certain",
    ),
    # bad-ack-in-handshake
    "wrong SYN+ACK": (
        segment(SYN | ACK, ack=6000),
        P2,
        SYN_SENT,
        "bad-ack-in-handshake",
        "certain",
    ),
    "wrong timestamp": (SYN_ACK, P2, SYN_SENT, "bad-ack-in-handshake", "certain"),
    "wrong timestamp, ACK": (
        segment(ACK, ip_id=0),
        P2,
        SYN_SENT,
        "bad-ack-in-handshake",
        "certain",
    ),
    "data in SYN_SENT": (
        segment(PSH | ACK, b"x", ack=6000, ip_id=0),
        P2,
        SYN_SENT,
        "bad-ack-in-handshake",
        "certain",
    ),
    "FIN in SYN_SENT": (
        segment(FIN | ACK, ack=6000, ip_id=0),
        P2,
        SYN_SENT,
        "bad-ack-in-handshake",
        "certain",
    ),
    "both open": (segment(ACK, ack=9), P2, SYN_RECV, "bad-ack-in-handshake", "certain"),
    "wrong last ACK": (
        segment(ACK, ack=5001),
        P2,
        {**LISTENING, "handshake": ASKED},
        "bad-ack-in-handshake",
        "certain",
    ),
    "last ACK of the one before": (
        segment(ACK, ack=5001),
        P2,
        {**LISTENING, "handshake": ASKED, "history": earlier(change_ns=T - 30 * MS)},
        "bad-ack-in-handshake",
        "certain",
    ),
    # timewait-collision
    "peer closed first": (
        segment(ACK, ack=6000),
        P2,
        {**SYN_SENT, "history": ENDED},
        "timewait-collision",
        "certain",
    ),
    "no live socket": (
        segment(ACK, ack=6000, ip_id=0),
        P2,
        SYN_SENT,
        "timewait-collision",
        "likely",
    ),
    # ack-to-listener
    "forgotten handshake": (
        segment(ACK),
        P2,
        {**LISTENING, "handshake": ASKED},
        "ack-to-listener",
        "certain",
    ),
    "its data": (DATA, P2, {**LISTENING, "handshake": ASKED}, "ack-to-listener", "certain"),
    "ACK scan": (segment(ACK), P2, LISTENING, "ack-to-listener", "likely"),
    "ACK scan, other options": (
        segment(ACK, option_kinds=(5,)),
        P2,
        LISTENING,
        "ack-to-listener",
        "likely",
    ),
    # what is left
    "probe": (
        segment(ACK, option_kinds=(1, 1, 8)),
        P2,
        LISTENING,
        "stale-connection",
        "likely",
    ),
    "probe, closed port": (
        segment(ACK, option_kinds=(1, 1, 8)),
        P1,
        {},
        "stale-connection",
        "likely",
    ),
    "ACK, closed port": (segment(ACK), P1, {}, "stale-connection", "possible"),
    "data to a listener": (DATA, P2, LISTENING, "stale-connection", "likely"),
    "FIN and ACK": (segment(FIN | ACK), P1, {}, "stale-connection", "likely"),
    "echo at a listener": (
        segment(ACK),
        P2,
        {**LISTENING, "history": earlier()},
        "late-segment",
        "certain",
    ),
    "handshake that became a connection": (
        segment(ACK),
        P2,
        {**LISTENING, "handshake": ASKED, "history": earlier()},
        "late-segment",
        "certain",
    ),
    "full queue": (
        segment(ACK),
        P5,
        {**LISTENING, "sock": sock(ack_backlog=3, max_ack_backlog=2)},
        "accept-queue-overflow",
        "certain",
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_exactly_this_cause(name: str) -> None:
    trigger, frames, setting, cause, confidence = EXACT[name]
    found = verdict(trigger, frames, **setting)
    assert (found.cause, found.confidence) == (cause, confidence)
    assert found.evidence


MINE = (
    "unexpected-syn-ack",
    "timewait-collision",
    "bad-ack-in-handshake",
    "ack-to-listener",
    "bad-syn",
    "fastopen-reset",
)


@pytest.mark.parametrize("cause", MINE)
@pytest.mark.parametrize(
    ("trigger", "frames", "setting"),
    [
        (SYN_ACK, JOIN, LISTENING),  # MPTCP's own refusal
        (segment(SYN), JOIN, LISTENING),
        (DATA, P1, FIN_WAIT2),  # data-after-close
        (segment(ACK), P2, {"sk": SK, "state": "CLOSE", "sock": sock()}),
        (segment(SYN), P1, {"sk": SK, "state": "TIME_WAIT", "tw_substate": "TIME_WAIT"}),
        (segment(SYN), P2, LISTENING),
    ],
)
def test_none_of_these(
    cause: str, trigger: Packet, frames: tuple[str, ...], setting: Setting
) -> None:
    assert finding(cause, sent_reset(answered(trigger, frames, **setting))) is None


@pytest.mark.parametrize(
    ("cause", "trigger", "frames", "setting"),
    [
        ("unexpected-syn-ack", segment(SYN | FIN | ACK), P1, {}),
        ("unexpected-syn-ack", SYN_ACK, P2, SYN_SENT),
        ("timewait-collision", SYN_ACK, P2, SYN_SENT),
        ("timewait-collision", segment(ACK, ip_id=0), P2, SYN_SENT),  # an ACK of our SYN
        ("bad-ack-in-handshake", SYN_ACK, P13, SYN_RECV),
        ("bad-ack-in-handshake", segment(ACK), P2, {**LISTENING, "handshake": ASKED}),
        ("bad-ack-in-handshake", SYN_ACK, P2, {**LISTENING, "handshake": ASKED}),
        ("ack-to-listener", DATA, P2, {**LISTENING, "handshake": replace(ASKED, tx_seq=1)}),
        ("ack-to-listener", segment(ACK), P2, {**LISTENING, "history": earlier()}),
        ("ack-to-listener", segment(ACK), P1, {}),
        ("bad-syn", segment(SYN), P13, SYN_RECV),
        ("fastopen-reset", segment(SYN), P5, LISTENING),
        ("fastopen-reset", DATA, (P13[0], *P13[2:]), SYN_RECV),
        ("closed-port", segment(SYN | FIN), P1, {}),
        ("late-segment", SYN_ACK, P1, {"history": GAVE_UP}),
        ("late-segment", segment(FIN), P1, {"history": earlier()}),
    ],
)
def test_neighbours(cause: str, trigger: Packet, frames: tuple[str, ...], setting: Setting) -> None:
    """What the order of the rules must not be needed for."""
    assert finding(cause, sent_reset(answered(trigger, frames, **setting))) is None


@pytest.mark.parametrize("cause", MINE)
def test_active_resets_are_none_of_these(cause: str) -> None:
    for state in ("SYN_SENT", "SYN_RECV", "LISTEN"):
        assert finding(cause, sent_reset(decided(A4, state=state, sock=OPENING))) is None


@pytest.mark.parametrize(
    ("setting", "frames", "missing"),
    [
        ({}, P1, "the segment that provoked the RST"),
        ({**LISTENING}, P2, "the segment that provoked the RST"),
        ({**SYN_SENT}, P2, "the segment that provoked the RST"),
    ],
)
def test_without_the_segment(setting: Setting, frames: tuple[str, ...], missing: str) -> None:
    record = replace(answered(SYN_ACK, frames, **setting), packet=None)
    found = explained(sent_reset(record)).verdict
    assert found.cause == "insufficient-data"
    assert missing in found.summary


def test_without_the_socket() -> None:
    found = verdict(segment(ACK, ack=6000), P2, sk=SK, state="SYN_SENT")
    assert found.cause == "insufficient-data"
    assert "the state of the socket" in found.summary


def test_without_the_stack() -> None:
    """Symbols hidden: an ordinary request and a Fast Open connection look alike."""
    found = verdict(segment(SYN), ("0xffffffff81000000",), **LISTENING)
    assert found.cause == "insufficient-data"
    assert "the kernel stack" in found.summary


# -- unexpected-syn-ack ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "benign", "words"),
    [
        (GAVE_UP, True, "curl[2001] had given up connecting 5 ms before"),
        (replace(GAVE_UP, errno=errno.ETIMEDOUT, flags=1), False, "the connect() of a process had"),
        (
            replace(GAVE_UP, flags=1 | 16, pid=7, comm="wget"),
            False,
            "a reset had refused the connection of wget[7] 5 ms before",
        ),
        (replace(GAVE_UP, flags=1, pid=7, comm="wget"), True, "wget[7] had given up connecting"),
    ],
)
def test_answer_that_came_too_late(attempt: History, benign: bool, words: str) -> None:
    facts = Facts(closer=Process(2001, "curl") if attempt.closed_by_process else None)
    found = ask("unexpected-syn-ack", SYN_ACK, P1, facts, history=attempt, handshake=LEFT)
    assert words in found.summary
    assert found.benign is benign
    assert bool(found.remedies) == (not benign)


def test_hand_made_syn_after_a_connection_with_these_ports() -> None:
    """What ended before the SYN left has nothing to do with it."""
    for before in (earlier(change_ns=T - 30 * MS), replace(GAVE_UP, change_ns=T - 30 * MS)):
        found = verdict(SYN_ACK, P1, history=before, handshake=LEFT)
        assert found.cause == "unexpected-syn-ack"
        assert "a program made the SYN itself" in found.summary
        assert any("left this host 20 ms before" in line for line in found.evidence)


def test_old_syn_is_not_the_one_answered() -> None:
    long_ago = shake(rx_ns=T - MS, tx_ns=T - 121 * SECOND)
    assert "did not ask for" in verdict(SYN_ACK, P1, handshake=long_ago).summary


@pytest.mark.parametrize(
    ("watched", "young"), [(None, False), (120 * SECOND, False), (119 * SECOND, True)]
)
def test_a_young_trace_may_have_missed_the_syn(watched: int | None, young: bool) -> None:
    found = ask("unexpected-syn-ack", SYN_ACK, P1, Facts(watched_ns=watched))
    assert found.confidence == "likely"
    assert bool(found.missing) == young
    assert ("before this trace began" in found.summary) == young


# -- timewait-collision ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "is_timewait"),
    [
        ({"ack": 4999, "ip_id": 0}, True),  # TIME_WAIT refuses what is not newer
        ({"ack": 4998, "ip_id": 0}, False),  # it would have let our SYN in
        ({"ack": 4998, "ip_id": 0, "option_kinds": (1, 1, 8)}, True),  # but for its timestamp
        ({"ack": 6000, "ip_id": 77}, False),  # a live socket of Linux counts its packets
        ({"ack": 6000, "ip_id": None}, True),  # IPv6 has no such number
        ({"ack": 4998, "ip_id": None}, False),
        ({"ack": 6000, "ip_id": None, "option_kinds": (8,)}, False),
        ({"ack": 4999 + (1 << 31), "ip_id": 0}, False),  # behind, by more than half the numbers
    ],
)
def test_who_may_have_answered_our_syn(changes: dict[str, Any], is_timewait: bool) -> None:
    """Nothing is known of a connection before: only the answer itself tells."""
    found = verdict(segment(ACK, **changes), P2, **SYN_SENT)
    assert found.cause == ("timewait-collision" if is_timewait else "bad-ack-in-handshake")
    assert found.confidence == "likely"
    assert found.missing == "how the earlier connection with these ports ended"


@pytest.mark.parametrize(
    ("before", "is_timewait"),
    [
        (ENDED, True),
        (replace(ENDED, old_state="CLOSING"), True),
        (replace(ENDED, old_state="FIN_WAIT2"), False),  # this end had closed first
        (replace(ENDED, old_state="ESTABLISHED"), False),  # it vanished: a half-open connection
        (replace(ENDED, flags=1 | 8), False),  # reset
        (replace(ENDED, flags=1 | 16), False),
        (replace(ENDED, errno=errno.ETIMEDOUT), False),
        (GAVE_UP, False),
    ],
)
@pytest.mark.parametrize("ip_id", [0, 77, None])
def test_the_connection_before_decides(
    before: History, is_timewait: bool, ip_id: int | None
) -> None:
    trigger = segment(ACK, ack=6000, ip_id=ip_id)
    found = verdict(trigger, P2, **SYN_SENT, history=before)
    assert found.cause == ("timewait-collision" if is_timewait else "bad-ack-in-handshake")
    assert found.confidence == "certain"
    assert any("5 ms ago" in line for line in found.evidence)


def test_a_connection_long_before_does_not_decide() -> None:
    before = replace(ENDED, change_ns=T - 61 * SECOND)
    found = verdict(segment(ACK, ack=6000, ip_id=0), P2, **SYN_SENT, history=before)
    assert (found.cause, found.confidence) == ("timewait-collision", "likely")


def test_numbers_wrap() -> None:
    near_end = sock(snd_una=0xFFFFFFF0, snd_nxt=0xFFFFFFF1)
    found = verdict(segment(ACK, ack=16, ip_id=0), P2, **{**SYN_SENT, "sock": near_end})
    assert found.cause == "timewait-collision"
    assert any("32 at or ahead of" in line for line in found.evidence)


# -- bad-ack-in-handshake --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (SYN_ACK, "with a timestamp that this host never sent"),
        (segment(SYN | ACK, ack=4999), "answered another SYN than that of nginx[1432]"),
        (segment(SYN | ACK, ack=5001), "answered another SYN than that of nginx[1432]"),
        (segment(ACK, ack=1), "still has an earlier connection with these ports open"),
    ],
)
def test_answers_to_our_syn(trigger: Packet, words: str) -> None:
    found = ask("bad-ack-in-handshake", trigger, P2, Facts(owner=NGINX), **SYN_SENT)
    assert words in found.summary


@pytest.mark.parametrize(
    ("fast", "words"), [(True, "a Fast Open connection"), (False, "both ends")]
)
def test_full_socket_in_syn_recv(fast: bool, words: str) -> None:
    setting = {**SYN_RECV, "sock": replace(OPENING, fastopen=fast)}
    found = ask("bad-ack-in-handshake", segment(ACK, ack=5010), P2, **setting)
    assert words in found.summary
    assert "its ack number is 10 ahead of the right one" in found.evidence


@pytest.mark.parametrize(
    "handshake",
    [
        None,
        shake(rx_ns=T - MS, tx_ns=0),  # never answered
        LEFT,  # ours: this host was the client
        shake(rx_ns=T - 130 * SECOND, tx_ns=T - 121 * SECOND, tx_seq=4999),  # given up long ago
    ],
)
def test_no_handshake_of_a_client_is_under_way(handshake: Handshake | None) -> None:
    found = verdict(DATA, P2, **LISTENING, handshake=handshake)
    assert found.cause == "stale-connection"


def test_syn_ack_repeated_for_a_minute_is_still_a_handshake() -> None:
    repeated = shake(rx_ns=T - 130 * SECOND, tx_ns=T - 60 * SECOND, tx_seq=4999)
    assert verdict(DATA, P2, **LISTENING, handshake=repeated).cause == "ack-to-listener"


# -- ack-to-listener -------------------------------------------------------------------------------


def test_handshake_given_up_is_no_scan() -> None:
    found = ask("ack-to-listener", DATA, P2, **LISTENING, handshake=ASKED)
    assert found.benign is False
    assert "SYN 20 ms before, our last SYN+ACK 19 ms before" in found.evidence
    assert found.remedies
    assert "TcpExtListenOverflows" in found.remedies[0]


def test_a_scanner_is_known_by_its_other_tries() -> None:
    alone = ask("ack-to-listener", segment(ACK), P2, **LISTENING)
    assert "before a restart" in alone.summary
    assert alone.missing
    busy = ask("ack-to-listener", segment(ACK), P2, SCANNER, **LISTENING)
    assert "before a restart" not in busy.summary
    assert not busy.missing
    assert "in the minute before, this address tried 12 ports" in busy.evidence


# -- bad-syn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0, "a segment without any flag to port 8080, which no TCP does: a scan (nmap -sN"),
        (FIN, "FIN without ACK to port 8080, which no TCP does: a scan (nmap -sF"),
        (FIN | PSH | URG, "FIN+PSH+URG without ACK to port 8080, which no TCP does: a scan (nmap"),
        (SYN | FIN, "SYN+FIN to port 8080, which no TCP does: a scan."),
    ],
)
def test_scans(flags: int, words: str) -> None:
    found = ask("bad-syn", segment(flags), P1, SCANNER)
    assert words in found.summary
    assert found.benign is True
    assert found.phase == "no-connection"
    assert "in the minute before, this address tried 12 ports" in found.evidence


def test_who_had_closed_the_connection_in_fin_wait2() -> None:
    past = earlier(old_state="FIN_WAIT2", flags=2 | 32)
    found = ask("bad-syn", segment(SYN), P1, Facts(closer=NGINX), **FIN_WAIT2, history=past)
    assert "nginx[1432] had closed one with the same ports 5 ms before" in found.summary


# -- fastopen-reset --------------------------------------------------------------------------------


def test_fast_open_connection_in_use() -> None:
    found = ask("fastopen-reset", segment(SYN), P13, **SYN_RECV)
    assert any("held by an application" in line for line in found.evidence)
    waiting = {**SYN_RECV, "sock": replace(OPENING, has_socket=False)}
    found = ask("fastopen-reset", segment(SYN), P13, **waiting)
    assert any("not accepted yet" in line for line in found.evidence)


def test_fast_open_child_without_a_place() -> None:
    child = sock(has_socket=False, shutdown=0, owned=False)
    found = explained(sent_reset(decided(A12, sock=child))).verdict
    assert (found.cause, found.confidence) == ("fastopen-reset", "certain")
    assert "stopped listening" in found.summary


def test_waiting_children_are_the_listeners_matter() -> None:
    """Also Fast Open ones."""
    child = sock(has_socket=False, fastopen=True)
    assert explained(sent_reset(decided(A4, sock=child))).verdict.cause == "listener-closed"


# -- closed-port -----------------------------------------------------------------------------------

WIRE_P1 = (*left().frames, *P1[1:])


@pytest.mark.parametrize(
    ("handshake", "ack", "confidence"),
    [
        (shake(rx_seq=999), 1000, "likely"),  # so would an entry in FIN_WAIT2
        (shake(rx_seq=999), 1001, "likely"),  # SYN and FIN, or another segment
        (None, 1000, "likely"),
    ],
)
def test_closed_port_without_the_segment(
    handshake: Handshake | None, ack: int, confidence: str
) -> None:
    """Before 6.10 the RST, and the SYN that was noted on the wire, must do."""
    wire = left(rst(RST | ACK, seq=0, ack=ack), WIRE_P1, handshake=handshake)
    found = explained(sent_reset(None, wire)).verdict
    assert (found.cause, found.confidence) == ("closed-port", confidence)


def test_port_that_listens_is_not_closed() -> None:
    """Without the decision an entry in FIN_WAIT2, which answers alike, cannot be ruled out."""
    wire = left(rst(RST | ACK, seq=0, ack=1000), WIRE_P1, handshake=shake())
    facts = Facts(listeners=Listeners([listener()]))
    assert finding("closed-port", sent_reset(None, wire), facts) is None


@pytest.mark.parametrize("address", [HERE, "0.0.0.0"])
def test_listener_bound_to_a_device(address: str) -> None:
    facts = Facts(listeners=Listeners([listener(address)]))
    found = ask("closed-port", segment(SYN), P1, facts)
    assert f"nginx[1432] on {address}:8080 listens, but did not match" in found.summary
    assert found.remedies
    assert "SO_BINDTODEVICE" in found.remedies[0]


# -- stale-connection and late-segment -------------------------------------------------------------


def test_timed_out_without_a_word() -> None:
    """No RST was sent then, so this is no echo."""
    past = earlier(errno=errno.ETIMEDOUT, flags=2, old_state="ESTABLISHED")
    found = verdict(DATA, P1, history=past)
    assert (found.cause, found.confidence) == ("stale-connection", "certain")
    assert "it timed out here 5 ms before (ETIMEDOUT), and then no RST is sent" in found.summary
    bare = verdict(segment(ACK), P2, **LISTENING, history=past)
    assert (bare.cause, bare.confidence) == ("stale-connection", "certain")
    # a RST has answered since
    again = verdict(DATA, P1, history=replace(past, flags=2 | 8))
    assert again.cause == "late-segment"


def test_ended_long_ago() -> None:
    past = earlier(change_ns=T - 300 * SECOND, flags=2, old_state="LAST_ACK")
    found = verdict(DATA, P1, history=past)
    assert (found.cause, found.confidence) == ("stale-connection", "likely")
    assert "it ended here 5 min before" in found.summary
    assert any("begun with another host" in line for line in found.evidence)
    bare = verdict(segment(ACK), P1, history=past)
    assert (bare.cause, bare.confidence) == ("stale-connection", "possible")


def test_ended_before_another_began() -> None:
    """A handshake since then: the segment need not be of the one that ended."""
    past = earlier(change_ns=T - 300 * SECOND, flags=2, old_state="LAST_ACK")
    since = shake(rx_ns=T - 200 * SECOND, tx_ns=T - 200 * SECOND, tx_seq=1)
    found = verdict(DATA, P1, history=past, handshake=since)
    assert (found.cause, found.confidence) == ("stale-connection", "likely")


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (listener(opened_ns=T - 3 * SECOND), "began to listen 3.0 s before, so it was restarted"),
        (listener(), "a restart, a time-out without goodbye, or a NAT"),  # since before the trace
        (None, "a restart, a time-out without goodbye, or a NAT"),
    ],
)
def test_why_a_connection_is_not_known(here: Listener | None, words: str) -> None:
    facts = Facts(listeners=Listeners([here] if here else []))
    assert words in ask("stale-connection", DATA, P2, facts, **LISTENING).summary


def test_service_that_stopped() -> None:
    table = Listeners([])
    gone = replace(listener(), closed_ns=T - 35 * MS)
    table._closed.append(gone)
    found = ask("stale-connection", DATA, P1, Facts(listeners=table))
    assert "nginx[1432] on 10.0.0.5:8080 stopped 35 ms before" in found.summary


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (segment(ACK), "a bare ACK without timestamps can also be a scan (nmap -sA)"),
        (segment(ACK, option_kinds=(5,)), "a bare ACK without timestamps can also be a scan"),
        (segment(FIN | ACK), "a FIN without timestamps can also be a scan (nmap -sM)"),
        (segment(ACK, option_kinds=(1, 1, 8)), ""),
        (DATA, ""),
    ],
)
def test_hand_made_segments_have_no_timestamps(trigger: Packet, words: str) -> None:
    found = ask("stale-connection", trigger, P1)
    said = [line for line in found.evidence if "scan" in line]
    assert len(said) == bool(words)
    assert all(line.startswith(words) for line in said)


def test_a_scanners_data_is_doubtful() -> None:
    found = ask("stale-connection", DATA, P1, SCANNER)
    assert found.confidence == "possible"
    assert "this address tries many ports (12)" in found.evidence


@pytest.mark.parametrize(
    ("past", "left_ns", "cause"),
    [
        (earlier(), T - 20 * MS, "late-segment"),
        (earlier(), T - MS, "unexpected-syn-ack"),  # a SYN has left since
        (GAVE_UP, T - 20 * MS, "unexpected-syn-ack"),
    ],
)
def test_repeated_syn_ack(past: History, left_ns: int, cause: str) -> None:
    handshake = shake(rx_ns=T, tx_ns=left_ns)
    assert verdict(SYN_ACK, P1, history=past, handshake=handshake).cause == cause


def test_own_life_is_no_earlier_connection() -> None:
    """The socket in SYN_SENT itself: nothing is known of one before."""
    own = history(flags=1, old_state="CLOSE", close_ns=0)
    found = verdict(segment(ACK, ack=6000), P2, **SYN_SENT, history=own)
    assert (found.cause, found.confidence) == ("bad-ack-in-handshake", "likely")


def test_names_in_the_text_are_this_worlds() -> None:
    """The remote end is the one that sent the segment."""
    assert f"{THERE}:51234" in verdict(SYN_ACK, P1).summary
    assert f"port {PORT}" in verdict(segment(ACK), P2, **LISTENING).summary
