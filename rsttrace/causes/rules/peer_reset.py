"""The peer aborted an established connection (chapters 3.1 and 5.4)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACCEPTED,
    CERTAIN,
    JUDGEMENT,
    LIKELY,
    PACKET,
    POSSIBLE,
    Case,
    Finding,
    count_of,
    duration,
)
from rsttrace.causes.features import answers_us, doubtful, oddities
from rsttrace.causes.rules._received import (
    accepted_in,
    fingerprint,
    known_sender,
    odd_evidence,
    packet_evidence,
    sender_evidence,
)
from rsttrace.causes.rules.idle_expired import IDLE_MS

CAUSE = "peer-reset"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ("middlebox-reset", "idle-expired", "connect-and-abort")


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset in ESTABLISHED. Why the peer did it is known only if it is here too."""
    if not accepted_in(case, "ESTABLISHED"):
        return None
    sender = known_sender(case)
    confidence = POSSIBLE if doubtful(oddities(case)) or case.blind else LIKELY
    return Finding(
        CERTAIN if sender else confidence,
        _summary(case),
        (
            "state ESTABLISHED",
            *packet_evidence(case),
            *sender_evidence(case),
            *_idle(case),
            *_lost(case),
            *odd_evidence(case),
        ),
        missing=PACKET.text if case.blind else "",
    )


def _summary(case: Case) -> str:
    sender = known_sender(case)
    if sender and sender.cause == "firewall-reject":
        return (
            f"A firewall on this host, not {case.remote} itself, reset the connection of "
            f"{case.who} with {case.remote}."
        )
    why = sender.words if sender else fingerprint(case.reset.packet)
    if not sender and _idle(case):
        why = "it, or a device in the path, gave up a connection that was idle"
    return f"{case.remote} reset the connection of {case.who}{': ' + why if why else ''}."


def _idle(case: Case) -> tuple[str, ...]:
    """Did the RST come by itself, in the middle of a silence?"""
    sock = case.sock
    if (
        not sock
        or sock.heard_ms is None
        or sock.heard_ms < IDLE_MS
        or answers_us(case) is not False
    ):
        return ()
    silence = duration(sock.heard_ms / 1000)
    return (f"nothing had been heard from the peer for {silence}, and nothing of ours provoked it",)


def _lost(case: Case) -> tuple[str, ...]:
    """What did not get through."""
    sock = case.sock
    if not sock:
        return ()
    found = []
    if sock.unread:
        found.append(f"{count_of(sock.unread, 'received byte')} not read yet")
    if sock.unacked:
        found.append(f"{count_of(sock.unacked, 'byte')} sent but not acknowledged")
    if sock.retransmits:
        found.append(f"sent again {count_of(sock.retransmits, 'time')} without an answer")
    return tuple(found)
