"""A segment of the handshake acknowledges what was never sent (rows P3, P9, P10, P11)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    SOCKET,
    TRIGGER,
    Case,
    Finding,
    count_of,
    duration,
    reason_evidence,
)
from rsttrace.causes.rules._handshake import at_listener, unfinished
from rsttrace.packet import ACK, FIN, SYN, Packet, signed
from rsttrace.records import Sock

CAUSE = "bad-ack-in-handshake"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER, SOCKET)
AFTER = ("timewait-collision",)

_WAYS = "an old duplicate, a device that changes numbers, or a forged segment"
# for all but the half-open peer
_ODD = (
    "once: nothing to change, the attempt goes on",
    "often: find the device in the path that changes sequence numbers or timestamps (firewall, "
    "accelerator), or who forges segments",
)
_STRAY = "nothing: that segment belonged to no connection there"


def rule(case: Case) -> Finding | None:
    """SYN_SENT, SYN_RECV, or a listener with a handshake of these ports under way."""
    trigger, sock = case.trigger, case.sock
    if not case.passive or not trigger or not trigger.has(ACK) or not sock:
        return None
    if case.reset.state == "SYN_SENT":
        return _syn_sent(case, trigger, sock)
    if case.reset.state == "SYN_RECV" and not case.reset.in_stack("tcp_check_req"):
        return _syn_recv(case, trigger, sock)
    return _last_ack(case, trigger) if at_listener(case) else None


def _syn_sent(case: Case, trigger: Packet, sock: Sock) -> Finding:
    ahead = signed(trigger.ack - sock.snd_una)
    fits = 0 < ahead <= signed(sock.snd_nxt - sock.snd_una)
    evidence = (
        f"state SYN_SENT, {_what(trigger)}",
        *_off(ahead - 1),
        *_before(case),
        *reason_evidence(case),
    )
    if fits:
        return Finding(
            CERTAIN,
            f"{case.remote} answered the SYN of {case.who} with a timestamp that this host never "
            f"sent: {_WAYS}. The kernel repeats the SYN.",
            evidence,
            remedies=_ODD,
            sees=_STRAY,
        )
    if trigger.has(SYN):
        return Finding(
            CERTAIN,
            f"{case.remote} answered another SYN than that of {case.who}: an earlier attempt from "
            f"the same port, {_WAYS}. The kernel repeats the SYN.",
            evidence,
            remedies=_ODD,
            sees=_STRAY,
        )
    # TIME_WAIT, which is the other possibility, has no data to send
    proven = bool(trigger.length or trigger.has(FIN) or case.recent)
    return Finding(
        CERTAIN if proven else LIKELY,
        f"{case.remote} still has an earlier connection with these ports open, of which this host "
        f"knows nothing, and answered the SYN of {case.who} within it. The kernel resets that one "
        "and repeats the SYN.",
        evidence,
        remedies=(
            "nothing to repair if this host crashed or restarted: the reset clears the old "
            "connection, the next SYN gets through",
            "otherwise do not bind clients to one source port, and close connections properly",
        ),
        sees="ECONNRESET on the old connection",
        missing="" if proven else "how the earlier connection with these ports ended",
    )


def _syn_recv(case: Case, trigger: Packet, sock: Sock) -> Finding:
    kind = "a Fast Open connection" if sock.fastopen else "a connection that both ends open at once"
    return Finding(
        CERTAIN,
        f"{case.remote} acknowledged something that was never sent, in {kind}: {_WAYS}.",
        (
            f"state SYN_RECV of a full socket, {_what(trigger)}",
            *_off(signed(trigger.ack - sock.snd_nxt)),
            *reason_evidence(case),
        ),
        remedies=_ODD,
        sees=_STRAY,
    )


def _last_ack(case: Case, trigger: Packet) -> Finding | None:
    """tcp_check_req() passes a wrong number on to the listener: row P3."""
    shake = unfinished(case)
    if not shake or trigger.has(SYN):
        return None
    off = signed(trigger.ack - shake.tx_seq - 1)
    if not off:
        return None
    ago = duration(case.seconds_since(shake.rx_ns))
    before = " (of the connection before with these ports)" if case.recent else ""
    return Finding(
        CERTAIN,
        f"{case.remote} is opening a connection to {case.local}, but acknowledged something else "
        f"than our SYN+ACK{before}: {_WAYS}.",
        (
            f"SYN {ago} before, answered by SYN+ACK; then {_what(trigger)}",
            *_off(off),
            *reason_evidence(case),
        ),
        remedies=_ODD,
        sees="ECONNRESET, if the segment was the client's own",
    )


def _what(trigger: Packet) -> str:
    return f"{trigger.flag_text} with {count_of(trigger.length, 'byte')}"


def _before(case: Case) -> tuple[str, ...]:
    earlier = case.recent
    if not earlier:
        return ()
    ago = duration(case.seconds_since(earlier.change_ns))
    return (f"another connection with these ports ended here in {earlier.old_state} {ago} ago",)


def _off(off: int) -> tuple[str, ...]:
    """How far its ack number is off the only right one."""
    if not off:
        return ("its ack number is right",)
    return (f"its ack number is {abs(off):,} {'ahead of' if off > 0 else 'behind'} the right one",)
