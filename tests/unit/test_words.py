"""Pieces of text for people."""

from __future__ import annotations

import time

import pytest

from rsttrace.enrich import Facts, Process
from rsttrace.explain import Explained
from rsttrace.packet import ACK, PSH, RST
from rsttrace.sinks import words

from .build import (
    A1,
    A2,
    ACTIVE,
    FLOW6,
    P1,
    SOFTIRQ,
    T,
    answered,
    arrived,
    decided,
    dropped,
    earlier,
    explained,
    history,
    left,
    received_reset,
    reset,
    rst,
    segment,
    sent_reset,
    sock,
)
from .told import related, told


def test_call_chain_is_outermost_first_without_noise() -> None:
    assert words.call_chain(A1) == "close > tcp_close > __tcp_close > tcp_send_active_reset"
    assert words.call_chain(P1) == "tcp_v4_rcv > tcp_v4_send_reset"
    assert words.call_chain(("tcp_reset", "__arm64_sys_recvfrom", "x")) == "recvfrom > tcp_reset"
    assert words.call_chain(SOFTIRQ) == ""
    assert words.call_chain(()) == ""


def test_long_chain_keeps_its_ends() -> None:
    frames = tuple(f"f{i}" for i in range(20))
    assert words.call_chain(frames) == "f19 > f4 > f3 > f2 > f1 > f0"


def test_kernel_words() -> None:
    one = explained(
        sent_reset(decided(A2, reason="TCP_STATE"), trigger_drop=dropped(segment(), "TCP_FLAGS"))
    )
    text = words.kernel_words(one)
    assert text.startswith("TCP_STATE, drop TCP_FLAGS, was ESTABLISHED: close > tcp_close")
    assert words.kernel_words(explained(reset(direction="received", wire=arrived()))) == ""


def test_kernel_words_do_not_say_a_thing_twice() -> None:
    drop = dropped(segment(), "NO_SOCKET")
    one = sent_reset(answered(segment(), reason="NO_SOCKET"), trigger_drop=drop)
    assert words.kernel_words(explained(one)).count("NO_SOCKET") == 1
    unnamed = dropped(segment(), "NOT_SPECIFIED")
    one = sent_reset(answered(segment()), trigger_drop=unnamed)
    assert "NOT_SPECIFIED" not in words.kernel_words(explained(one))


@pytest.mark.parametrize("room", [0, 40, 60, 80, 200])
def test_little_room_leaves_the_innermost_functions(room: int) -> None:
    text = words.kernel_words(explained(sent_reset(decided(A2))), room)
    assert text.endswith(ACTIVE)
    assert len(text) <= max(room, len("was ESTABLISHED: ") + len(ACTIVE))


def test_arrow_shows_the_way_of_the_reset() -> None:
    out = explained(sent_reset(decided(A1)))
    assert words.arrow(out) == "10.0.0.5:8080 > 10.0.0.9:51234"
    for direction, sign in (("received", "<"), ("rejected", "<"), ("forwarded", ">")):
        one = explained(reset(direction=direction, wire=arrived(), flow=FLOW6))
        assert words.arrow(one) == f"[fd00::5]:8080 {sign} [fd00::9]:51234"


def test_trigger_words() -> None:
    data = explained(sent_reset(answered(segment(PSH | ACK, b"hello"))))
    assert words.trigger_words(data) == "PSH+ACK seq 1000 ack 5000, 5 bytes"
    alert = segment(PSH | ACK, b"\x15\x03\x03\x00\x02\x01\x00")
    assert words.trigger_words(explained(sent_reset(answered(alert)))).endswith("(tls-alert)")
    assert words.trigger_words(explained(sent_reset(decided(A1)))) == ""


def test_packet_words() -> None:
    wire = left(rst(RST | ACK, window=64, ip_id=9))
    text = words.packet_words(explained(sent_reset(decided(A1), wire)))
    assert text == "RST+ACK seq 5000 ack 0 window 64 TTL 64, IP ID 9"
    v6 = left(rst(ip_id=None))
    assert "IP ID" not in words.packet_words(explained(sent_reset(decided(A1), v6)))
    assert words.packet_words(explained(sent_reset(decided(A1)))) == ""


