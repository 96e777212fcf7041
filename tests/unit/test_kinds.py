"""What rules are asked about, and which facts a reset lacks."""

from __future__ import annotations

from typing import Any

import pytest

from rsttrace.causes import kinds
from rsttrace.causes.kinds import (
    AGE,
    DECISION,
    JUDGEMENT,
    PACKET,
    SOCKET,
    STACK,
    TRIGGER,
    Fact,
    kind_of,
)
from rsttrace.model import Reset
from rsttrace.packet import ACK, PSH, RST, SYN

from .build import (
    A1,
    FIREWALL,
    P1,
    P2,
    REPLY,
    SK,
    XMIT,
    answered,
    arrived,
    decided,
    dropped,
    earlier,
    judged,
    left,
    received_reset,
    record,
    reset,
    rst,
    segment,
    sent_reset,
    sock,
)

HIDDEN = ("0xffffffff81000000", "0xffffffff81000001")
SYN_IN = segment(SYN)


def quiet(**changes: Any) -> Reset:
    plain = {"sk": SK, "errno": 110, "state": "CLOSE", "frames": ("tcp_write_err",)}
    error = record("inet_sk_error_report", **{**plain, **changes})
    return reset(direction="none", error=error)


def suppressed(frames: tuple[str, ...] = REPLY, **parts: Any) -> Reset:
    """``frames``: how the RST came to the firewall that dropped it."""
    gone = dropped(rst(), "NETFILTER_DROP", frames=("nf_hook_slow", "__ip_local_out", *frames))
    return reset(**{"direction": "suppressed", "judged": gone, **parts})


# -- kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (sent_reset(decided(A1)), "active"),
        (sent_reset(None, left(frames=(*XMIT, *A1))), "active"),
        (sent_reset(answered(SYN_IN)), "passive"),
        (sent_reset(None, left()), "passive"),
        (sent_reset(None, left(frames=FIREWALL)), "outside"),
        (sent_reset(None, left(frames=(*XMIT, "raw_sendmsg"))), "outside"),
        (sent_reset(None, left(frames=(*XMIT, "packet_snd"))), "outside"),
        (sent_reset(None, left(frames=())), "outside"),
        (reset(direction="forwarded", wire=left(frames=(*XMIT, "ip_forward"))), "passing"),
        (received_reset(judged("ESTABLISHED"), arrived()), "accepted"),
        (received_reset(None, arrived()), "accepted"),
        (received_reset(dropped(segment(RST), "X"), direction="rejected"), "refused"),
        (received_reset(dropped(SYN_IN, "X"), direction="rejected"), "refused"),
        (quiet(), "quiet"),
        (suppressed(decided=answered(SYN_IN)), "passive"),
        (suppressed(A1, decided=decided(A1)), "active"),
        (suppressed(HIDDEN, decided=decided(A1)), "active"),
        (suppressed(HIDDEN, decided=answered(SYN_IN)), "passive"),
        (suppressed(), "passive"),
        (suppressed(FIREWALL), "outside"),
    ],
)
def test_kind_of(one: Reset, kind: str) -> None:
    assert kind_of(one) == kind


def test_forwarded_is_passing_whoever_made_it() -> None:
    """The stack of a bridge may name a maker below."""
    assert kind_of(reset(direction="forwarded", wire=left())) == "passing"


def test_names_of_kinds_are_all_different() -> None:
    names = ("ACTIVE", "PASSIVE", "OUTSIDE", "PASSING", "ACCEPTED", "REFUSED", "QUIET")
    values = {getattr(kinds, name) for name in names}
    assert len(values) == len(names)


# -- facts -----------------------------------------------------------------------------------------

