"""One made-up reset of each kind, as the hooks would tell it: raw records with every fact.

What a missing piece costs is found out by taking it away from these (costs.py): they go through the
same decoding, joining and rules as real records.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rsttrace.causes import kinds
from rsttrace.layout import Layout
from rsttrace.packet import ACK, RST

Fields = dict[str, Any]

HERE, THERE = "c0000201", "c0000202"  # 192.0.2.1 and 192.0.2.2 (RFC 5737)
PORT, PEER_PORT = 443, 40000
SOCKET, SEGMENT, SENT_RST, GOT_RST = 0x51, 0x52, 0x53, 0x54  # addresses are identities only
DEVICE = 2
ESTABLISHED, CLOSE = 1, 7
SECOND = 1_000_000_000
# what a field has that no story names, by the beginning of its name
SOME = 16
OF_SOCKETS = ("sk_", "tcp_", "tw_", "h_", "inode", "cgroup", "cookie", "owned", "has_socket")

# enum values stand for themselves: see NAMES
REASON, DROP_REASON = 1, 2
ENUMS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {"sk_rst_reason": {REASON: "A_REASON"}, "skb_drop_reason": {DROP_REASON: "A_REASON"}}
)

# stacks, innermost first; an address is a place in FUNCTIONS
OUT = ("__dev_queue_xmit", "ip_finish_output2", "ip_output")
IN = ("tcp_v4_do_rcv", "tcp_v4_rcv", "ip_local_deliver_finish", "process_backlog")
BY_CLOSE = ("tcp_send_active_reset", "__tcp_close", "tcp_close", "inet_release", "do_syscall_64")
ANSWER = ("tcp_v4_send_reset", *IN)
BELIEVED = ("tcp_reset", "tcp_validate_incoming", "tcp_rcv_established", *IN)
NOT_BELIEVED = ("tcp_validate_incoming", "tcp_rcv_established", *IN)
REJECTED = ("nf_send_reset", "nft_do_chain", "nf_hook_slow", "ip_local_deliver", "process_backlog")
ROUTED = ("ip_forward", "ip_rcv", "process_backlog")
GAVE_UP = ("tcp_write_err", "tcp_retransmit_timer", "tcp_write_timer", "run_timer_softirq")
FUNCTIONS = sorted({f for s in (OUT, BY_CLOSE, ANSWER, BELIEVED, REJECTED, ROUTED) for f in s})
FUNCTIONS += [f for f in (*NOT_BELIEVED, *GAVE_UP) if f not in FUNCTIONS]


@dataclass(frozen=True)
class MadeUpNames:
    """What the kernel of the stories calls its addresses and numbers (decode.Names)."""

    symbols: bool = True
    enums: Mapping[str, Mapping[int, str]] = field(default_factory=lambda: ENUMS)

    def symbol(self, address: int) -> str | None:
        """Function at an address."""
        known = self.symbols and 0 < address <= len(FUNCTIONS)
        return FUNCTIONS[address - 1] if known else None

    def enum(self, name: str) -> Mapping[int, str]:
        """Names of an enum."""
        return self.enums.get(name, {})


def stories(numbers: Mapping[str, int]) -> dict[str, list[Fields]]:
    """Kind of reset (causes/kinds.py) to its records; ``numbers`` are those of record.h."""
    sent = {"packet": _packet(HERE, THERE, RST), "skb": SENT_RST}
    got = {"packet": _packet(THERE, HERE, RST), "skb": GOT_RST, "skb_iif": DEVICE}
    asked = {"packet": _packet(THERE, HERE, ACK), "skb": SEGMENT, "skb_iif": DEVICE}
    told: dict[str, list[tuple[str, tuple[str, ...], Fields]]] = {
        kinds.ACTIVE: [
            ("net_dev_queue", (*OUT, *BY_CLOSE), sent),
            ("tcp_send_reset", BY_CLOSE, {"sk": SOCKET, "reason": REASON}),
        ],
        kinds.PASSIVE: [
            ("tcp_send_reset", ANSWER, {"sk": SOCKET, "reason": REASON, **asked}),
            ("net_dev_queue", (*OUT, *ANSWER), sent),
            ("kfree_skb", IN, {"drop_reason": DROP_REASON, **asked}),
        ],
        kinds.OUTSIDE: [("net_dev_queue", (*OUT, *REJECTED), sent)],
        kinds.PASSING: [("net_dev_queue", (*OUT, *ROUTED), {"skb_iif": DEVICE, **sent})],
        kinds.ACCEPTED: [
            ("netif_receive_skb", (), got),
            ("tcp_receive_reset", BELIEVED, {"sk": SOCKET}),
            ("inet_sk_error_report", BELIEVED, {"sk": SOCKET, "errno": 104}),
        ],
        kinds.REFUSED: [
            ("netif_receive_skb", (), got),
            ("kfree_skb", NOT_BELIEVED, {"sk": SOCKET, "drop_reason": DROP_REASON, **got}),
        ],
        kinds.QUIET: [
            ("inet_sk_error_report", GAVE_UP, {"sk": SOCKET, "errno": 110, "sk_state": CLOSE})
        ],
    }
    return {
        kind: [
            _record(numbers, i, hook, stack, more) for i, (hook, stack, more) in enumerate(records)
        ]
        for kind, records in told.items()
    }


def _record(
    numbers: Mapping[str, int], place: int, hook: str, stack: tuple[str, ...], more: Fields
) -> Fields:
    """A record with every fact that it can have, 10 us after the one before."""
    have = ["TUPLE", "HISTORY", "SYN", *["SOCK"] * ("sk" in more), *["PACKET"] * ("packet" in more)]
    have += ["TIMEWAIT"] * (hook == "kfree_skb")  # what a timewait socket would have told
    return {
        "kind": numbers[f"KIND_{hook.upper()}"],
        "have": sum(numbers[f"HAVE_{name}"] for name in have),
        "time_ns": 100 * SECOND + place * 10_000,
        "laddr": _address(HERE),
        "raddr": _address(THERE),
        "lport": PORT,
        "rport": PEER_PORT,
        "sk_state": ESTABLISHED if "sk" in more else 0,
        "kstack": tuple(FUNCTIONS.index(f) + 1 for f in stack),
        "skb_len": 40,
        "packet_len": 40,
        "h_open_ns": 90 * SECOND,
        "h_established_ns": 90 * SECOND,
        "h_change_ns": 91 * SECOND,
        "h_flags": numbers["H_PASSIVE"] | numbers["H_PROCESS"],
        "h_old_state": ESTABLISHED,
        "syn_rx_ns": 90 * SECOND,
        "syn_tx_ns": 90 * SECOND,
        "syn_rx_id": numbers["ID_V4"],
        **more,
    }


def pack(layout: Layout, fields: Fields) -> bytes:
    """Raw bytes as the perf buffer gives them; facts of sockets that no story names are SOME."""
    values: list[Any] = []
    for name, code in layout.fields:
        count = code[:-1]
        if code.endswith("s"):
            values.append(fields.get(name) or b"")
        elif count == "1":
            values.append(fields.get(name, SOME if name.startswith(OF_SOCKETS) else 0))
        else:
            given = tuple(fields.get(name) or ())
            values += (*given, *(0,) * (int(count) - len(given)))
    return struct.pack(layout.format, *values)


def _address(v4: str) -> bytes:
    return bytes(10) + b"\xff\xff" + bytes.fromhex(v4)


def _packet(source: str, target: str, flags: int) -> bytes:
    """IPv4 and TCP headers without options."""
    ports = (PORT, PEER_PORT) if source == HERE else (PEER_PORT, PORT)
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40, 7, 0, 64, 6, 0, bytes.fromhex(source), bytes.fromhex(target)
    )
    return ip + struct.pack("!HHIIBBHHH", *ports, 1000, 2000, 0x50, flags, 512, 0, 0)
