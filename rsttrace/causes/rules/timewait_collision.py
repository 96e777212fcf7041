"""Our SYN met the peer's TIME_WAIT, which answered with its last ACK (row P9)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    SOCKET,
    TRIGGER,
    Case,
    Finding,
    duration,
    reason_evidence,
)
from rsttrace.causes.rules._handshake import TIMESTAMPS
from rsttrace.packet import ACK, FIN, RST, SYN, Packet, signed
from rsttrace.records import History

CAUSE = "timewait-collision"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER, SOCKET)
AFTER = ("closed-port",)

# this end had answered the peer's FIN, so the peer is the one in TIME_WAIT (RFC 9293 3.6)
_PEER_CLOSED_FIRST = ("LAST_ACK", "CLOSING")


def rule(case: Case) -> Finding | None:
    """SYN_SENT, and a bare ACK of something else than our SYN."""
    trigger, sock = case.trigger, case.sock
    if not case.passive or case.reset.state != "SYN_SENT" or not trigger or not sock:
        return None
    if not trigger.has(ACK) or trigger.has(SYN | FIN | RST) or trigger.length:
        return None
    ahead = signed(trigger.ack - sock.snd_una)
    if 0 < ahead <= signed(sock.snd_nxt - sock.snd_una):
        return None  # an ACK of our SYN
    earlier = case.recent
    known = left_in_timewait(earlier) if earlier else None
    if known is False or (known is None and not _fits(trigger, ahead)):
        return None
    return Finding(
        CERTAIN if known else LIKELY,
        f"{case.remote} still keeps a finished connection with these ports in TIME_WAIT and takes "
        f"the SYN of {case.who} for an old one: it answered with an ACK. The kernel resets that "
        "and repeats the SYN.",
        (
            "state SYN_SENT, and an ACK that does not acknowledge our SYN",
            _number(ahead),
            *(_ended(case, earlier) if earlier else _no_live_socket(trigger)),
            *reason_evidence(case),
        ),
        missing="" if known else "how the earlier connection with these ports ended",
    )


def left_in_timewait(earlier: History) -> bool:
    """Did it end the usual way, the peer first?"""
    aborted = earlier.sent_reset or earlier.got_reset or earlier.errno
    return earlier.old_state in _PEER_CLOSED_FIRST and not aborted


def _fits(trigger: Packet, ahead: int) -> bool:
    """May TIME_WAIT have sent it, when nothing is known of the connection before?

    TIME_WAIT lets a newer sequence number in, unless the timestamp is older (RFC 6191). Its ACKs
    belong to no socket: Linux sends those with IP ID 0, those of a live socket with another.
    """
    stamped = TIMESTAMPS in trigger.option_kinds
    if trigger.ip_id is None:
        return ahead >= 0 and not stamped
    return trigger.ip_id == 0 and (ahead >= 0 or stamped)


def _number(ahead: int) -> str:
    where = "at or ahead of" if ahead >= 0 else "behind"
    return f"the number that it expects is {abs(ahead):,} {where} our SYN's"


def _ended(case: Case, earlier: History) -> tuple[str, ...]:
    ago = duration(case.seconds_since(earlier.change_ns))
    return (f"the connection before with these ports ended here {ago} ago, the peer closed first",)


def _no_live_socket(trigger: Packet) -> tuple[str, ...]:
    if trigger.ip_id == 0:
        return ("IP ID 0: Linux sends such an ACK from TIME_WAIT, not from a live connection",)
    return ()
