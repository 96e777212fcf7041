"""From a finding to a verdict: who reset, what the application gets, what to change."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.causes import catalogue
from rsttrace.causes.case import Case, Sender, at, count_of, duration, name_of
from rsttrace.causes.rules import rules
from rsttrace.enrich import Facts
from rsttrace.enrich.place import Question
from rsttrace.explain import errno_of, question_of, sender_of
from rsttrace.listeners import Listeners
from rsttrace.packet import ACK, FIN, PSH, SYN

from .build import (
    A1,
    A2,
    A3,
    A4,
    A10,
    CLIENT_PORT,
    FIREWALL,
    HERE,
    NETNS,
    NGINX,
    P1,
    P2,
    PORT,
    REFUSED,
    SK,
    THERE,
    answered,
    arrived,
    decided,
    dropped,
    explained,
    history,
    judged,
    left,
    listener,
    received_reset,
    record,
    reset,
    segment,
    sent_reset,
    sock,
)

UNREAD = sock(rcv_nxt=1312, copied_seq=1000)
LINGER_ZERO = sock(flags=16)


def error(number: int) -> Any:
    return record("inet_sk_error_report", sk=SK, errno=number)


# -- errno -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("SYN_SENT", "ECONNREFUSED"),
        ("ESTABLISHED", "ECONNRESET"),
        ("CLOSE_WAIT", "EPIPE"),
        ("FIN_WAIT2", "ECONNRESET"),
        ("SYN_RECV", "ECONNRESET"),
    ],
)
def test_errno_of_a_reset_that_was_believed(state: str, name: str) -> None:
    frames = REFUSED if state == "SYN_SENT" else ("tcp_reset", "tcp_validate_incoming")
    assert errno_of(received_reset(judged(state, frames))) == name


def test_errno_the_kernel_reported_counts_more() -> None:
    assert errno_of(received_reset(judged("ESTABLISHED"), error=error(110))) == "ETIMEDOUT"
    assert errno_of(received_reset(judged("ESTABLISHED"), error=error(9999))) == "9999"
    assert errno_of(received_reset(judged("CLOSE_WAIT"), error=error(0))) == "EPIPE"


def test_nobody_is_told_of_a_reset_to_an_orphan() -> None:
    assert errno_of(received_reset(judged("FIN_WAIT2", sock=sock(flags=1)))) is None


def test_nobody_is_told_of_a_reset_that_was_refused() -> None:
    one = received_reset(dropped(segment(), "TCP_RESET"), arrived(), direction="rejected")
    assert errno_of(one) is None


def test_errno_of_the_end_that_resets() -> None:
    assert errno_of(sent_reset(decided(A10))) == "ECONNABORTED"
    assert errno_of(sent_reset(decided(A10), direction="suppressed")) == "ECONNABORTED"
    assert errno_of(sent_reset(decided(A1, sock=UNREAD))) is None
    # connect(AF_UNSPEC): its own later read gives ECONNRESET
    assert errno_of(sent_reset(decided(A3), error=error(104))) == "ECONNRESET"


def test_nobody_is_told_when_the_application_itself_has_closed() -> None:
    """tcp_disconnect() reports an error, but its descriptor is gone (row A2)."""
    assert errno_of(sent_reset(decided(A2, sock=LINGER_ZERO), error=error(104))) is None


def test_nobody_is_told_of_a_connection_that_was_never_accepted() -> None:
    """Row A4: no application ever had this socket."""
    child = sock(has_socket=False, owned=False, shutdown=0)
    assert errno_of(sent_reset(decided(A4, sock=child), error=error(104))) is None


# -- initiator and log term ------------------------------------------------------------------------

ACTIVE_END, PASSIVE_END = history(flags=1), history(flags=2)


@pytest.mark.parametrize(
    ("one", "initiator", "term"),
    [
        (sent_reset(decided(A1, sock=UNREAD, history=PASSIVE_END)), "server", "server"),
        (sent_reset(decided(A1, sock=UNREAD, history=ACTIVE_END)), "client", "client"),
        (sent_reset(decided(A1, sock=UNREAD, history=None)), "unknown", None),
        (received_reset(judged("ESTABLISHED", history=ACTIVE_END)), "server", "server"),
        (received_reset(judged("ESTABLISHED", history=PASSIVE_END)), "client", "client"),
        (received_reset(judged("SYN_SENT", REFUSED, history=None)), "server", "server"),
        (sent_reset(answered(segment(SYN))), "server", "server"),
        (sent_reset(answered(segment(SYN | ACK))), "client", "client"),
        (sent_reset(answered(segment(ACK), P2, sk=SK, state="LISTEN")), "server", "server"),
        (sent_reset(answered(segment(FIN | ACK))), "unknown", None),
    ],
)
def test_who_reset(one: Any, initiator: str, term: str | None) -> None:
    verdict = explained(one).verdict
    assert verdict.initiator == initiator
    assert verdict.log_term == (f"tcp-rst-from-{term}" if term else None)


def test_a_listener_on_the_port_makes_this_end_the_server() -> None:
    facts = Facts(listeners=Listeners([listener()]))
    assert explained(sent_reset(answered(segment(FIN | ACK))), facts).verdict.initiator == "server"
    other = Facts(listeners=Listeners([listener("127.0.0.1")]))
    verdict = explained(sent_reset(answered(segment(FIN | ACK))), other).verdict
    assert verdict.initiator == "unknown"


def test_firewall_of_this_host() -> None:
    one = sent_reset(
        None, left(frames=FIREWALL), trigger_drop=dropped(segment(SYN), "NETFILTER_DROP")
    )
    verdict = explained(one).verdict
    assert (verdict.initiator, verdict.log_term) == ("local-firewall", "not-applicable")
    rejected = sender_of(explained(one))
    got = explained(received_reset(judged("SYN_SENT", REFUSED)), sender=rejected).verdict
    assert (got.initiator, got.log_term) == ("local-firewall", "not-applicable")
    other = Sender("closed-port", "certain", "...", False)
    got = explained(received_reset(judged("SYN_SENT", REFUSED)), sender=other).verdict
    assert (got.initiator, got.log_term) == ("server", "tcp-rst-from-server")


# -- remedies, benign, phase -----------------------------------------------------------------------


def test_catalogue_speaks_unless_the_rule_does() -> None:
    verdict = explained(sent_reset(decided(A2, sock=LINGER_ZERO))).verdict
    entry = catalogue()["linger-zero"]
    assert verdict.remedies == entry.remedies
    assert (verdict.phase, verdict.benign, verdict.sees) == (
        entry.phase,
        entry.benign,
        entry.receiver_sees,
    )


def test_receiver_is_given_the_senders_remedies() -> None:
    sender = Sender("linger-zero", "certain", "...", False, ("remove SO_LINGER",))
    verdict = explained(received_reset(judged("ESTABLISHED")), sender=sender).verdict
    assert verdict.remedies == ("remove SO_LINGER",)
    unsure = Sender("unknown", "unknown", "...", False, ("nothing",))
    verdict = explained(received_reset(judged("ESTABLISHED")), sender=unsure).verdict
    assert verdict.remedies == catalogue()["peer-reset"].remedies


def test_harmless_at_the_sender_is_harmless_here() -> None:
    harmless = Sender("tls-close-notify", "certain", "...", True)
    assert explained(received_reset(judged("CLOSE_WAIT")), sender=harmless).verdict.benign
    harmful = Sender("data-after-close", "certain", "...", False)
    assert not explained(received_reset(judged("CLOSE_WAIT")), sender=harmful).verdict.benign


def test_sender_of_names_the_process() -> None:
    one = explained(sent_reset(decided(A2, sock=LINGER_ZERO)), Facts(actor=NGINX))
    assert sender_of(one).words == "linger-zero by nginx[1432], on this host"
    assert sender_of(explained(sent_reset(decided(A2)), Facts())).process == ""


def test_no_empty_evidence() -> None:
    for rule in rules():
        assert rule.cause in catalogue()
    for one in (sent_reset(decided(A1, sock=UNREAD)), received_reset(judged("ESTABLISHED"))):
        assert all(explained(one).verdict.evidence)


def test_first_rule_that_answers_decides() -> None:
    """AFTER: special before general."""
    order = [rule.cause for rule in rules()]
    for special, general in (
        ("process-exit-unread-data", "unread-data-on-close"),
        ("tls-close-notify", "data-after-close"),
        ("late-segment", "stale-connection"),
        ("listener-closed", "linger-zero"),
    ):
        assert order.index(special) < order.index(general)


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 us"),
        (0.0000004, "0 us"),
        (0.000150, "150 us"),
        (0.035, "35 ms"),
        (2.14, "2.1 s"),
        (119, "119.0 s"),
        (720, "12 min"),
        (12_600, "3.5 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_small_words() -> None:
    assert at("10.0.0.1", 80) == "10.0.0.1:80"
    assert at("fd00::1", 80) == "[fd00::1]:80"
    assert count_of(1, "byte") == "1 byte"
    assert count_of(4096, "byte") == "4,096 bytes"
    assert name_of(NGINX) == "nginx[1432]"
    assert name_of(None, "somebody") == "somebody"


def test_who_is_an_application_when_the_owner_is_not_known() -> None:
    verdict = explained(sent_reset(decided(A1, sock=UNREAD))).verdict
    assert verdict.summary.startswith("an application closed the socket")


def test_p1_stack_before_6_10_is_socketless() -> None:
    """Without a decision only tcp_v4_rcv() itself means that no socket matched."""
    drop = dropped(segment(PSH | ACK, b"x"), "NO_SOCKET")
    plain = left(frames=("__dev_queue_xmit", *P1))
    assert explained(sent_reset(None, plain, trigger_drop=drop)).verdict.cause == "stale-connection"
    by_listener = left(frames=("__dev_queue_xmit", *P2))
    verdict = explained(sent_reset(None, by_listener, trigger_drop=drop)).verdict
    assert verdict.cause not in ("stale-connection", "closed-port")


# -- what to ask the host --------------------------------------------------------------------------

WANTS = ("settings", "sockets")
BY_CLIENT = history(flags=1, close_ns=0)
BY_SERVER = history(flags=2, close_ns=0)


def question(one: Any, *wants: str) -> Question:
    return question_of(Case(one, Facts()), wants or WANTS)


def ends(asked: Question) -> tuple[int, int]:
    return asked.lport, asked.rport


def test_question() -> None:
    asked = question(received_reset(judged("ESTABLISHED", history=None), arrived(dev="eth0")))
    assert asked == Question(NETNS, 4, HERE, PORT, THERE, CLIENT_PORT, device="eth0", wants=WANTS)
    assert question(sent_reset(decided(A1))).device == ""


def test_port_of_chance_is_left_out() -> None:
    """One answer serves all clients of a server, and all connections of a client to one."""
    server = received_reset(judged("ESTABLISHED", history=BY_SERVER))
    client = received_reset(judged("ESTABLISHED", history=BY_CLIENT))
    unknown = received_reset(judged("ESTABLISHED", history=None))
    assert ends(question(server)) == (PORT, 0)
    assert ends(question(client)) == (0, CLIENT_PORT)
    assert ends(question(unknown)) == (PORT, CLIENT_PORT)


def test_flow_is_exact_where_it_has_to_be() -> None:
    """Connection tracking knows flows only, and of a rejected segment the role is a guess."""
    server = received_reset(judged("ESTABLISHED", history=BY_SERVER))
    assert ends(question(server, "settings", "conntrack")) == (PORT, CLIENT_PORT)
    refused = reset(direction="rejected", judged=judged("LISTEN", history=None))
    assert ends(question(refused)) == (PORT, CLIENT_PORT)
