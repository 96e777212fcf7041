"""A process on this host made the RST itself, by a raw or a packet socket (chapter 2)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, OUTSIDE, STACK, Case, Finding, duration, name_of
from rsttrace.model import BY_TOOL

CAUSE = "injected-by-local-tool"
WHEN = (OUTSIDE,)
NEEDS = (STACK,)
AFTER = ()

_HOW = {"raw-socket": "a raw socket", "packet-socket": "a packet socket"}
_CALLS = ("raw_sendmsg", "rawv6_sendmsg", "packet_snd", "packet_sendmsg", "packet_sendmsg_spkt")


def rule(case: Case) -> Finding | None:
    """The innermost maker in the packet's stack is a socket that takes finished packets."""
    maker, packet = case.reset.maker, case.reset.packet
    if maker not in BY_TOOL:
        return None
    evidence = [
        case.stack_evidence(*_CALLS),
        "tcp_send_reset stayed silent: TCP did not make this RST",
    ]
    if packet:
        evidence.append(f"{packet.flag_text}, window {packet.window}, TTL {packet.ttl}")
    return Finding(
        CERTAIN,
        f"{name_of(case.facts.actor, 'A program')} sent a reset through {_HOW[maker]}, in the name "
        f"of {case.local}, to {case.remote}.",
        (*evidence, *_connection(case)),
        phase=_phase(case),
    )


def _connection(case: Case) -> tuple[str, ...]:
    """Was there a connection to hit?"""
    shake = case.reset.handshake
    if not shake:
        return ("no handshake with these addresses and ports was seen here",)
    begun = max(shake.rx_ns, shake.tx_ns)
    return (f"a handshake with these addresses and ports was seen {_ago(case, begun)} before",)


def _ago(case: Case, time_ns: int) -> str:
    return duration(case.seconds_since(time_ns))


def _phase(case: Case) -> str | None:
    """A SYN that only one side has sent is no connection yet."""
    shake = case.reset.handshake
    return "establishment" if shake and not (shake.rx_ns and shake.tx_ns) else None
