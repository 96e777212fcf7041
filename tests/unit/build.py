"""Hand-made packets, records and resets, as short as a test can say them.

The world of these tests: this host is ``HERE`` in namespace ``NETNS``, the other end is
``THERE``; a server listens on ``PORT`` here, the client's port is ``CLIENT_PORT``. ``T`` is
the time at which everything happens, in ns.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rsttrace.causes.case import Case, Finding, Sender
from rsttrace.causes.rules import rules
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.firewall import Firewall
from rsttrace.enrich.place import Place, Question
from rsttrace.explain import Explained, explain
from rsttrace.join import Joiner
from rsttrace.kernel.loader import bpf_dir
from rsttrace.layout import Layout
from rsttrace.listeners import Listener
from rsttrace.model import Reset
from rsttrace.packet import ACK, RST, SYN, Packet, parse_packet
from rsttrace.records import Flow, Handshake, History, Record, Sock, Task

HERE, THERE = "10.0.0.5", "10.0.0.9"
PORT, CLIENT_PORT = 8080, 51234
NETNS, OTHER_NETNS = 4026531840, 4026532999
T = 1_000_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000

FLOW = Flow(HERE, PORT, THERE, CLIENT_PORT, NETNS)
THEIRS = Flow(THERE, CLIENT_PORT, HERE, PORT, OTHER_NETNS)
FLOW6 = Flow("fd00::5", PORT, "fd00::9", CLIENT_PORT, NETNS)

SYSCALL = ("do_syscall_64", "entry_SYSCALL_64_after_hwframe")
SOFTIRQ = (
    "ip_protocol_deliver_rcu",
    "ip_local_deliver_finish",
    "__netif_receive_skb_one_core",
    "process_backlog",
)
CLOSE = ("tcp_close", "inet_release", "sock_close", "__fput", "__x64_sys_close", *SYSCALL)
EXIT = ("tcp_close", "inet_release", "__fput", "task_work_run", "do_exit", "do_group_exit")
ACTIVE = "tcp_send_active_reset"
XMIT = ("__dev_queue_xmit", "ip_finish_output2", "ip_output")
REPLY = (*XMIT, "ip_send_unicast_reply", "tcp_v4_send_reset")

# stacks of tcp_send_reset, by the rows of kernel-resets.md
A1 = (ACTIVE, "__tcp_close", *CLOSE)
A1_EXIT = (ACTIVE, "__tcp_close", *EXIT)
A2 = (ACTIVE, "tcp_disconnect", "__tcp_close", *CLOSE)
A3 = (ACTIVE, "tcp_disconnect", "__inet_stream_connect", "__x64_sys_connect", *SYSCALL)
A4 = (ACTIVE, "tcp_disconnect", "inet_child_forget", "inet_csk_listen_stop", "__tcp_close", *CLOSE)
A10 = (ACTIVE, "tcp_abort", "tcp_diag_destroy", "netlink_rcv_skb", "__sys_sendmsg", *SYSCALL)
P1 = ("tcp_v4_send_reset", "tcp_v4_rcv", *SOFTIRQ)
P2 = ("tcp_v4_send_reset", "tcp_v4_do_rcv", "tcp_v4_rcv", *SOFTIRQ)
P5 = ("tcp_v4_send_reset", "tcp_check_req", "tcp_v4_rcv", *SOFTIRQ)
# stacks of tcp_receive_reset
ACCEPTED = ("tcp_reset", "tcp_validate_incoming", "tcp_rcv_established", "tcp_v4_do_rcv", *SOFTIRQ)
REFUSED = ("tcp_reset", "tcp_rcv_state_process", "tcp_v4_do_rcv", *SOFTIRQ)
NOT_A_RESET = REFUSED  # in any state but SYN_SENT
FIREWALL = (
    *XMIT,
    "nf_send_reset",
    "nft_reject_inet_eval",
    "nft_do_chain",
    "nf_hook_slow",
    "ip_local_deliver",
    "process_backlog",
)

NGINX = Process(1432, "nginx", "/usr/sbin/nginx", "nginx: worker process", "/system.slice/nginx")
CURL = Process(2001, "curl")


def task(comm: str = "nginx", pid: int = 1432, **changes: Any) -> Task:
    """A task on the CPU."""
    return replace(Task(pid, pid, comm, 0x400100, 0, 1), **changes)


def sock(**changes: Any) -> Sock:
    """An ordinary, fully read and acknowledged socket."""
    plain = Sock(
        uid=33,
        inode=777,
        cookie=0,
        cgroup=1,
        flags=0,
        shutdown=3,
        linger_ms=0,
        ack_backlog=0,
        max_ack_backlog=0,
        has_socket=True,
        owned=True,
        rcv_nxt=1000,
        copied_seq=1000,
        snd_nxt=5000,
        snd_una=5000,
        write_seq=5000,
        rcv_wnd=64000,
        srtt_us=0,
        user_timeout=0,
        linger2=0,
        bytes_received=0,
        bytes_acked=0,
        is_mptcp=False,
        probes_out=0,
        retransmits=0,
    )
    return replace(plain, **changes)


def history(**changes: Any) -> History:
    """The life of the socket itself: opened by the peer 2 s ago, closed by nginx now."""
    plain = History(
        closed=False,
        open_ns=T - 2 * SECOND,
        established_ns=T - 2 * SECOND,
        change_ns=T,
        close_ns=T,
        flags=2 | 32,
        pid=0,
        comm="",
        close_pid=1432,
        close_comm="nginx",
        old_state="ESTABLISHED",
    )
    return replace(plain, **changes)


def earlier(**changes: Any) -> History:
    """The life of an earlier connection with this tuple, reset by this host 5 ms ago."""
    return history(**{"closed": True, "change_ns": T - 5 * MS, "flags": 2 | 8 | 32, **changes})


def segment(flags: int = ACK, payload: bytes = b"", **changes: Any) -> Packet:
    """What came in from the other end."""
    plain = Packet(
        src=THERE,
        dst=HERE,
        sport=CLIENT_PORT,
        dport=PORT,
        flags=flags,
        seq=1000,
        ack=0 if flags & SYN else 5000,
        window=502,
        ttl=64,
        ip_id=1,
        length=len(payload),
        payload=payload,
        option_kinds=(),
    )
    return replace(plain, **changes)


def rst(flags: int = RST, **changes: Any) -> Packet:
    """Our RST: bare, as the answer to a segment with an ACK."""
    own = {"src": HERE, "dst": THERE, "sport": PORT, "dport": CLIENT_PORT}
    plain = {**own, "seq": 5000, "ack": 0, "window": 0, "ip_id": 0}
    return segment(flags, **{**plain, **changes})


def record(kind: str, **changes: Any) -> Record:
    """One event; nothing is known but the addresses."""
    plain = Record(
        kind=kind,
        time_ns=T,
        cpu=0,
        task=task(),
        flow=FLOW,
        sk=0,
        skb=0,
        location=None,
        reason=None,
        reason_raw=0,
        drop_reason=None,
        drop_reason_raw=0,
        errno=0,
        state=None,
        tw_substate=None,
        sock=None,
        history=None,
        handshake=None,
        packet=None,
        ifindex=2,
        skb_iif=0,
        dev="eth0",
        frames=(),
        ustack=(),
    )
    return replace(plain, **changes)


# -- the parts of a reset ----------------------------------------------------------------------

SK, SKB, RST_SKB = 0xFFFF888001234000, 0xFFFF888001235000, 0xFFFF888001236000


def decided(frames: tuple[str, ...] = A1, **changes: Any) -> Record:
    """tcp_send_reset of an active abort by nginx."""
    active = {"sk": SK, "state": "CLOSE", "sock": sock(), "history": history()}
    return record("tcp_send_reset", **{"frames": frames, **active, **changes})


def answered(trigger: Packet, frames: tuple[str, ...] = P1, **changes: Any) -> Record:
    """tcp_send_reset as the answer to a segment."""
    return record("tcp_send_reset", **{"frames": frames, "packet": trigger, "skb": SKB, **changes})


def left(packet: Packet | None = None, frames: tuple[str, ...] = REPLY, **changes: Any) -> Record:
    """net_dev_queue: our RST at the device."""
    plain = {"packet": packet or rst(), "skb": RST_SKB, "frames": frames}
    return record("net_dev_queue", **{**plain, **changes})


def arrived(packet: Packet | None = None, **changes: Any) -> Record:
    """netif_receive_skb: a RST from the other end."""
    plain = {"packet": packet or segment(RST), "skb": RST_SKB, "skb_iif": 2}
    return record("netif_receive_skb", **{**plain, **changes})


def judged(state: str, frames: tuple[str, ...] = ACCEPTED, **changes: Any) -> Record:
    """tcp_receive_reset."""
    plain = {"sk": SK, "state": state, "sock": sock(), "history": history(flags=1, close_ns=0)}
    return record("tcp_receive_reset", **{"frames": frames, **plain, **changes})


def dropped(packet: Packet, reason: str | None, **changes: Any) -> Record:
    """kfree_skb."""
    plain = {"packet": packet, "skb": SKB, "drop_reason": reason, "drop_reason_raw": 3}
    return record("kfree_skb", **{**plain, **changes})


def reset(**changes: Any) -> Reset:
    """One reset of this connection, put together by hand."""
    return Reset(**{"id": 1, "flow": FLOW, "time_ns": T, **changes})


def sent_reset(first: Record | None, wire: Record | None = None, **changes: Any) -> Reset:
    """A reset this host sent: its decision, and the packet."""
    plain = {"direction": "sent", "decided": first, "wire": wire}
    return reset(**{**plain, **changes})


def received_reset(judgement: Record | None, wire: Record | None = None, **changes: Any) -> Reset:
    """A reset this host got."""
    plain = {"direction": "received", "judged": judgement, "wire": wire}
    return reset(**{**plain, **changes})


# -- asking ------------------------------------------------------------------------------------


def finding(
    cause: str, one: Reset, facts: Facts | None = None, sender: Sender | None = None
) -> Finding | None:
    """What one rule says."""
    ask = {rule.cause: rule.ask for rule in rules()}[cause]
    return ask(Case(one, facts or Facts(), sender))


def explained(
    one: Reset, facts: Facts | None = None, sender: Sender | None = None, seen: bool = True
) -> Explained:
    """What all rules say. ``seen``: a RST that was decided was seen to leave."""
    facts = facts or Facts()
    if seen and one.direction == "sent" and one.decided and not one.wire:
        frames = (*XMIT, *one.decided.frames)
        one.wire = record("net_dev_queue", flow=one.flow, packet=None, frames=frames)
    return Explained(one, facts, explain(one, facts, sender))


def join(*records: Record) -> list[Reset]:
    """All records through the joiner, in the order of their times."""
    joiner = Joiner()
    for one in sorted(records, key=lambda r: r.time_ns):
        joiner.feed(one)
    return joiner.flush()


def listener(address: str = HERE, port: int = PORT, **changes: Any) -> Listener:
    """nginx listens here."""
    return replace(Listener(NETNS, address, port, 777, 1432, "nginx"), **changes)


# -- bytes -------------------------------------------------------------------------------------


def tcp_bytes(
    flags: int, payload: bytes = b"", options: bytes = b"", seq: int = 1000, ack: int = 5000
) -> bytes:
    """A TCP header from the other end, with its options and payload."""
    offset = (20 + len(options)) // 4 << 12
    head = struct.pack(">HHIIHHHH", CLIENT_PORT, PORT, seq, ack, offset | flags, 502, 0, 0)
    return head + options + payload


def ipv4(
    tcp: bytes, ttl: int = 64, ip_id: int = 7, options: bytes = b"", protocol: int = 6
) -> bytes:
    """An IPv4 packet from THERE to HERE."""
    size = 20 + len(options)
    src, dst = (ipaddress.IPv4Address(a).packed for a in (THERE, HERE))
    head = struct.pack(
        ">BBHHHBBH", 0x40 | size // 4, 0, size + len(tcp), ip_id, 0x4000, ttl, protocol, 0
    )
    return head + src + dst + options + tcp


def ipv6(tcp: bytes, hops: int = 64, next_header: int = 6) -> bytes:
    """An IPv6 packet."""
    src, dst = (ipaddress.IPv6Address(a).packed for a in (FLOW6.remote, FLOW6.local))
    return struct.pack(">IHBB", 6 << 28, len(tcp), next_header, hops) + src + dst + tcp


def parsed(raw: bytes, captured: int | None = None, payload: bytes = b"") -> Packet:
    """``raw`` as a Packet, of which only the first ``captured`` bytes were copied."""
    packet = parse_packet(raw[:captured], len(raw), payload)
    assert packet is not None
    return packet


def record_header() -> str:
    """The text of bpf/record.h."""
    return (bpf_dir() / "record.h").read_text()


LAYOUT = Layout.parse(record_header())


def raw_record(**fields: Any) -> bytes:
    """A record as the kernel sends it: fields by their names in record.h, all others zero."""
    values: list[Any] = []
    for name, code in LAYOUT.fields:
        value = fields.pop(name, None)
        if code.endswith("s"):
            values.append(value or b"")
        elif code[:-1] == "1":
            values.append(value or 0)
        else:
            given = tuple(value or ())
            values += [*given, *[0] * (int(code[:-1]) - len(given))]
    assert not fields, f"not in record.h: {', '.join(fields)}"
    return struct.pack(LAYOUT.format, *values)


def mapped(address: str) -> bytes:
    """An address as a record has it."""
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


class FakeNames:
    """A kernel with these symbols and enums."""

    def __init__(
        self,
        symbols: Mapping[int, str] | None = None,
        enums: Mapping[str, Mapping[int, str]] | None = None,
    ) -> None:
        self.symbols = symbols or {}
        self.enums = enums or {}

    def symbol(self, address: int) -> str | None:
        return self.symbols.get(address)

    def enum(self, name: str) -> Mapping[int, str]:
        return self.enums.get(name, {})


class FakeContext:
    """A host with these processes and sockets."""

    def __init__(
        self, processes: Iterable[Process] = (), owners: Mapping[int, int] | None = None
    ) -> None:
        self.processes = {p.pid: p for p in processes}
        self.owners = owners or {}

    def process(self, pid: int) -> Process | None:
        return self.processes.get(pid)

    def socket_owner(self, inode: int, likely: object = ()) -> int | None:
        return self.owners.get(inode)

    def netns_name(self, inode: int) -> str | None:
        return "host" if inode == NETNS else None

    def firewall(self, netns: int, time_ns: int) -> Firewall | None:
        return None

    def place(self, question: Question, time_ns: int) -> Place | None:
        return None

    def user_frames(
        self, pid: int, addresses: tuple[int, ...], words: tuple[int, ...]
    ) -> tuple[str, ...]:
        return ()


def shake(**changes: Any) -> Handshake:
    """Our SYN went out and the answer came in, 10 ms ago."""
    return replace(Handshake(T - 9 * MS, T - 10 * MS, 999, 64), **changes)
