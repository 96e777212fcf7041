"""The diagram of one very reset: golden texts, and never too wide whatever was seen."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsttrace.enrich import Facts, Process
from rsttrace.explain import Explained
from rsttrace.model import Reset
from rsttrace.packet import ACK, PSH, RST, SYN, Packet
from rsttrace.records import Record
from rsttrace.sinks.block import BlockSink
from rsttrace.sinks.diagram import BODY, MIN_WIDTH, arrow, diagram
from rsttrace.sinks.words import relative_clock

from . import build
from .build import (
    A1,
    A1_EXIT,
    CURL,
    FLOW,
    MS,
    NGINX,
    SECOND,
    SK,
    T,
    answered,
    arrived,
    decided,
    dropped,
    earlier,
    explained,
    history,
    judged,
    left,
    received_reset,
    record,
    reset,
    rst,
    segment,
    sent_reset,
    shake,
    sock,
)
from .labfiles import LabFile, lab_files
from .test_random_events import facts, packets, records

BY_NGINX, BY_CURL = Facts(owner=NGINX, actor=NGINX), Facts(owner=CURL)
LONG = replace(
    FLOW,
    local="2001:db8:1111:2222:3333:4444:5555:6666",
    remote="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
)
GET = b"GET / HTTP/1.1"
ALERT = b"\x15\x03\x03\x00\x02\x01\x00"


def theirs(flags: int = RST | ACK, seq: int = 1313, **changes: int) -> Packet:
    """A RST of the other end, seven hops away."""
    plain = {"ack": 5000, "window": 502, "ttl": 57}
    return segment(flags, seq=seq, **{**plain, **changes})


def drawn(one: Explained, width: int = 80) -> list[str]:
    return textwrap.dedent("\n".join(diagram(one, width))).splitlines()


def lines(golden: str) -> list[str]:
    return textwrap.dedent(golden).strip("\n").splitlines()


def test_unread_data_after_a_pause() -> None:
    life = history(established_ns=T - 20 * SECOND + 200_000, close_ns=T - 300_000)
    seen = shake(rx_ns=T - 20 * SECOND - MS, tx_ns=T - 20 * SECOND, rx_seq=999, tx_seq=4000)
    busy = sock(rcv_nxt=1312, bytes_received=312, heard_ms=12_000, spoke_ms=11_500, bytes_acked=900)
    first = decided(A1, sock=busy, history=life, time_ns=T + 5_000, handshake=seen)
    wire = left(rst(RST | ACK, seq=4901, window=64, ip_id=9), handshake=seen)
    one = explained(sent_reset(first, wire), BY_NGINX)
    assert drawn(one) == lines(
        """
                 peer 10.0.0.9:51234                 here 10.0.0.5:8080 nginx[1432]
        -20.0 s  | ------------- SYN --------------> |
        -20.0 s  | <----------- SYN+ACK ------------ |
        -20.0 s  |                                   |  ESTABLISHED
            ...  :               8.0 s               :
        -12.0 s  | --------- data or ACK ----------> |  last heard of the peer
        -11.5 s  | <------------- data ------------- |  last data sent
            ...  :               11.5 s              :
        -300 us  |                                   |  closed by nginx[1432]
              0  | <----------- RST+ACK ------------ |  seq SYN+901, win 64, TTL 64
                 |                                   |
        """
    )


def test_closed_port() -> None:
    """The SYN is drawn once, at the time it came in."""
    syn = segment(SYN, seq=777)
    first = answered(syn, time_ns=T - 40_000)
    wire = left(rst(RST | ACK, seq=0), handshake=shake(rx_ns=T - 90_000, tx_ns=0, rx_seq=777))
    drop = dropped(syn, "NO_SOCKET", time_ns=T + 9_000)
    one = explained(sent_reset(first, wire, trigger_drop=drop))
    assert drawn(one) == lines(
        """
                peer 10.0.0.9:51234                 here 10.0.0.5:8080
        -90 us  | ------------- SYN --------------> |  provokes the RST
             0  | <----------- RST+ACK ------------ |  seq 0, win 0, TTL 64
                |                                   |
        """
    )


def test_killed_process() -> None:
    """What came in is nearer to the close than a jiffy: it has a place, but no time."""
    life = history(
        flags=1 | 32,
        established_ns=T - 35 * MS,
        close_ns=T - 2 * MS,
        close_flags=4,
        close_exit_code=9,
    )
    first = decided(A1_EXIT, sock=sock(bytes_received=5, heard_ms=0), history=life)
    one = explained(sent_reset(first, left(rst(RST | ACK))), BY_NGINX)
    assert drawn(one) == lines(
        """
                peer 10.0.0.9:51234                 here 10.0.0.5:8080 nginx[1432]
        -35 ms  |                                   |  ESTABLISHED
                | --------- data or ACK ----------> |  last heard of the peer
         -2 ms  |                                   |  closed: nginx[1432] was killed by
                |                                   |  SIGKILL
             0  | <----------- RST+ACK ------------ |  seq 5000, win 0, TTL 64
                |                                   |
        """
    )


def test_two_resets_of_one_abort() -> None:
    first = dropped(
        theirs(seq=2500), "TCP_RESET", time_ns=T - 3 * MS, sk=SK, sock=sock(), state="ESTABLISHED"
    )
    busy = sock(heard_ms=4, bytes_received=10, spoke_ms=900, bytes_acked=50)
    life = history(flags=1, established_ns=T - 2 * SECOND, close_ns=0)
    believed = judged("ESTABLISHED", sock=busy, history=life, time_ns=T + 8_000)
    wire = arrived(theirs(RST, seq=1400, window=0))
    told = record("inet_sk_error_report", errno=104, sk=SK, time_ns=T + 40_000)
    one = explained(received_reset(believed, wire, refused_first=first, error=told), BY_CURL)
    assert drawn(one) == lines(
        """
                 peer 10.0.0.9:51234                 here 10.0.0.5:8080 curl[2001]
         -2.0 s  |                                   |  ESTABLISHED
            ...  :               1.1 s               :
        -900 ms  | <------------- data ------------- |  last data sent
                 | --------- data or ACK ----------> |  last heard of the peer
          -3 ms  | ----------- RST+ACK ------------> |  refused: TCP_RESET
                 |                                   |  seq 2500, win 502, TTL 57
              0  | ------------- RST --------------> |  believed in ESTABLISHED
                 |                                   |  seq 1400, win 0, TTL 57
         +40 us  |                                   |  application gets ECONNRESET
                 |                                   |
        """
    )


def test_refused_reset() -> None:
    packet = theirs(RST, seq=99_999)
    drop = dropped(
        packet, "TCP_INVALID_SEQUENCE", sk=SK, sock=sock(), state="ESTABLISHED", time_ns=T + 6_000
    )
    one = explained(reset(direction="rejected", wire=arrived(packet), judged=drop), BY_NGINX)
    assert drawn(one) == lines(
        """
             peer 10.0.0.9:51234                 here 10.0.0.5:8080 nginx[1432]
          0  | ------------- RST --------------> |  refused: TCP_INVALID_SEQUENCE
             |                                   |  seq 99999, win 502, TTL 57
             |                                   |
        """
    )


def test_dropped_by_the_own_firewall() -> None:
    """The arrow does not reach the other lane."""
    frames = ("nft_do_chain", "nf_hook_slow", "__ip_local_out", "tcp_v4_send_reset")
    drop = dropped(rst(RST | ACK, seq=0), "NETFILTER_DROP", time_ns=T + 3_000, frames=frames)
    first = answered(segment(SYN, seq=777))
    one = explained(reset(direction="suppressed", decided=first, judged=drop))
    assert drawn(one) == lines(
        """
               peer 10.0.0.9:51234                 here 10.0.0.5:8080
        -3 us  | ------------- SYN --------------> |  provokes the RST
            0  |         x------- RST+ACK -------- |  dropped on this host:
               |                                   |  NETFILTER_DROP
               |                                   |  seq 0, win 0, TTL 64
               |                                   |
        """
    )


def test_made_by_the_firewall_for_somebody_else() -> None:
    """The address need not be of this host: the firewall may stand in the way."""
    wire = left(rst(RST), frames=build.FIREWALL)
    drop = dropped(segment(PSH | ACK, GET), "NETFILTER_DROP", time_ns=T + 4_000)
    one = explained(sent_reset(None, wire, trigger_drop=drop))
    assert drawn(one) == lines(
        """
             to 10.0.0.9:51234                   from 10.0.0.5:8080
          0  | ------- PSH+ACK 14 bytes -------> |  provokes the RST
          0  | <------------- RST -------------- |  made by this host's firewall
             |                                   |  seq 5000, win 0, TTL 64
             |                                   |
        """
    )


def test_passing_through() -> None:
    """Both ends are elsewhere; the source is on the right, as this host is else."""
    packet = rst(RST, src=LONG.local, dst=LONG.remote)
    wire = left(packet, frames=("ip6_forward",))
    one = explained(reset(direction="forwarded", flow=LONG, wire=wire))
    assert drawn(one) == lines(
        """
             to [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:51234
                                      from [2001:db8:1111:2222:3333:4444:5555:6666]:8080
          0  | <------------- RST -------------- |  passed on by this host
             |                                   |  seq 5000, win 0, TTL 64
             |                                   |
        """
    )


def test_given_up_without_a_reset() -> None:
    busy = sock(heard_ms=930_000, spoke_ms=924_000, bytes_received=10, write_seq=5021)
    told = record(
        "inet_sk_error_report",
        errno=110,
        sk=SK,
        state="CLOSE",
        frames=("tcp_write_err",),
        sock=busy,
        history=history(flags=1, established_ns=T - 3600 * SECOND, close_ns=0),
    )
    one = explained(reset(direction="none", error=told), BY_CURL)
    assert drawn(one) == lines(
        """
                 peer 10.0.0.9:51234                 here 10.0.0.5:8080 curl[2001]
        -60 min  |                                   |  ESTABLISHED
            ...  :               44 min              :
        -16 min  | --------- data or ACK ----------> |  last heard of the peer
            ...  :               6.0 s               :
        -15 min  | <------------- data ------------- |  last data sent
            ...  :               15 min              :
              0  |                                   |  given up without a RST:
                 |                                   |  ETIMEDOUT
                 |                                   |
        """
    )


def test_made_up_by_a_device() -> None:
    life = history(flags=1, established_ns=T - 50 * MS, close_ns=0)
    others = tuple(theirs(RST, seq=1313 + n * 1460, ttl=120) for n in range(5))
    after = (segment(PSH | ACK, b"HTTP/1.1 200", seq=1313),)
    believed = judged("ESTABLISHED", history=life, time_ns=T + 7_000)
    wire = arrived(theirs(ttl=120))
    one = explained(received_reset(believed, wire, siblings=others, after=after), BY_CURL)
    assert drawn(one) == lines(
        """
                peer 10.0.0.9:51234                 here 10.0.0.5:8080 curl[2001]
        -50 ms  |                                   |  ESTABLISHED
             0  | ----------- RST+ACK ------------> |  believed in ESTABLISHED
                |                                   |  seq 1313, win 502, TTL 120
                | ------------- RST --------------> |  also came at about then
                |                                   |  seq 1313, win 502, TTL 120
                | ------------- RST --------------> |  seq 2773, win 502, TTL 120
                | ------------- RST --------------> |  seq 4233, win 502, TTL 120
                |                                   |  and 2 more of these
                | ------- PSH+ACK 12 bytes -------> |  after the RST; no socket now
                |                                   |
        """
    )


def test_echo_of_an_earlier_connection() -> None:
    before = earlier(established_ns=T - 90 * MS, close_ns=T - 6 * MS)
    first = answered(segment(PSH | ACK, ALERT), history=before, time_ns=T - 20_000)
    one = explained(sent_reset(first, left()))
    assert drawn(one) == lines(
        """
                peer 10.0.0.9:51234                 here 10.0.0.5:8080
        -90 ms  |                                   |  earlier: ESTABLISHED
         -6 ms  |                                   |  earlier: closed by nginx[1432]
         -5 ms  |                                   |  earlier: reset by this host
        -20 us  | ------- PSH+ACK 7 bytes --------> |  provokes the RST
                |                                   |  tls-alert
             0  | <------------- RST -------------- |  seq 5000, win 0, TTL 64
                |                                   |
        """
    )


def test_narrow() -> None:
    """Long addresses stand one below the other."""
    first = answered(segment(PSH | ACK, GET), time_ns=T - 20_000)
    one = explained(sent_reset(first, left(), flow=LONG), BY_NGINX)
    assert drawn(one, 60) == lines(
        """
                peer [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:51234
                  here [2001:db8:1111:2222:3333:4444:5555:6666]:8080
                                            nginx[1432]
        -20 us  | --- PSH+ACK 14 bytes ---> |  provokes the RST
             0  | <--------- RST ---------- |  seq 5000, win 0
                |                           |  TTL 64
                |                           |
        """
    )


def test_data_both_ways_just_before() -> None:
    """Which came last is not known, and not claimed."""
    busy = sock(heard_ms=0, spoke_ms=1, bytes_received=10, bytes_acked=10)
    life = history(established_ns=T - 3 * SECOND, close_ns=T - MS)
    one = explained(sent_reset(decided(A1, sock=busy, history=life), left(rst(RST | ACK))))
    assert drawn(one) == lines(
        """
                peer 10.0.0.9:51234                 here 10.0.0.5:8080
        -3.0 s  |                                   |  ESTABLISHED
           ...  :               3.0 s               :
                | <--------- data, ACKs ----------> |  just before
         -1 ms  |                                   |  closed by nginx[1432]
             0  | <----------- RST+ACK ------------ |  seq 5000, win 0, TTL 64
                |                                   |
        """
    )


def test_decision_without_a_packet() -> None:
    """What was not seen is not drawn."""
    one = explained(sent_reset(answered(segment(PSH | ACK, GET))))
    assert drawn(one) == lines(
        """
             peer 10.0.0.9:51234                 here 10.0.0.5:8080
          0  | ------- PSH+ACK 14 bytes -------> |  provokes the RST
          0  |                                   |  RST decided (not seen leaving)
             |                                   |
        """
    )


# -- arrows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "label", "line"),
    [
        (">", "SYN", "------------- SYN -------------->"),
        ("<", "RST", "<------------- RST --------------"),
        ("<>", "data", "<------------ data ------------->"),
        ("x", "RST", "        x--------- RST ----------"),
        (">", "", "-------------------------------->"),
    ],
)
def test_arrow(way: str, label: str, line: str) -> None:
    assert arrow(way, label) == line
    assert len(line) == BODY


@given(st.sampled_from(["<", ">", "<>", "x"]), st.text("ab ", max_size=60), st.integers(20, 60))
def test_arrow_has_its_length(way: str, label: str, size: int) -> None:
    assert len(arrow(way, label, size)) == size


# -- whatever was seen -----------------------------------------------------------------------------


def well_drawn(picture: list[str], width: int) -> None:
    """Fits, and the lanes are straight below the labels."""
    assert all(len(row) <= width for row in picture), picture
    assert all(row == row.rstrip() and row.isprintable() for row in picture), picture
    if not picture:
        return
    assert picture[-1].replace(" ", "") == "||"
    lanes = [column for column, sign in enumerate(picture[-1]) if sign == "|"]
    rows = [row for row in picture if len(row) > lanes[1] and row[lanes[0]] in "|:"]
    assert len(rows) >= len(picture) - 3  # the others are the labels
    for row in rows:
        assert {row[lanes[0]], row[lanes[1]]} in ({"|"}, {":"}), row
        body = row[lanes[0] + 2 : lanes[1] - 1]
        if body.startswith("<"):
            assert body.endswith(("-", ">")), row
        elif body.endswith(">"):
            assert body.startswith("-"), row


@pytest.mark.parametrize("width", [60, 76, 80, 200])
@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_of_real_resets(file: LabFile, width: int) -> None:
    for one in file.explained:
        picture = diagram(one, width)
        well_drawn(picture, width)
        drawn = any("RST" in row and re.search("->|<-|-x|x-", row) for row in picture)
        packet = one.reset.packet
        assert bool(drawn) == bool(packet and packet.has(RST)), picture


histories = st.builds(
    history,
    closed=st.booleans(),
    established_ns=st.sampled_from([0, T - MS, T, T + SECOND, 2**63]),
    close_ns=st.sampled_from([0, T - MS, T + 1, 2**63]),
    change_ns=st.sampled_from([0, T - 2 * SECOND]),
    flags=st.integers(0, 63),
    close_flags=st.sampled_from([0, 4]),
    close_exit_code=st.sampled_from([0, 9, 127, 256]),
    close_comm=st.sampled_from(["", "nginx", "a b\nc", "fifteen_letters"]),
    old_state=st.sampled_from([None, "ESTABLISHED"]),
    errno=st.sampled_from([0, 110, 9999]),
)
socks = st.builds(
    sock,
    heard_ms=st.none() | st.integers(0, 2**32),
    spoke_ms=st.none() | st.integers(0, 2**32),
    bytes_received=st.integers(0, 2),
    bytes_acked=st.integers(0, 2),
    write_seq=st.sampled_from([5000, 5100]),
)
shakes = st.builds(
    shake,
    rx_ns=st.sampled_from([0, T - SECOND, T + SECOND]),
    tx_ns=st.sampled_from([0, T - SECOND - 1, T]),
    rx_seq=st.sampled_from([0, 1000, 2**32 - 1]),
    tx_seq=st.sampled_from([0, 4999]),
)


@settings(max_examples=300)
@given(st.lists(records, min_size=1, max_size=8), facts, st.data())
def test_of_any_reset(events: list[Record], about: Facts, data: st.DataObject) -> None:
    """Every part of a joined reset may be there or not, and hold anything."""
    told = [
        replace(
            event,
            sock=data.draw(st.none() | socks),
            history=data.draw(st.none() | histories),
            handshake=data.draw(st.none() | shakes),
        )
        for event in events
    ]
    for one in build.join(*told):
        draw_any(one, about, data)


def draw_any(one: Reset, about: Facts, data: st.DataObject) -> None:
    one.siblings = tuple(data.draw(st.lists(packets, max_size=5)))
    one.after = tuple(data.draw(st.lists(packets, max_size=5)))
    first = data.draw(st.none() | st.builds(dropped, packets, st.none() | st.just("TCP_RESET")))
    one.refused_first = first
    if data.draw(st.booleans()):
        one.flow = LONG
    width = data.draw(st.integers(1, 130))
    picture = diagram(build.explained(one, about), width)
    assert bool(picture) == (width >= MIN_WIDTH)
    well_drawn(picture, width)


# -- where it stands -------------------------------------------------------------------------------


def plain() -> Explained:
    return explained(sent_reset(decided(A1), left(rst(RST | ACK))), BY_NGINX)


def test_only_verbose_blocks_have_it() -> None:
    picture = diagram(plain(), 78)
    block, verbose = (BlockSink(relative_clock(T), 80, v).reset(plain()) for v in (False, True))
    inside = "\n".join(f"  {row}" for row in picture)
    assert picture
    assert inside in verbose
    assert picture[-1] not in block


def test_one_for_many() -> None:
    picture = diagram(replace(plain(), count=3))
    assert sum("one of 3 alike" in row for row in picture) == 1
    assert not any("alike" in row for row in diagram(plain()))


def test_too_narrow() -> None:
    assert diagram(plain(), MIN_WIDTH - 1) == []
    assert BlockSink(relative_clock(T), MIN_WIDTH - 1, True).reset(plain())


def test_names_of_processes_cannot_break_it() -> None:
    odd = Process(7, "a\nb\x1b[31m  c")
    picture = diagram(explained(sent_reset(decided(A1), left(rst())), Facts(owner=odd)))
    assert picture[0].endswith("a b?[31m c[7]")
    well_drawn(picture, 80)
