"""From the bytes of a perf buffer to typed records."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from rsttrace.layout import Layout
from rsttrace.output import printable
from rsttrace.packet import Packet, parse_packet
from rsttrace.records import Flow, Handshake, History, Record, Sock, Task


@lru_cache(maxsize=4096)
def address_text(raw: bytes) -> str:
    """A 16-byte address as text; ``::ffff:a.b.c.d`` as IPv4."""
    v6 = ipaddress.IPv6Address(raw)
    return str(v6.ipv4_mapped or v6)


def c_string(raw: bytes) -> str:
    """A NUL-terminated name, safe to print."""
    return printable(raw.split(b"\0", 1)[0])


# syn_rx_id in bpf/record.h
ID_V4, ID_DF = 1 << 16, 1 << 17


class Names(Protocol):
    """What a kernel calls its numbers and addresses: the running one or a recorded one."""

    def symbol(self, address: int) -> str | None:
        """Function at a return address."""

    def enum(self, name: str) -> Mapping[int, str]:
        """Names of ``sk_rst_reason`` or ``skb_drop_reason``, empty if it has none."""


# the innermost frames of a stack are the program's own
_TRACER = ("bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "perf_trace_")
TRACER_FRAMES = 4

# a softirq runs on top of whatever task it interrupted: the frames beyond these are not ours
_SOFTIRQ = {
    "process_backlog",
    "__napi_poll",
    "napi_poll",
    "net_rx_action",
    "napi_busy_loop",
    "run_timer_softirq",
    "handle_softirqs",
    "__do_softirq",
    "do_softirq",
}

# include/net/tcp_states.h; user space ABI through TCP_INFO and /proc/net/tcp
STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "NEW_SYN_RECV",
}


def state_name(number: int) -> str | None:
    """TCP state without prefix; an unknown one as its number, 0 as None."""
    return STATES.get(number, str(number)) if number else None


class Decoder:
    """Raw records of one layout to ``Record``, in the words of the kernel they come from."""

    def __init__(self, layout: Layout, names: Names) -> None:
        self._layout = layout
        self._names = names
        self._kinds = {
            value: name.removeprefix("KIND_").lower()
            for name, value in layout.numbers.items()
            if name.startswith("KIND_") and name != "KIND_COUNT"
        }
        self._have = {
            name.removeprefix("HAVE_"): value
            for name, value in layout.numbers.items()
            if name.startswith("HAVE_")
        }

    def decode(self, raw: bytes) -> Record:
        """One record; ValueError if it is too short for the layout."""
        if len(raw) < self._layout.size:
            raise ValueError(f"record of {len(raw)} bytes, expected {self._layout.size}")
        f = self._layout.unpack(raw)
        have = {name: bool(f["have"] & bit) for name, bit in self._have.items()}
        kind = self._kinds.get(f["kind"], str(f["kind"]))
        decided, dropped = kind == "tcp_send_reset", kind == "kfree_skb"
        return Record(
            kind=kind,
            time_ns=f["time_ns"],
            cpu=f["cpu"],
            task=_task(f),
            flow=_flow(f) if have["TUPLE"] else None,
            sk=f["sk"],
            skb=f["skb"],
            location=self._names.symbol(f["location"]) if f["location"] else None,
            reason=self._enum("sk_rst_reason", f["reason"]) if decided else None,
            reason_raw=f["reason"],
            drop_reason=self._enum("skb_drop_reason", f["drop_reason"]) if dropped else None,
            drop_reason_raw=f["drop_reason"],
            errno=f["errno"],
            state=state_name(f["sk_state"]),
            tw_substate=state_name(f["tw_substate"]),
            tw_rcv_nxt=f["tw_rcv_nxt"] if have["TIMEWAIT"] else None,
            tw_rcv_wnd=f["tcp_rcv_wnd"] if have["TIMEWAIT"] else 0,
            rfc1337=bool(f["tw_rfc1337"]),
            sock=_sock(f) if have["SOCK"] else None,
            history=_history(f, have["CLOSED"]) if have["HISTORY"] or have["CLOSED"] else None,
            handshake=_handshake(f) if have["SYN"] else None,
            packet=_packet(f) if have["PACKET"] else None,
            ifindex=f["ifindex"],
            skb_iif=f["skb_iif"],
            dev=c_string(f["dev"]),
            frames=self._frames(f["kstack"]),
            ustack=tuple(a for a in f["ustack"] if a),
            user_words=f["user_words"] if have["USER_WORDS"] else (),
            found=have.get("FOUND", False),
        )

    def _enum(self, enum: str, number: int) -> str | None:
        """The kernel's name; the number as text if it has none; None without the enum."""
        names = self._names.enum(enum)
        return names.get(number, str(number)) if names else None

    def _frames(self, stack: tuple[int, ...]) -> tuple[str, ...]:
        names = [self._names.symbol(a) or hex(a) for a in stack if a]
        own = [i for i, name in enumerate(names[:TRACER_FRAMES]) if name.startswith(_TRACER)]
        # compilers add suffixes to clones: tcp_v4_rcv.cold, do_softirq.part.0
        plain = [name.split(".", 1)[0] for name in names[max(own, default=-1) + 1 :]]
        return tuple(plain[: _own_depth(plain)])