TIMEWAIT: dict[str, Any] = {"sk": SK, "state": "TIME_WAIT", "tw_substate": "FIN_WAIT2"}
BY_SOCKET = (*REPLY, "tcp_v4_do_rcv", "tcp_v4_rcv")
BY_SOCKET6 = (*REPLY, "tcp_v6_do_rcv", "tcp_v6_rcv")
NOBODY = (*REPLY, "tcp_v4_rcv", "process_backlog")
CASES: dict[Fact, tuple[list[Reset], list[Reset]]] = {
    # fact: (resets that lack it, resets that do not)
    DECISION: (
        [sent_reset(None, left()), quiet(), received_reset(judged("ESTABLISHED"))],
        [sent_reset(decided(A1)), sent_reset(answered(SYN_IN)), suppressed(decided=decided(A1))],
    ),
    STACK: (
        [
            sent_reset(decided(())),
            sent_reset(decided(HIDDEN)),
            sent_reset(None, left(frames=HIDDEN)),
            received_reset(judged("ESTABLISHED", HIDDEN), arrived()),
            received_reset(None, arrived()),
            quiet(frames=HIDDEN),
        ],
        [
            sent_reset(decided(A1)),
            sent_reset(decided((HIDDEN[0], "tcp_close"))),
            sent_reset(decided(()), left()),  # the packet's own stack is one
            received_reset(judged("ESTABLISHED")),
            quiet(),
        ],
    ),
    SOCKET: (
        [
            sent_reset(decided(A1, sock=None)),
            sent_reset(answered(SYN_IN, P2, sk=SK, state="LISTEN")),
            received_reset(judged("ESTABLISHED", sock=None)),
            received_reset(dropped(segment(RST), "X", sk=SK, state="CLOSE"), direction="rejected"),
            quiet(),
            sent_reset(None, left(frames=BY_SOCKET)),
            sent_reset(None, left(frames=BY_SOCKET6)),
            sent_reset(None, left(frames=HIDDEN)),
            sent_reset(None, left(frames=())),
        ],
        [
            sent_reset(decided(A1)),
            sent_reset(answered(SYN_IN)),  # a closed port has none to look at
            sent_reset(answered(segment(ACK, b"x"), **TIMEWAIT)),
            sent_reset(answered(segment(ACK), sk=SK, state="NEW_SYN_RECV")),
            sent_reset(None, left(frames=NOBODY)),
            sent_reset(answered(SYN_IN, sk=SK), trigger_drop=dropped(SYN_IN, "X", sock=sock())),
            received_reset(judged("ESTABLISHED")),
            received_reset(dropped(segment(RST), "NO_SOCKET"), direction="rejected"),
            received_reset(dropped(segment(RST), "X", **TIMEWAIT)),
            quiet(sock=sock()),
        ],
    ),
    TRIGGER: (
        [sent_reset(decided(A1)), sent_reset(None, left()), received_reset(None, arrived())],
        [
            sent_reset(answered(SYN_IN)),
            sent_reset(None, left(), trigger_drop=dropped(SYN_IN, "NO_SOCKET")),
            suppressed(decided=answered(SYN_IN)),
        ],
    ),
    PACKET: (
        [sent_reset(decided(A1)), received_reset(judged("ESTABLISHED")), quiet()],
        [
            sent_reset(decided(A1), left()),
            received_reset(None, arrived()),
            received_reset(dropped(segment(RST), "X"), direction="rejected"),
            received_reset(dropped(SYN_IN, "X"), direction="rejected"),
            suppressed(decided=decided(A1)),
        ],
    ),
    JUDGEMENT: (
        [received_reset(None, arrived()), sent_reset(decided(A1)), quiet()],
        [
            received_reset(judged("ESTABLISHED")),
            received_reset(dropped(segment(RST), None), arrived(), direction="rejected"),
        ],
    ),
    AGE: (
        [
            received_reset(judged("ESTABLISHED", sock=None)),
            received_reset(judged("ESTABLISHED", history=None)),
            received_reset(judged("ESTABLISHED", history=earlier())),
        ],
        [
            received_reset(judged("ESTABLISHED")),
            received_reset(judged("ESTABLISHED", history=None, sock=sock(bytes_received=1))),
            received_reset(judged("ESTABLISHED", history=None, sock=sock(bytes_acked=1))),
            received_reset(judged("ESTABLISHED", history=None, sock=sock(rcv_nxt=1001))),
            received_reset(judged("ESTABLISHED", history=None, sock=sock(write_seq=5001))),
            received_reset(judged("SYN_SENT", history=None)),
            received_reset(None, arrived()),
            sent_reset(decided(A1, history=None)),
        ],
    ),
}
LACKING = [(fact, one) for fact, (lacking, _) in CASES.items() for one in lacking]
HAVING = [(fact, one) for fact, (_, having) in CASES.items() for one in having]


@pytest.mark.parametrize(("fact", "one"), LACKING, ids=lambda x: getattr(x, "text", ""))
def test_lacks(fact: Fact, one: Reset) -> None:
    assert fact.lacks(one)


@pytest.mark.parametrize(("fact", "one"), HAVING, ids=lambda x: getattr(x, "text", ""))
def test_does_not_lack(fact: Fact, one: Reset) -> None:
    assert not fact.lacks(one)


def test_texts_of_facts_fit_a_sentence() -> None:
    """``Cannot tell: TEXT is missing.``"""
    texts = [fact.text for fact in CASES]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert text.startswith(("the ", "what "))
        assert not text.endswith(".")


def test_every_fact_is_tested() -> None:
    assert {fact.text for fact in vars(kinds).values() if isinstance(fact, Fact)} == {
        fact.text for fact in CASES
    }


def test_a_whole_reset_lacks_nothing() -> None:
    """But the judgement, which is the other end's."""
    data = segment(PSH | ACK, b"x")
    by_socket = answered(data, P2, sk=SK, state="CLOSE", sock=sock())
    for whole in (
        sent_reset(by_socket, left(), trigger_drop=dropped(data, "TCP_ABORT_ON_DATA")),
        sent_reset(answered(SYN_IN, P1), left()),
    ):
        assert [fact for fact in CASES if fact.lacks(whole)] == [JUDGEMENT]
