"""Pieces of text that the block and the one-line output share. Pure."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable

from rsttrace.causes.case import duration
from rsttrace.explain import Explained
from rsttrace.model import NONE, RECEIVED, REJECTED
from rsttrace.records import at

Clock = Callable[[Explained], str]

WORDS = {
    "sent": "SENT",
    "received": "RECV",
    "forwarded": "FWD",
    "suppressed": "SUPPR",
    "rejected": "REJ",
    "none": "ABORT",
}

# frames that say nothing to the reader
_NOISE = {
    "netlink_sendmsg",
    "netlink_unicast",
    "netlink_rcv_skb",
    "sock_sendmsg",
    "__sock_sendmsg",
    "____sys_sendmsg",
    "___sys_sendmsg",
    "sock_diag_rcv",
    "sock_diag_rcv_msg",
    "__inet_diag_destroy",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
    "x64_sys_call",
    "inet_release",
    "inet6_release",
    "__sock_release",
    "sock_close",
    "____fput",
    "__fput",
    "task_work_run",
    "exit_to_user_mode_loop",
    "exit_to_user_mode_prepare",
    "syscall_exit_to_user_mode",
    "ip_protocol_deliver_rcu",
    "ip6_protocol_deliver_rcu",
    "ip_local_deliver_finish",
    "ip6_input_finish",
    "__netif_receive_skb_one_core",
    "ip_finish_output2",
    "ip6_finish_output2",
    "ip_finish_output",
    "ip6_finish_output",
    "ip_output",
    "ip6_output",
    "__dev_queue_xmit",
    "ip_push_pending_frames",
    "ip_send_unicast_reply",
    "ip6_xmit",
}
_ENDS = ("process_backlog", "__napi_poll", "net_rx_action", "handle_softirqs", "__do_softirq")
MAX_FRAMES = 6
_SHELL_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")
MAX_COMMAND = 240  # characters of a command line


def wall_clock(wall_offset_ns: int) -> Clock:
    """Local wall time, ``02:14:07.113``."""

    def clock(explained: Explained) -> str:
        ns = explained.reset.time_ns + wall_offset_ns
        whole = time.strftime("%H:%M:%S", time.localtime(ns // 10**9))
        return f"{whole}.{ns // 10**6 % 1000:03d}"

    return clock


def relative_clock(start_ns: int) -> Clock:
    """Seconds since ``start_ns`` (CLOCK_MONOTONIC)."""
    return lambda explained: f"{(explained.reset.time_ns - start_ns) / 1e9:12.6f}"


def call_chain(frames: tuple[str, ...]) -> str:
    """The telling part of a kernel stack, outermost first: ``close > tcp_close > ...``."""
    kept: list[str] = []
    for frame in frames:
        if frame in _ENDS:
            break
        if frame.startswith(("__x64_sys_", "__ia32_sys_", "__arm64_sys_")):
            kept.append(frame.split("_sys_", 1)[1])
            break
        if frame not in _NOISE and not frame.startswith("__sys_"):
            kept.append(frame)
    if len(kept) > MAX_FRAMES:
        kept = [*kept[: MAX_FRAMES - 1], kept[-1]]
    return " > ".join(reversed(kept))


def arrow(explained: Explained) -> str:
    """``local > remote`` in the direction the RST went; ``-`` if there was none."""
    flow = explained.reset.flow
    sign = {RECEIVED: "<", REJECTED: "<", NONE: "-"}.get(explained.reset.direction, ">")
    return f"{at(flow.local, flow.lport)} {sign} {at(flow.remote, flow.rport)}"


def times(explained: Explained) -> str:
    """``x 3`` when it stands for several, else nothing."""
    return f" x {explained.count}" if explained.count > 1 else ""


def related_words(explained: Explained) -> str:
    """What it is an echo of."""
    related = explained.related
    if not related:
        return ""
    ago = duration((explained.reset.time_ns - related.time_ns) / 1e9)
    return f"{related.cause} of the same connection, {ago} before ({related.direction})"


def kernel_words(explained: Explained, room: int = 10**6) -> str:
    """The kernel's side: reason, state before, and as much of the stack as there is room."""
    reset = explained.reset
    parts = []
    if reset.reason:
        parts.append(reset.reason)
    if reset.drop_reason and reset.drop_reason not in ("NOT_SPECIFIED", reset.reason):
        parts.append(f"drop {reset.drop_reason}")
    if reset.state_before:
        parts.append(f"was {reset.state_before}")
    text = ", ".join(parts)
    head = f"{text}: " if text else ""
    chain = call_chain(reset.frames)
    if not chain:
        return text
    left = room - len(head)
    # the innermost functions say most
    while len(chain) > left and " > " in chain:
        chain = chain.split(" > ", 1)[1]
    return head + chain


def command_rows(remedy: str, width: int, whole: bool = True) -> list[str]:
    """``COMMAND  # WHY`` in rows that can be pasted as they are; no rows for any other remedy.

    Not ``whole``: two rows, or as many as the command needs.
    """
    command, sign, why = remedy.partition("  # ")
    if not sign:
        return []
    if len(remedy) <= width:
        return [remedy]
    rows = [""]
    for word in _SHELL_WORD.findall(command):
        if rows[-1] and len(rows[-1]) + 1 + len(word) > width - 2:  # room for " \\"
            rows.append("")
        rows[-1] = f"{rows[-1]} {word}".lstrip()
    rows = [f"{row} \\" for row in rows[:-1]] + rows[-1:]
    if whole:
        rows += [f"# {row}" for row in textwrap.wrap(why, width - 2)]
    elif len(rows) == 1:
        rows.append("# " + textwrap.shorten(why, width - 2, placeholder=" ..."))
    return rows


def container_words(explained: Explained) -> str:
    """A sentence on the container of the owner; nothing if it is in none."""
    owner = explained.facts.owner or explained.facts.closer
    home = owner.home if owner else None
    if owner is None or home is None or home.monitor or not home.container:
        return ""
    return f"{owner.name} belongs to {home.words}."


def process_words(explained: Explained) -> str:
    """The owner with its unit or container and its command line."""
    owner = explained.facts.owner or explained.facts.closer
    if owner is None:
        return ""
    where = f" ({owner.home.words})" if owner.home else ""
    command = owner.cmdline or owner.exe
    if len(command) > MAX_COMMAND:
        command = command[: MAX_COMMAND - 4] + " ..."
    return f"{owner.name}{where}: {command}" if command else f"{owner.name}{where}"


def trigger_words(explained: Explained) -> str:
    """The segment that provoked it."""
    trigger = explained.reset.trigger
    if not trigger:
        return ""
    kind = f" ({trigger.payload_kind})" if trigger.payload_kind not in (None, "data") else ""
    return f"{trigger.flag_text} seq {trigger.seq} ack {trigger.ack}, {trigger.length} bytes{kind}"


def packet_words(explained: Explained) -> str:
    """The RST itself."""
    p = explained.reset.packet
    if not p:
        return ""
    ident = "" if p.ip_id is None else f", IP ID {p.ip_id}"
    return f"{p.flag_text} seq {p.seq} ack {p.ack} window {p.window} TTL {p.ttl}{ident}"


def socket_words(explained: Explained) -> str:
    """What the socket held."""
    reset, sock = explained.reset, explained.reset.sock
    if not sock:
        return ""
    parts = [f"unread {sock.unread} B", f"unacked {sock.unacked} B", f"uid {sock.uid}"]
    history = reset.history
    if history and history.established_ns and not history.closed:
        parts.append(f"age {(reset.time_ns - history.established_ns) / 1e9:.3f} s")
    return ", ".join(parts)