def _own_depth(frames: list[str]) -> int:
    """How many frames belong to what the hook saw, the softirq's entry included."""
    return next((i + 1 for i, name in enumerate(frames) if name in _SOFTIRQ), len(frames))


def _task(f: Mapping[str, Any]) -> Task:
    return Task(
        f["pid"],
        f["tid"],
        c_string(f["comm"]),
        f["task_flags"],
        f["task_exit_code"],
        f["task_cgroup"],
    )


def _flow(f: Mapping[str, Any]) -> Flow:
    return Flow(
        address_text(f["laddr"]), f["lport"], address_text(f["raddr"]), f["rport"], f["netns"]
    )


def _sock(f: Mapping[str, Any]) -> Sock:
    tcp = (
        "rcv_nxt copied_seq rcv_wnd snd_nxt snd_una write_seq wstamp_ns srtt_us min_rtt_us "
        "header_len segs_in user_timeout bytes_received bytes_acked probes_out retransmits"
    )
    return Sock(
        uid=f["sk_uid"],
        err_soft=f["sk_err_soft"],
        inode=f["inode"],
        cookie=f["cookie"],
        cgroup=f["cgroup"],
        flags=f["sk_flags"],
        shutdown=f["sk_shutdown"],
        linger_ms=f["sk_linger_ms"],
        linger2=_signed(f["tcp_linger2"]),
        ack_backlog=f["sk_ack_backlog"],
        max_ack_backlog=f["sk_max_ack_backlog"],
        has_socket=bool(f["has_socket"]),
        owned=bool(f["owned"]),
        is_mptcp=bool(f["tcp_is_mptcp"]),
        fastopen=bool(f["tcp_fastopen"]),
        heard_ms=f["tcp_heard_ms"] - 1 if f["tcp_heard_ms"] else None,
        spoke_ms=f["tcp_spoke_ms"] - 1 if f["tcp_spoke_ms"] else None,
        **{name: f[f"tcp_{name}"] for name in tcp.split()},
    )


def _signed(value: int) -> int:
    """An int that the record keeps as u32."""
    return value - 2**32 if value >> 31 else value


def _history(f: Mapping[str, Any], closed: bool) -> History:
    return History(
        closed=closed,
        open_ns=f["h_open_ns"],
        established_ns=f["h_established_ns"],
        change_ns=f["h_change_ns"],
        close_ns=f["h_close_ns"],
        flags=f["h_flags"],
        pid=f["h_pid"],
        comm=c_string(f["h_comm"]),
        close_pid=f["h_close_pid"],
        close_comm=c_string(f["h_close_comm"]),
        old_state=state_name(f["h_old_state"]),
        close_flags=f["h_close_flags"],
        close_exit_code=f["h_close_exit_code"],
        errno=f["h_error"],
    )


def _handshake(f: Mapping[str, Any]) -> Handshake:
    ident = f["syn_rx_id"]
    return Handshake(
        rx_ns=f["syn_rx_ns"],
        tx_ns=f["syn_tx_ns"],
        rx_seq=socket.ntohl(f["syn_rx_seq"]),  # as in the header
        rx_ttl=f["syn_rx_ttl"],
        tx_seq=socket.ntohl(f["syn_tx_seq"]),
        rx_ip_id=ident & 0xFFFF if ident & ID_V4 else None,
        rx_df=bool(ident & ID_DF),
    )


def _packet(f: Mapping[str, Any]) -> Packet | None:
    return parse_packet(
        f["packet"][: f["packet_len"]], f["skb_len"], f["payload"][: f["payload_len"]]
    )
