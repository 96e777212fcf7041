"""What about a RST does not fit the end in whose name it came (chapter 5.4).

One small function for each feature: a short text, or None if there is nothing odd or the facts are
missing. Each says when a genuine peer shows the same; none of them proves anything by itself.
What another TCP does is told of Linux, Windows, and the BSDs with macOS; a RST that a load balancer
or NAT makes in the name of a peer is what these features are meant to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rsttrace.causes.case import Case, count_of, duration
from rsttrace.packet import ACK, Packet, signed

SYNCHRONIZED = ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK")
TIMESTAMPS = 8  # TCP option kind (RFC 7323)
ROUTE_CHANGE = 2  # hops
UNIX_TTL, WINDOWS_TTL, DEVICE_TTL = 64, 128, 255  # what systems begin with
LONGEST_PATH = 32  # hops; nobody begins below this but on purpose
# of sequence numbers: beyond any window without scaling
FAR = 1 << 16
# lsndtime counts jiffies, at worst of 10 ms (HZ=100)
JIFFY_MS = 10
# the kernel begins with a shortest round trip of 2^32 - 1 us
NO_SAMPLE = 1 << 31
LEAST_QUIET_S = 1.0
ROUND_TRIPS = 8


@dataclass(frozen=True)
class Oddity:
    """One feature. Those of one ``group`` may have one innocent reason, so they count once.

    ``common``: many honest stacks show it, so that it alone raises no doubt.
    """

    group: str
    text: str
    common: bool = False


def oddities(case: Case) -> tuple[Oddity, ...]:
    """All that is odd. Nothing if the sender is known: then there is no need to guess."""
    judged = case.reset.judged
    if case.sender or case.reset.peer or judged is None or judged.kind != "tcp_receive_reset":
        return ()
    if judged.state not in SYNCHRONIZED:
        return ()
    asked = ((group, feature, feature(case)) for group, feature in FEATURES)
    return tuple(Oddity(g, text, feature is no_timestamps) for g, feature, text in asked if text)


def doubtful(odd: tuple[Oddity, ...]) -> bool:
    """Is there something that an honest peer would hardly do?"""
    return any(not one.common for one in odd)


def told(odd: tuple[Oddity, ...]) -> tuple[str, ...]:
    """For the evidence of a verdict that stays with the peer."""
    tail = {False: "perhaps a device in the path made it", True: "so do some stacks"}
    return tuple(f"{one.text}: {tail[one.common]}" for one in odd)


def independent(odd: tuple[Oddity, ...]) -> int:
    """How many independent features these are.

    TTL, IP ID and DF are all held against the SYN or SYN-ACK, which a proxy may have answered for
    a genuine peer: together they are one.
    """
    groups = {one.group for one in odd}
    by_syn = groups == {"path", "form"} and not any(one.common for one in odd)
    return 1 if by_syn else len(groups)


def ahead(number: int, of: int) -> int:
    """How far a sequence number is ahead of another, -2^31 to 2^31 - 1."""
    return signed(number - of)


# -- path and form ---------------------------------------------------------------------------------


def ttl(case: Case) -> str | None:
    """The TTL is off the handshake's by more than routes change.

    Genuine: a route that changed for good; a proxy that answered the SYN for the peer. A bare RST
    is made by the peer's kernel with its default TTL, whatever its application has set for the
    connection: BGP sets 255 (GTSM, RFC 5082) or 1, so those are not compared.
    """
    packet, shake = case.reset.packet, case.reset.handshake
    if not packet or not shake or not shake.rx_ttl:
        return None
    if abs(packet.ttl - shake.rx_ttl) <= ROUTE_CHANGE:
        return None
    if not packet.has(ACK) and _set_by_application(shake.rx_ttl, packet.ttl):
        return None
    return f"TTL {packet.ttl}, but {shake.rx_ttl} in the handshake"


def _set_by_application(syn: int, rst: int) -> bool:
    if syn <= LONGEST_PATH:
        return True
    return syn > WINDOWS_TTL and abs(_hops(syn) - _hops(rst)) <= ROUTE_CHANGE


def _hops(received: int) -> int:
    """If its maker began with one of the usual TTLs."""
    return min(t - received for t in (UNIX_TTL, WINDOWS_TTL, DEVICE_TTL) if t >= received)


def distance(received: int) -> str:
    """``0 hops``, ``12 hops``: how far away a packet with this TTL was made, in general."""
    return count_of(_hops(received), "hop")


def zero_id(case: Case) -> str | None:
    """IP ID 0 in a RST+ACK, though the peer's SYN had one.

    An abort goes out through the peer's socket and so has an ID as the SYN had; a RST made from
    nothing has 0. Genuine: none known. A SYN-ACK of Linux has 0 itself, and so have all packets of
    the newer BSDs and macOS (RFC 6864): then this says nothing.
    """
    packet, shake = case.reset.packet, case.reset.handshake
    if not packet or not shake or not shake.rx_ip_id or not packet.has(ACK):
        return None
    return f"IP ID 0, but {shake.rx_ip_id} in the handshake" if packet.ip_id == 0 else None


def other_df(case: Case) -> str | None:
    """The Don't Fragment flag of a RST+ACK is not that of the peer's SYN.

    Genuine: a peer that was told of a path with a tiny MTU since. Bare RSTs are not compared:
    Linux always sets the flag in them, macOS does not.
    """
    packet, shake = case.reset.packet, case.reset.handshake
    if not packet or not shake or shake.rx_ip_id is None or not packet.has(ACK):
        return None
    if packet.df == shake.rx_df:
        return None
    word = ("without", "with")
    return f"{word[packet.df]} Don't Fragment, but {word[shake.rx_df]} it in the handshake"


def no_timestamps(case: Case) -> str | None:
    """A RST+ACK without timestamps on a connection that uses them (RFC 7323 3.2: SHOULD).

    Linux and FreeBSD have them in every abort; Windows, macOS, OpenBSD, NetBSD and many load
    balancers never have, so this is common. It is not asked of a peer that begins with a TTL
    above 64, which Linux does not, nor where the RST's own TTL says Windows: a proxy may have
    answered the SYN. A bare RST, the answer to a segment, never has any.
    """
    packet, sock, shake = case.reset.packet, case.sock, case.reset.handshake
    if not packet or not sock or not packet.has(ACK) or not sock.timestamps:
        return None
    usual = shake.rx_ttl if shake and shake.rx_ttl else packet.ttl
    windows = UNIX_TTL < packet.ttl <= WINDOWS_TTL
    if usual > UNIX_TTL or windows or TIMESTAMPS in packet.option_kinds:
        return None
    return "no timestamps, which this connection uses"


# -- sequence numbers ------------------------------------------------------------------------------


def impossible_ack(case: Case) -> str | None:
    """A RST+ACK that acknowledges what was never sent, or far less than was acknowledged before.

    Genuine: none. Small stacks (lwIP) answer any segment with RST+ACK and the end of that segment,
    which was sent, and not long ago.
    """
    packet, sock = case.reset.packet, case.sock
    if not packet or not sock or not packet.has(ACK):
        return None
    beyond = ahead(packet.ack, sock.snd_nxt)
    if beyond > 0:
        return f"it acknowledges {count_of(beyond, 'byte')} that were never sent"
    behind = ahead(sock.snd_una, packet.ack)
    if behind > FAR:
        return f"its ACK number is {count_of(behind, 'byte')} behind what was acknowledged before"
    return None


def several(case: Case) -> str | None:
    """More RSTs at the same time: ahead of this one, or RST+ACK again and again.

    Genuine: one abort is one RST+ACK; segments that were on their way then draw bare RSTs with the
    same or an older number. A bare RST may overtake the RST+ACK of the same abort, which is ahead
    of it if data was lost. A network that doubles a packet keeps its IP ID. What is very far ahead
    is of the next connection with the same ports.
    """
    packet, others = case.reset.packet, case.reset.siblings
    if not packet:
        return None
    further = [p for p in others if 0 < ahead(p.seq, packet.seq) <= FAR]
    aborts = [p for p in further if p.has(ACK)]
    if not packet.has(ACK) and len(aborts) == 1:
        further.remove(aborts[0])
    if further:
        farthest = max(ahead(p.seq, packet.seq) for p in further)
        more = "RST" if len(further) == 1 else "RSTs"
        return f"{len(further)} more {more} up to {count_of(farthest, 'byte')} ahead of it"
    again = [p for p in others if _repeats(p, packet)]
    if len(again) > 1 or any(p.ip_id != packet.ip_id for p in again):
        return f"the same RST+ACK {len(again) + 1} times"
    return None


def _repeats(other: Packet, packet: Packet) -> bool:
    same = (other.flags, other.seq, other.ack) == (packet.flags, packet.seq, packet.ack)
    return same and packet.has(ACK)


# -- time ------------------------------------------------------------------------------------------


def too_soon(case: Case) -> str | None:
    """A RST+ACK that acknowledges data sent less than half a round trip ago.

    It was made by somebody nearer than the peer. Genuine: data that was sent a second time, where
    the RST answers the first; with a timer's retransmissions in between nothing is said.
    """
    packet, sock = case.reset.packet, case.sock
    if not packet or not sock or not packet.has(ACK) or sock.retransmits:
        return None
    if sock.spoke_ms is None or sock.snd_una == sock.snd_nxt or packet.ack != sock.snd_nxt:
        return None
    ago_us = (sock.spoke_ms + JIFFY_MS) * 1000
    if not 2 * ago_us < sock.min_rtt_us < NO_SAMPLE:
        return None
    return (
        f"it acknowledges data sent less than {duration(ago_us / 1e6)} ago; the shortest round "
        f"trip is {duration(sock.min_rtt_us / 1e6)}"
    )


def unprovoked(case: Case) -> str | None:
    """A bare RST, which answers a segment, though nothing was sent for long (RFC 9293 3.5.2).

    Genuine: our segment was under way for seconds, e.g. to a phone that slept; small stacks that
    abort without ACK.
    """
    packet = case.reset.packet
    if not packet or packet.has(ACK) or answers_us(case) is not False:
        return None
    return f"it has no ACK, so it answers a segment, but the last one left {quiet(case)} before"


def quiet_s(case: Case) -> float | None:
    """Seconds from the last segment that this end sent to the arrival of the RST."""
    sock, wire = case.sock, case.reset.wire
    if not sock or not sock.wstamp_ns:
        return None
    arrived = wire.time_ns if wire else case.reset.time_ns
    return max(0, arrived - sock.wstamp_ns) / 1e9


def quiet(case: Case) -> str:
    """The same in words."""
    return duration(quiet_s(case) or 0)


def answers_us(case: Case) -> bool | None:
    """Can the RST be the answer to a segment of ours? By time only; None: not known."""
    ago, sock = quiet_s(case), case.sock
    if sock is None:
        return None
    near = max(LEAST_QUIET_S, ROUND_TRIPS * sock.srtt_us / 8 / 1e6)
    if ago is not None:
        return ago <= near
    # before 4.20 only the last data is known, not the last ACK or keepalive probe
    return True if sock.spoke_ms is not None and sock.spoke_ms / 1000 <= near else None


# -- what came after -------------------------------------------------------------------------------


def data_after(case: Case) -> str | None:
    """Data at or beyond the RST's number came after it: the peer does not know of the RST.

    Genuine: the peer's own firewall rejected a segment, or a load balancer asked another host;
    either way not the peer's TCP. Data that the RST overtook lies before its number; if the abort
    took two RSTs, before that of the first.
    """
    packet, first = case.reset.packet, case.reset.refused_first
    if not packet:
        return None
    resets = [*case.reset.siblings, *((first.packet,) if first and first.packet else ())]
    end = max((ahead(p.seq, packet.seq) for p in resets), default=0)
    beyond = [p for p in case.reset.after if ahead(p.seq, packet.seq) >= max(0, end)]
    if not beyond:
        return None
    length = sum(p.length for p in beyond)
    return f"{count_of(length, 'byte')} of data came after it, as if the peer had not reset"


FEATURES: tuple[tuple[str, Callable[[Case], str | None]], ...] = (
    ("path", ttl),
    ("form", zero_id),
    ("form", other_df),
    ("form", no_timestamps),
    ("numbers", impossible_ack),
    ("several", several),
    ("time", too_soon),
    ("time", unprovoked),
    ("after", data_after),
)
