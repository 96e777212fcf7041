"""Typed records: one event of one hook, in the kernel's words. Field meanings: bpf/record.h."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rsttrace.packet import Packet

# a recording explained again holds all its records: slots take a quarter less memory
SLOTS = {"slots": True} if sys.version_info >= (3, 10) else {}


def at(address: str, port: int) -> str:
    """``10.0.0.1:80`` or ``[fd00::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, **SLOTS)
class Flow:
    """Both ends as this host sees them; addresses as text, ports in host order."""

    local: str
    lport: int
    remote: str
    rport: int
    netns: int

    @property
    def family(self) -> int:
        """4 or 6. A v4-mapped address counts as 4: that is what is on the wire."""
        return 6 if ":" in self.local or ":" in self.remote else 4


@dataclass(frozen=True, **SLOTS)
class Task:
    """The task on the CPU when the hook ran: not always the one that acted."""

    pid: int
    tid: int
    comm: str
    flags: int
    exit_code: int
    cgroup: int

    @property
    def exiting(self) -> bool:
        """PF_EXITING: inside do_exit()."""
        return bool(self.flags & 0x4)

    @property
    def kernel_thread(self) -> bool:
        """PF_KTHREAD."""
        return bool(self.flags & 0x200000)


@dataclass(frozen=True, **SLOTS)
class Sock:
    """Facts of a full socket (sock, inet_connection_sock, tcp_sock); units as in record.h.

    ``heard_ms``: since data or an ACK last came in; ``spoke_ms``: since data was last sent;
    None: not known. ``wstamp_ns``: when this end last sent a segment (CLOCK_MONOTONIC), 0: not
    known.
    """

    uid: int
    inode: int
    cookie: int
    cgroup: int
    flags: int
    shutdown: int
    linger_ms: int
    ack_backlog: int
    max_ack_backlog: int
    has_socket: bool
    owned: bool
    rcv_nxt: int
    copied_seq: int
    rcv_wnd: int
    snd_nxt: int
    snd_una: int
    write_seq: int
    srtt_us: int
    user_timeout: int
    linger2: int
    bytes_received: int
    bytes_acked: int
    is_mptcp: bool
    probes_out: int
    retransmits: int
    heard_ms: int | None = None
    spoke_ms: int | None = None
    wstamp_ns: int = 0
    min_rtt_us: int = 0
    header_len: int = 0
    segs_in: int = 0
    fastopen: bool = False
    err_soft: int = 0

    # sk_flags bits, stable from 4.15 to 7.2 (enum sock_flags)
    @property
    def dead(self) -> bool:
        """SOCK_DEAD: no application holds it any more."""
        return bool(self.flags & 1)

    @property
    def fin_received(self) -> bool:
        """SOCK_DONE."""
        return bool(self.flags & 2)

    @property
    def linger(self) -> bool:
        """SOCK_LINGER."""
        return bool(self.flags & 16)

    @property
    def keepalive(self) -> bool:
        """SOCK_KEEPOPEN: SO_KEEPALIVE is on."""
        return bool(self.flags & 8)

    @property
    def timestamps(self) -> bool:
        """TCP timestamps were negotiated: 12 bytes in each header (an MD5 signature has 20)."""
        return self.header_len - 20 in (12, 32)

    @property
    def unread(self) -> int:
        """Received bytes the application has not read (a FIN takes one number)."""
        waiting = (self.rcv_nxt - self.copied_seq) & 0xFFFFFFFF
        return waiting - 1 if waiting and self.fin_received else waiting

    @property
    def spoke(self) -> bool:
        """Was there data, in either direction?"""
        return bool(self.bytes_received or self.bytes_acked or self.unread or self.unacked)

    @property
    def unacked(self) -> int:
        """Bytes written but not acknowledged by the peer."""
        return (self.write_seq - self.snd_una) & 0xFFFFFFFF


@dataclass(frozen=True, **SLOTS)
class History:
    """The life of a connection as inet_sock_set_state showed it; times in ns, 0: not seen.

    ``closed``: not this socket but the last earlier one with the same addresses and ports.
    ``errno``: what ended it without a RST, 0 if nothing did.
    """

    closed: bool
    open_ns: int
    established_ns: int
    change_ns: int
    close_ns: int
    flags: int
    pid: int
    comm: str
    close_pid: int
    close_comm: str
    old_state: str | None
    close_flags: int = 0
    close_exit_code: int = 0
    errno: int = 0

    @property
    def closed_by_exit(self) -> bool:
        """``close_pid`` was ending (PF_EXITING), by ``close_exit_code``."""
        return bool(self.close_flags & 0x4)

    @property
    def active(self) -> bool:
        """This end opened the connection."""
        return bool(self.flags & 1)

    @property
    def passive(self) -> bool:
        """The peer opened the connection."""
        return bool(self.flags & 2)

    @property
    def sent_reset(self) -> bool:
        """This end reset it."""
        return bool(self.flags & 8)

    @property
    def got_reset(self) -> bool:
        """A reset from the peer ended it."""
        return bool(self.flags & 16)

    @property
    def closed_by_process(self) -> bool:
        """``close_pid`` called close() or shutdown()."""
        return bool(self.flags & 32)


@dataclass(frozen=True, **SLOTS)
class Handshake:
    """The SYN or SYN-ACK of each direction on the wire: when (ns, 0: not seen), its sequence
    number; of the peer's also TTL, and IP ID and DF (IPv4).
    """

    rx_ns: int
    tx_ns: int
    rx_seq: int
    rx_ttl: int
    tx_seq: int = 0
    rx_ip_id: int | None = None
    rx_df: bool = False


@dataclass(frozen=True, **SLOTS)
class Record:
    """One event of one hook. Parts the hook could not read are None.

    ``frames`` are kernel functions, innermost first, without the tracer's own; ``reason``
    and ``drop_reason`` the running kernel's names, None where the hook has none. ``ustack`` are
    return addresses by frame pointers, innermost first; ``user_words`` the user stack itself from
    its top on, 0 for what is no address. Both are the task's on the CPU, whether it acted or not.
    ``found``: the hook did not name the socket, it was looked up by addresses and ports.
    ``inferred``: no hook told this, it follows from what others showed (strays.py); the reason that
    a newer kernel would have given.
    """

    kind: str
    time_ns: int
    cpu: int
    task: Task
    flow: Flow | None
    sk: int
    skb: int
    location: str | None
    reason: str | None
    reason_raw: int
    drop_reason: str | None
    drop_reason_raw: int
    errno: int
    state: str | None
    tw_substate: str | None
    sock: Sock | None
    history: History | None
    handshake: Handshake | None
    packet: Packet | None
    ifindex: int
    skb_iif: int
    dev: str
    frames: tuple[str, ...]
    ustack: tuple[int, ...]
    tw_rcv_nxt: int | None = None
    tw_rcv_wnd: int = 0
    rfc1337: bool = False
    user_words: tuple[int, ...] = ()
    found: bool = False
    inferred: str = ""

    @property
    def named(self) -> bool:
        """Could the kernel stack be named? (not with kernel.kptr_restrict=2)"""
        return any(not frame.startswith("0x") for frame in self.frames)

    def in_stack(self, *functions: str) -> bool:
        """Is one of these functions in the kernel stack?"""
        return any(f in self.frames for f in functions)