def test_socket_words() -> None:
    busy = sock(rcv_nxt=1312, copied_seq=1000, uid=33)
    text = words.socket_words(explained(sent_reset(decided(A1, sock=busy))))
    assert text == "unread 312 B, unacked 0 B, uid 33, age 2.000 s"
    old = sent_reset(decided(A1, sock=busy, history=earlier()))
    assert "age" not in words.socket_words(explained(old))
    new = sent_reset(decided(A1, sock=busy, history=history(established_ns=0)))
    assert "age" not in words.socket_words(explained(new))
    assert words.socket_words(explained(received_reset(None, arrived()))) == ""


def test_command_rows() -> None:
    assert words.command_rows("read to EOF before close()", 80) == []
    quoted = "tcpdump -i any 'host 10.0.0.1 and tcp'  # see who sends them"
    assert words.command_rows(quoted, 80) == [quoted]
    rows = words.command_rows(quoted, 30)
    assert rows == ["tcpdump -i any \\", "'host 10.0.0.1 and tcp'", "# see who sends them"]
    assert words.command_rows(quoted, 30, whole=False) == rows[:2]
    assert words.command_rows("ss -lt  # " + "why " * 20, 20, whole=False)[1] == "# why why why ..."


def test_process_words() -> None:
    plain = sent_reset(decided(A1))
    owner = Process(7, "java", "/usr/bin/java", "java " + "x" * 500, "/lxc.payload.web")
    text = words.process_words(explained(plain, Facts(owner=owner)))
    assert text.startswith("java[7] (lxc container web): java xxx")
    assert text.endswith("x ...")
    assert len(text) < 300
    assert words.process_words(explained(plain, Facts(closer=Process(7, "java")))) == "java[7]"
    assert words.process_words(explained(plain)) == ""


def test_container_words() -> None:
    def said(path: str) -> str:
        facts = Facts(owner=Process(7, "java", cgroup=path))
        return words.container_words(explained(sent_reset(decided(A1)), facts))

    assert said("/lxc.payload.web/system.slice/a.service") == (
        "java[7] belongs to a.service, lxc container web."
    )
    assert said("/lxc.monitor.web") == ""
    assert said("/system.slice/a.service") == ""


def test_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    one = explained(sent_reset(decided(A1)))
    offset = 1_700_000_000_123_456_789 - T
    assert words.wall_clock(offset)(one) == "22:13:20.123"
    assert words.relative_clock(T - 1_500_000_000)(one) == "    1.500000"
    monkeypatch.undo()
    time.tzset()


def test_every_direction_has_a_word() -> None:
    names = ("sent", "received", "forwarded", "suppressed", "rejected", "none")
    assert all(len(words.WORDS[name]) <= 5 for name in names)
    assert len(set(words.WORDS.values())) == len(names)


def test_direction_none_has_no_arrow() -> None:
    one = told("retransmit-timeout", direction="none", error=arrived())
    assert words.arrow(one) == "10.0.0.5:8080 - 10.0.0.9:51234"
    assert words.WORDS[one.reset.direction] == "ABORT"


def test_times() -> None:
    assert words.times(told("late-segment")) == ""
    assert words.times(told("late-segment", count=2)) == " x 2"
    assert words.times(told("late-segment", count=1234)) == " x 1234"


@pytest.mark.parametrize(
    ("first", "after_ns", "text"),
    [
        (
            told("linger-zero"),
            35_000_000,
            "linger-zero of the same connection, 35 ms before (sent)",
        ),
        (
            told("retransmit-timeout", direction="none"),
            720 * 10**9,
            "retransmit-timeout of the same connection, 12 min before (none)",
        ),
        (
            told("peer-reset", direction="received"),
            0,
            "peer-reset of the same connection, 0 us before (received)",
        ),
    ],
)
def test_related_words(first: Explained, after_ns: int, text: str) -> None:
    echo = told("late-segment", 2, T + after_ns, related=related(first))
    assert words.related_words(echo) == text


def test_nothing_is_related_to_the_first() -> None:
    assert words.related_words(told("linger-zero")) == ""
