"""A SYN in an established connection: challenge ACK (chapter 3.2, RFC 5961 4.2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, JUDGEMENT, LIKELY, REFUSED, Case, Finding
from rsttrace.causes.rules._refused import maker_words, reason_of, refused_evidence
from rsttrace.packet import ACK, SYN, Packet, signed
from rsttrace.records import Sock

CAUSE = "blind-syn-rejected"
WHEN = (REFUSED,)
NEEDS = (JUDGEMENT,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """kfree_skb with TCP_INVALID_SYN."""
    judged, sock = case.reset.judged, case.sock
    packet = judged.packet if judged else None
    if not judged or reason_of(judged) != "TCP_INVALID_SYN" or not packet or not packet.has(SYN):
        return None
    evidence = (f"state {judged.state or 'not known'}", *refused_evidence(case, judged))
    if sock is None:
        return Finding(
            LIKELY,
            f"{packet.flag_text} from {case.remote} arrived in a connection that exists; the "
            "kernel answered with a challenge ACK, and the connection lives.",
            evidence,
            missing="the sequence numbers of the connection (a repeated SYN would be harmless)",
        )
    if _repeats_handshake(packet, sock):
        return _repeated(case, packet, evidence)
    return _new(case, packet, evidence)


def _repeats_handshake(packet: Packet, sock: Sock) -> bool:
    """Does it carry the very number that the peer's stream began with?"""
    counted = sock.bytes_received + 1 + sock.fin_received
    return signed(packet.seq - (sock.rcv_nxt - counted)) == 0


def _repeated(case: Case, packet: Packet, evidence: tuple[str, ...]) -> Finding:
    why = "the last ACK of the handshake was lost or late" if packet.has(ACK) else "a late copy"
    return Finding(
        CERTAIN,
        f"{case.remote} repeated the {packet.flag_text} of this connection's handshake ({why}); "
        "the kernel answered with an ACK.",
        ("its sequence number is the one that the peer's stream began with", *evidence),
        remedies=("nothing to do; many of them mean that packets get lost",),
        benign=True,
        phase="establishment",
    )


def _new(case: Case, packet: Packet, evidence: tuple[str, ...]) -> Finding:
    """Nothing in one packet tells a peer that forgot from somebody who guesses."""
    if packet.has(ACK):
        why = "two machines answering under that address, or forged"
    else:
        why = "its host lost that and opens a new one, or it is forged"
    return Finding(
        CERTAIN,
        f"{packet.flag_text} in the name of {case.remote}{maker_words(case)} arrived in the "
        f"connection of {case.who} ({why}); the kernel asked to confirm.",
        ("its sequence number does not belong to this connection's handshake", *evidence),
    )
