"""What does not fit the peer: each feature of chapter 5.4, and when honest peers show the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rsttrace.causes import features
from rsttrace.causes.case import Case, Sender
from rsttrace.model import Reset
from rsttrace.packet import ACK, RST, Packet
from rsttrace.records import Handshake, Sock

from .build import (
    ACCEPTED,
    MS,
    SECOND,
    T,
    arrived,
    dropped,
    ipv4,
    ipv6,
    judged,
    parsed,
    received_reset,
    segment,
    sent_reset,
    shake,
    sock,
    tcp_bytes,
)

MAX = 0xFFFFFFFF
TS = (1, 1, 8)
BARE = {"flags": RST, "window": 0, "ack": 0}


def live(**changes: Any) -> Sock:
    """A connection with timestamps, 40 ms away, that sent a request of 100 bytes 30 ms ago."""
    plain = {
        "header_len": 32,
        "srtt_us": 8 * 40_000,
        "min_rtt_us": 40_000,
        "wstamp_ns": T - 30 * MS,
        "spoke_ms": 30,
        "heard_ms": 30,
        "snd_una": 5000,
        "snd_nxt": 5100,
        "write_seq": 5100,
    }
    return sock(**{**plain, **changes})


def peers() -> Handshake:
    """The SYN of a Linux client 12 hops away."""
    return shake(rx_ttl=52, rx_ip_id=4711, rx_df=True)


def abort(**changes: Any) -> Packet:
    """What the same client sends when its application aborts."""
    plain = {"flags": RST | ACK, "ttl": 52, "ip_id": 4712, "df": True, "ack": 5100}
    return segment(**{**plain, "seq": 1000, "option_kinds": TS, **changes})


def bare(**changes: Any) -> Packet:
    """What its kernel sends when it does not know the connection."""
    return abort(**{**BARE, "ip_id": 0, "option_kinds": (), **changes})


def case(
    packet: Packet | None = None,
    socket: Sock | None = None,
    handshake: Handshake | None = None,
    state: str = "ESTABLISHED",
    **changes: Any,
) -> Case:
    wire = arrived(packet or abort(), handshake=handshake or peers())
    judgement = judged(state, ACCEPTED, sock=socket or live())
    return Case(received_reset(judgement, wire, **changes))


def names(one: Case) -> list[str]:
    """Which features are odd."""
    known = {f.__name__: f for _, f in features.FEATURES}
    return [name for name, feature in known.items() if feature(one)]


# -- nothing is odd about honest peers -------------------------------------------------------------

LINUX_SYN_ACK = shake(rx_ttl=52, rx_ip_id=0, rx_df=True)
WINDOWS = shake(rx_ttl=116, rx_ip_id=300, rx_df=True)
MACOS = shake(rx_ttl=52, rx_ip_id=0, rx_df=True)
BGP = shake(rx_ttl=255, rx_ip_id=4711, rx_df=True)
BGP_ONE_HOP = shake(rx_ttl=1, rx_ip_id=4711, rx_df=True)


@pytest.mark.parametrize(
    ("packet", "handshake"),
    [
        (abort(), peers()),
        (bare(), peers()),
        (abort(), LINUX_SYN_ACK),
        (bare(), LINUX_SYN_ACK),
        (abort(ttl=50), peers()),  # ECMP, or a small change of the route
        # Windows aborts without options, and answers with its usual TTL and ID
        (abort(ttl=116, ip_id=301, option_kinds=(), window=0), WINDOWS),
        (bare(ttl=116, ip_id=301), WINDOWS),
        (bare(ttl=52, ip_id=0, df=False), MACOS),
        # BGP with GTSM: the connection has TTL 255, the kernel's own answer 64
        (abort(ttl=255), BGP),
        (bare(ttl=64), BGP),
        (bare(ttl=63), shake(rx_ttl=254, rx_ip_id=1, rx_df=True)),
        (bare(ttl=64), BGP_ONE_HOP),
        # IPv6 has no ID
        (abort(ip_id=None, df=False), shake(rx_ttl=52)),
        # a peer with ip_no_pmtu_disc=1; its kernel's own answers always have DF
        (abort(df=False), shake(rx_ttl=52, rx_ip_id=1, rx_df=False)),
        (bare(df=True), shake(rx_ttl=52, rx_ip_id=1, rx_df=False)),
        # lwIP answers a segment with RST+ACK and the end of that segment
        (abort(ttl=243, option_kinds=()), shake(rx_ttl=243, rx_ip_id=1, rx_df=True)),
    ],
)
def test_honest_peers(packet: Packet, handshake: Handshake) -> None:
    one = case(packet, handshake=handshake)
    assert names(one) == []
    assert features.oddities(one) == ()


def test_macos_abort_is_odd_but_common() -> None:
    """No timestamps in RSTs: told, but no ground for doubt."""
    one = case(abort(ip_id=0, option_kinds=()), handshake=MACOS)
    odd = features.oddities(one)
    assert [o.group for o in odd] == ["form"]
    assert not features.doubtful(odd)
    assert features.told(odd) == ("no timestamps, which this connection uses: so do some stacks",)


# -- ttl -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "syn", "rst", "odd"),
    [
        (RST | ACK, 52, 50, False),
        (RST | ACK, 52, 54, False),
        (RST | ACK, 52, 49, True),
        (RST | ACK, 52, 55, True),
        (RST | ACK, 255, 64, True),  # an abort goes through the socket, with its TTL
        (RST, 52, 64, True),
        (RST, 52, 116, True),  # as many hops from 128: still another system's TTL
        (RST, 255, 64, False),
        (RST, 253, 62, False),
        (RST, 253, 59, True),  # more hops away than the peer
        (RST, 253, 126, False),
        (RST, 32, 60, False),  # nobody begins so low but on purpose
        (RST, 33, 60, True),
    ],
)
def test_ttl(flags: int, syn: int, rst: int, odd: bool) -> None:
    one = case(abort(flags=flags, ttl=rst), handshake=shake(rx_ttl=syn))
    assert (features.ttl(one) is not None) == odd


@pytest.mark.parametrize("handshake", [None, shake(rx_ttl=0)])
def test_ttl_without_a_handshake_to_compare(handshake: Handshake | None) -> None:
    wire = arrived(abort(ttl=200), handshake=handshake)
    assert features.ttl(Case(received_reset(judged("ESTABLISHED"), wire))) is None


# -- form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "syn_id", "rst_id", "odd"),
    [
        (RST | ACK, 4711, 0, True),
        (RST | ACK, 4711, 9, False),
        (RST | ACK, 0, 0, False),
        (RST | ACK, None, 0, False),
        (RST | ACK, 4711, None, False),
        (RST, 4711, 0, False),
    ],
)
def test_zero_id(flags: int, syn_id: int | None, rst_id: int | None, odd: bool) -> None:
    one = case(abort(flags=flags, ip_id=rst_id), handshake=shake(rx_ip_id=syn_id))
    assert (features.zero_id(one) is not None) == odd


@pytest.mark.parametrize(
    ("flags", "syn", "rst", "text"),
    [
        (RST | ACK, True, False, "without Don't Fragment, but with it in the handshake"),
        (RST | ACK, False, True, "with Don't Fragment, but without it in the handshake"),
        (RST | ACK, True, True, None),
        (RST | ACK, False, False, None),
        (RST, False, True, None),
    ],
)
def test_other_df(flags: int, syn: bool, rst: bool, text: str | None) -> None:
    one = case(abort(flags=flags, df=rst), handshake=shake(rx_ip_id=1, rx_df=syn))
    assert features.other_df(one) == text


def test_df_of_a_packet() -> None:
    v4 = bytearray(ipv4(tcp_bytes(RST)))
    assert parsed(bytes(v4)).df
    v4[6] = 0x20  # more fragments
    assert not parsed(bytes(v4)).df
    assert not parsed(ipv6(tcp_bytes(RST))).df


def test_ipv6_has_no_df() -> None:
    assert features.other_df(case(abort(df=True), handshake=shake(rx_ip_id=None))) is None


@pytest.mark.parametrize(
    ("packet", "socket", "handshake", "odd"),
    [
        (abort(option_kinds=()), live(), peers(), True),
        (abort(option_kinds=(1, 1, 5)), live(), peers(), True),
        (abort(), live(), peers(), False),
        (abort(option_kinds=()), live(header_len=20), peers(), False),
        (abort(option_kinds=()), live(header_len=40), peers(), False),  # MD5, no timestamps
        (bare(), live(), peers(), False),
        (abort(option_kinds=()), live(), WINDOWS, False),
        (abort(option_kinds=(), ttl=250), live(), peers(), True),  # the peer's TTL counts
        (abort(option_kinds=(), ttl=116), live(), shake(rx_ttl=0), False),  # then the RST's
        (abort(option_kinds=(), ttl=52), live(), shake(rx_ttl=0), True),
    ],
)
def test_no_timestamps(packet: Packet, socket: Sock, handshake: Handshake, odd: bool) -> None:
    assert (features.no_timestamps(case(packet, socket, handshake)) is not None) == odd


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ack", "text"),
    [
        (5100, None),
        (5000, None),
        (4999, None),  # the answer to a keepalive probe, of a stack that sets ACK
        (5101, "it acknowledges 1 byte that were never sent"),
        (105_100, "it acknowledges 100,000 bytes that were never sent"),
        (5000 - (1 << 16) & MAX, None),
        (
            4999 - (1 << 16) & MAX,
            "its ACK number is 65,537 bytes behind what was acknowledged before",
        ),
    ],
)
def test_impossible_ack(ack: int, text: str | None) -> None:
    assert features.impossible_ack(case(abort(ack=ack))) == text
    assert features.impossible_ack(case(abort(flags=RST, ack=ack))) is None


def test_ack_across_the_wrap_of_sequence_numbers() -> None:
    socket = live(snd_una=MAX - 9, snd_nxt=90)
    assert features.impossible_ack(case(abort(ack=90), socket)) is None
    assert features.impossible_ack(case(abort(ack=MAX - 9), socket)) is None
    assert features.impossible_ack(case(abort(ack=91), socket)) is not None


# -- several ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "others", "text"),
    [
        (abort(), (), None),
        # echoes of one abort: segments that were on their way, acknowledging the same or less
        (abort(), (bare(seq=1000), bare(seq=900), bare(seq=900)), None),
        # the same when the abort was overtaken by an echo, with lost data between them
        (bare(seq=1000), (abort(seq=1100),), None),
        (bare(seq=1000), (abort(seq=1100), bare(seq=1000)), None),
        (bare(seq=1000), (abort(seq=1100), abort(seq=2560)), "2 more RSTs up to 1,560 bytes ahead"),
        (abort(), (abort(seq=2460), abort(seq=5380)), "2 more RSTs up to 4,380 bytes ahead of it"),
        (abort(), (bare(seq=1001),), "1 more RST up to 1 byte ahead of it"),
        (bare(), (bare(seq=2460),), "1 more RST up to 1,460 bytes ahead of it"),
        # the same ports again, within a moment
        (abort(), (abort(seq=1000 + (1 << 16)),), "1 more RST"),
        (abort(), (abort(seq=1001 + (1 << 16)),), None),
        # the network doubled it
        (abort(), (abort(),), None),
        (abort(ip_id=None), (abort(ip_id=None),), None),
        (abort(), (abort(ip_id=99),), "the same RST+ACK 2 times"),
        (abort(), (abort(), abort()), "the same RST+ACK 3 times"),
        # lwIP answers each segment
        (abort(ack=5000), (abort(ack=5050), abort(ack=5100)), None),
        (bare(), (bare(), bare(), bare()), None),
    ],
)
def test_several(packet: Packet, others: tuple[Packet, ...], text: str | None) -> None:
    found = features.several(case(packet, siblings=others))
    assert (found is None) == (text is None)
    if text:
        assert text in (found or "")


# -- time ------------------------------------------------------------------------------------------

FAST = {"spoke_ms": 2, "min_rtt_us": 100_000}


@pytest.mark.parametrize(
    ("packet", "changes", "odd"),
    [
        (abort(), FAST, True),
        (abort(), {**FAST, "spoke_ms": 39}, True),
        (abort(), {**FAST, "spoke_ms": 40}, False),  # a clock tick is 10 ms at worst
        (abort(), {**FAST, "spoke_ms": None}, False),
        (abort(), {**FAST, "min_rtt_us": 24_000}, False),
        (abort(), {**FAST, "min_rtt_us": 0}, False),
        (abort(), {**FAST, "min_rtt_us": MAX}, False),  # no sample yet
        (abort(), {**FAST, "retransmits": 1}, False),  # it may answer the first
        (abort(), {**FAST, "snd_una": 5100}, False),  # nothing new is acknowledged
        (abort(ack=5050), FAST, False),  # not the last that was sent
        (abort(flags=RST), FAST, False),
    ],
)
def test_too_soon(packet: Packet, changes: dict[str, Any], odd: bool) -> None:
    found = features.too_soon(case(packet, live(**changes)))
    assert (found is not None) == odd


@pytest.mark.parametrize(
    ("packet", "ago", "srtt_ms", "odd"),
    [
        (bare(), 30 * MS, 40, False),
        (bare(), SECOND, 40, False),
        (bare(), 2 * SECOND, 40, True),
        (bare(), 2 * SECOND, 300, False),  # a satellite
        (bare(), 60 * SECOND, 300, True),
        (abort(), 60 * SECOND, 40, False),
    ],
)
def test_unprovoked(packet: Packet, ago: int, srtt_ms: int, odd: bool) -> None:
    socket = live(wstamp_ns=T - ago, srtt_us=8 * 1000 * srtt_ms)
    found = features.unprovoked(case(packet, socket))
    assert (found is not None) == odd


def test_time_of_the_last_segment_not_known() -> None:
    """Before 4.20: the last data alone cannot show that nothing was sent."""
    assert features.unprovoked(case(bare(), live(wstamp_ns=0, spoke_ms=60_000))) is None
    assert features.answers_us(case(bare(), live(wstamp_ns=0, spoke_ms=60_000))) is None
    assert features.answers_us(case(bare(), live(wstamp_ns=0, spoke_ms=100))) is True
    assert features.answers_us(case(bare(), live(wstamp_ns=0, spoke_ms=None))) is None


def test_arrival_counts_not_the_judgement() -> None:
    """A RST may wait in the backlog; the owner may send in the meantime."""
    one = case(bare(), live(wstamp_ns=T + 5 * MS))
    assert features.quiet_s(one) == 0
    assert features.answers_us(one) is True


# -- what came after -------------------------------------------------------------------------------


def data(seq: int, length: int = 10) -> Packet:
    return segment(ACK, b"x" * length, seq=seq)


@pytest.mark.parametrize(
    ("after", "siblings", "odd"),
    [
        ((), (), False),
        ((data(1000),), (), True),
        ((data(1010), data(2000)), (), True),
        ((data(990),), (), False),  # the RST overtook it
        ((data(1000),), (bare(seq=900),), True),
        ((data(1000),), (abort(seq=1100),), False),  # lost data of the same abort
        ((data(1100),), (abort(seq=1100),), True),
    ],
)
def test_data_after(after: tuple[Packet, ...], siblings: tuple[Packet, ...], odd: bool) -> None:
    assert (features.data_after(case(bare(), after=after, siblings=siblings)) is not None) == odd


def test_data_before_the_first_of_two_resets() -> None:
    first = dropped(abort(seq=1100), "TCP_RESET", time_ns=T - 40 * MS)
    late = case(bare(), refused_first=first, after=(data(1050),))
    beyond = case(bare(), refused_first=first, after=(data(1100, 5),))
    assert features.data_after(late) is None
    assert features.data_after(beyond) == (
        "5 bytes of data came after it, as if the peer had not reset"
    )


# -- all together ----------------------------------------------------------------------------------

ODD = abort(ttl=200, ip_id=0, option_kinds=(), ack=99_999)


def test_oddities() -> None:
    odd = features.oddities(case(ODD))
    assert [o.group for o in odd] == ["path", "form", "form", "numbers"]
    assert [o.common for o in odd] == [False, False, True, False]
    assert features.doubtful(odd)
    assert features.told(odd)[0] == (
        "TTL 200, but 52 in the handshake: perhaps a device in the path made it"
    )


@pytest.mark.parametrize("state", ["SYN_SENT", "SYN_RECV", "LISTEN", "CLOSE"])
def test_no_connection_to_compare_with(state: str) -> None:
    assert features.oddities(case(ODD, state=state)) == ()


@pytest.mark.parametrize("state", features.SYNCHRONIZED)
def test_every_state_of_a_connection(state: str) -> None:
    assert features.oddities(case(ODD, state=state)) != ()


def test_known_sender_is_not_suspected() -> None:
    one = case(ODD)
    sender = Sender("linger-zero", "certain", "It closed.", False)
    assert features.oddities(Case(one.reset, one.facts, sender)) == ()
    unknown = Sender("unknown", "unknown", "No rule fits.", False)
    assert features.oddities(Case(one.reset, one.facts, unknown)) == ()
    not_explained_yet = case(ODD, peer=sent_reset(None))
    assert features.oddities(not_explained_yet) == ()


def test_refused_reset_is_not_judged() -> None:
    refused = dropped(ODD, "TCP_RESET", state="ESTABLISHED", sock=live())
    assert features.oddities(Case(received_reset(refused, arrived(ODD)))) == ()


NOTHING: tuple[Reset, ...] = (
    received_reset(None, None),
    received_reset(judged("ESTABLISHED"), None),
    received_reset(judged("ESTABLISHED", sock=None), arrived(ODD, handshake=None)),
    received_reset(judged("ESTABLISHED", sock=None), None),
)


@pytest.mark.parametrize("reset", NOTHING[1:])
@pytest.mark.parametrize("feature", [f for _, f in features.FEATURES])
def test_missing_facts_are_not_odd(reset: Reset, feature: Callable[[Case], str | None]) -> None:
    assert feature(Case(reset)) is None


@pytest.mark.parametrize(("ttl", "hops"), [(64, "0 hops"), (63, "1 hop"), (116, "12 hops")])
def test_distance(ttl: int, hops: str) -> None:
    assert features.distance(ttl) == hops


@pytest.mark.parametrize(
    ("number", "of", "expected"),
    [(5, 3, 2), (3, 5, -2), (1, MAX, 2), (MAX, 1, -2), (0, 1 << 31, -(1 << 31))],
)
def test_ahead(number: int, of: int, expected: int) -> None:
    assert features.ahead(number, of) == expected
