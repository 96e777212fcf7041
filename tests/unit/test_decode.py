"""From bytes to typed records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsttrace.decode import Decoder, address_text, c_string, state_name
from rsttrace.lab import tcp
from rsttrace.packet import RST
from rsttrace.records import Record

from .build import (
    CLIENT_PORT,
    FLOW,
    FLOW6,
    HERE,
    LAYOUT,
    NETNS,
    PORT,
    THERE,
    FakeNames,
    ipv4,
    mapped,
    raw_record,
    tcp_bytes,
)

N = LAYOUT.numbers
NAMES = FakeNames(
    {
        0x10: "bpf_prog_1234_tcp_send_reset",
        0x11: "bpf_trace_run3",
        0x12: "__traceiter_tcp_send_reset",
        0x20: "tcp_v4_send_reset",
        0x21: "tcp_v4_rcv.cold",
        0x22: "do_softirq.part.0",
        0x23: "__local_bh_enable_ip",
        0x24: "__x64_sys_close",
        0x25: "do_syscall_64",
    },
    {
        "sk_rst_reason": {3: "NO_SOCKET"},
        "skb_drop_reason": {2: "NOT_SPECIFIED", 3: "NO_SOCKET"},
    },
)


def decode(names: FakeNames = NAMES, **fields: Any) -> Record:
    return Decoder(LAYOUT, names).decode(raw_record(**fields))


def tuple_of(local: str, remote: str) -> dict[str, Any]:
    return {
        "have": N["HAVE_TUPLE"],
        "laddr": mapped(local),
        "raddr": mapped(remote),
        "lport": PORT,
        "rport": CLIENT_PORT,
        "netns": NETNS,
    }


def test_addresses() -> None:
    assert decode(**tuple_of(HERE, THERE)).flow == FLOW
    assert decode(**tuple_of(FLOW6.local, FLOW6.remote)).flow == FLOW6
    assert FLOW.family == 4
    assert FLOW6.family == 6
    assert address_text(b"\0" * 16) == "::"
    assert address_text(mapped("0.0.0.0")) == "0.0.0.0"


@pytest.mark.parametrize(
    "part", ["flow", "sock", "history", "handshake", "packet", "location", "reason", "state"]
)
def test_what_the_hook_could_not_read_is_none(part: str) -> None:
    assert getattr(decode(kind=N["KIND_TCP_SEND_RESET"]), part) in (None, "0")
    assert getattr(decode(FakeNames(), kind=N["KIND_TCP_SEND_RESET"]), part) is None


def test_kinds() -> None:
    assert decode(kind=N["KIND_KFREE_SKB"]).kind == "kfree_skb"
    assert decode(kind=N["KIND_INET_SOCK_SET_STATE"]).kind == "inet_sock_set_state"
    assert decode(kind=99).kind == "99"  # of a newer kernel side


def test_reasons_belong_to_their_hooks() -> None:
    sent = decode(kind=N["KIND_TCP_SEND_RESET"], reason=3, drop_reason=3)
    assert (sent.reason, sent.reason_raw, sent.drop_reason) == ("NO_SOCKET", 3, None)
    freed = decode(kind=N["KIND_KFREE_SKB"], reason=3, drop_reason=2)
    assert (freed.reason, freed.drop_reason, freed.drop_reason_raw) == (None, "NOT_SPECIFIED", 2)


def test_reason_without_a_name_is_its_number() -> None:
    assert decode(kind=N["KIND_TCP_SEND_RESET"], reason=77).reason == "77"


def test_kernel_without_reasons() -> None:
    old = FakeNames()
    assert decode(old, kind=N["KIND_TCP_SEND_RESET"], reason=3).reason is None
    assert decode(old, kind=N["KIND_KFREE_SKB"], drop_reason=3).drop_reason is None


def test_states() -> None:
    assert decode(sk_state=1).state == "ESTABLISHED"
    assert decode(sk_state=6, tw_substate=5).tw_substate == "FIN_WAIT2"
    assert decode(sk_state=12).state == "NEW_SYN_RECV"
    assert state_name(42) == "42"
    assert state_name(0) is None


def test_states_are_those_of_the_kernel() -> None:
    """include/net/tcp_states.h, written down twice."""
    assert [state_name(i) for i in range(1, len(tcp.STATES))] == list(tcp.STATES[1:])


def test_frames_of_the_tracer_and_suffixes_of_clones_are_cut() -> None:
    assert decode(kstack=(0x10, 0x11, 0x20, 0x21)).frames == ("tcp_v4_send_reset", "tcp_v4_rcv")


def test_trampoline_of_the_tracepoint_is_cut() -> None:
    """With two tracers attached the tracepoint goes through its own iterator."""
    assert decode(kstack=(0x10, 0x11, 0x12, 0x20, 0x21)).frames == (
        "tcp_v4_send_reset",
        "tcp_v4_rcv",
    )


def test_stack_ends_where_a_softirq_begins() -> None:
    """What the softirq interrupted has nothing to do with it."""
    frames = decode(kstack=(0x10, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25)).frames
    assert frames == ("tcp_v4_send_reset", "tcp_v4_rcv", "do_softirq")


def test_address_without_a_name_stays_a_number() -> None:
    assert decode(kstack=(0x20, 0xFFFFFFFF81000000)).frames == (
        "tcp_v4_send_reset",
        "0xffffffff81000000",
    )


def test_location() -> None:
    assert decode(location=0x20).location == "tcp_v4_send_reset"
    assert decode(location=0x99).location is None


def test_user_stack() -> None:
    assert decode(ustack=(5, 6)).ustack == (5, 6)


def test_task() -> None:
    task = decode(pid=5, tid=6, comm=b"nginx\0junk", task_flags=0x4, task_exit_code=9).task
    assert (task.pid, task.tid, task.comm, task.exit_code) == (5, 6, "nginx", 9)
    assert task.exiting
    assert not task.kernel_thread
    assert decode(task_flags=0x200000).task.kernel_thread


def test_name_that_is_no_utf8() -> None:
    assert c_string(b"caf\xe9\0\0") == "caf\\xe9"


@pytest.mark.parametrize(
    "comm", [b"a\nb", b"\x1b[31mred", b"\x07bell", b"a\rb", "a\u2028b".encode()]
)
def test_name_cannot_write_to_the_terminal(comm: bytes) -> None:
    """Any process may call itself anything: prctl(PR_SET_NAME)."""
    assert c_string(comm).isprintable()


def test_sock() -> None:
    fields: dict[str, Any] = {
        "tcp_rcv_nxt": 1312,
        "tcp_copied_seq": 1000,
        "sk_flags": 16,
        "sk_linger_ms": 0,
        "tcp_heard_ms": 1,
    }
    sock = decode(have=N["HAVE_SOCK"], sk_uid=33, has_socket=1, tcp_is_mptcp=1, **fields).sock
    assert sock
    assert (sock.uid, sock.unread, sock.linger, sock.has_socket) == (33, 312, True, True)
    assert sock.is_mptcp
    # ms + 1, so that 0 is not known
    assert (sock.heard_ms, sock.spoke_ms) == (0, None)


def test_history_of_this_and_of_an_earlier_connection() -> None:
    own = decode(have=N["HAVE_HISTORY"], h_flags=1, h_pid=7, h_comm=b"curl", h_old_state=2).history
    assert own
    assert (own.closed, own.active, own.comm, own.old_state) == (False, True, "curl", "SYN_SENT")
    gone = decode(have=N["HAVE_CLOSED"], h_flags=8 | 32, h_close_pid=9).history
    assert gone
    assert (gone.closed, gone.sent_reset, gone.closed_by_process) == (True, True, True)
    assert not gone.got_reset
    assert not gone.passive


def test_handshake() -> None:
    """The kernel gives the sequence number in network order."""
    fields: dict[str, Any] = {"syn_rx_seq": 0x01020304, "syn_rx_ttl": 61, "syn_tx_ns": 5}
    shake = decode(have=N["HAVE_SYN"], syn_rx_id=N["ID_V4"] | N["ID_DF"] | 7, **fields).handshake
    assert shake
    assert (shake.rx_seq, shake.rx_ttl, shake.tx_ns) == (0x04030201, 61, 5)
    assert (shake.rx_ip_id, shake.rx_df) == (7, True)
    v6 = decode(have=N["HAVE_SYN"]).handshake
    assert v6
    assert (v6.rx_ip_id, v6.rx_df) == (None, False)


def test_packet_is_cut_at_its_length() -> None:
    raw = ipv4(tcp_bytes(RST))
    fields: dict[str, Any] = {"packet": raw + b"junk", "packet_len": len(raw), "skb_len": len(raw)}
    packet = decode(have=N["HAVE_PACKET"], **fields).packet
    assert packet
    assert (packet.flags, packet.length) == (RST, 0)


@pytest.mark.parametrize("length", [0, 1, LAYOUT.size - 1])
def test_record_too_short(length: int) -> None:
    with pytest.raises(ValueError, match=f"record of {length} bytes"):
        Decoder(LAYOUT, NAMES).decode(b"\0" * length)


@given(st.randoms(use_true_random=False))
def test_any_bytes_of_the_right_length_decode(random: Any) -> None:
    record = Decoder(LAYOUT, NAMES).decode(random.randbytes(LAYOUT.size))
    assert record.time_ns >= 0
