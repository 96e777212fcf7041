"""What older kernels do not tell, as it follows from what they show. Pure.

Before 6.10 ``tcp_send_reset`` is silent about segments that met no full socket: the RST on its way
out and the drop of the segment that it answers stand for the decision. Before 5.19 TCP frees the
RSTs that it refuses without a word: the socket as it was when one came in tells what became of it.
kernel-resets.md, chapters 3.2, 3.4 and 5.
"""

from __future__ import annotations

from dataclasses import replace

from rsttrace.packet import ACK, FIN, RST, SYN, Packet, signed
from rsttrace.records import Record

TCP_INPUT = ("tcp_v4_rcv", "tcp_v6_rcv")
# below these a full socket, a listener or a request had the segment
_WITH_SOCKET = ("tcp_v4_do_rcv", "tcp_v6_do_rcv", "tcp_check_req")
NO_SOCKET, TIMEWAIT = "NO_SOCKET", "TCP_TIMEWAIT_SOCKET"
CHALLENGED, OUTSIDE, CHALLENGED_SYN = "TCP_RESET", "TCP_INVALID_SEQUENCE", "TCP_INVALID_SYN"
# a RST one before the expected number is believed there (tcp_reset_check())
_AFTER_FIN = ("CLOSE_WAIT", "LAST_ACK", "CLOSING")


def answers(reset: Packet, segment: Packet) -> bool:
    """Has this RST just the numbers of an answer to this segment (RFC 9293 3.10.7.1)?"""
    if segment.has(ACK):
        return not reset.has(ACK) and reset.seq == segment.ack
    counted = segment.length + segment.has(SYN) + segment.has(FIN)
    return reset.has(ACK) and reset.seq == 0 and signed(reset.ack - segment.seq - counted) == 0


def met_no_full_socket(frames: tuple[str, ...]) -> bool:
    """Did TCP answer before any full socket had the segment (rows P1, P8)?"""
    return any(f in TCP_INPUT for f in frames) and not any(f in _WITH_SOCKET for f in frames)


def decision(drop: Record) -> Record:
    """What tcp_send_reset would have told, by the drop of the segment that a RST answered.

    A reason other than NO_SOCKET leaves only a timewait socket in FIN_WAIT2; without reasons the
    connections that closed in sight of the trace tell.
    """
    if drop.drop_reason is None:
        waits = drop.tw_substate == "FIN_WAIT2"
    else:
        waits = drop.drop_reason != NO_SOCKET
    return replace(
        drop,
        kind="tcp_send_reset",
        sk=0,
        state="TIME_WAIT" if waits else None,
        tw_substate="FIN_WAIT2" if waits else None,
        sock=None,
        inferred=TIMEWAIT if waits else NO_SOCKET,
    )


def credible(drop: Record) -> Record:
    """Without the socket that was looked up for it, where TCP never had the packet."""
    if not drop.found or not drop.named or drop.in_stack(*TCP_INPUT):
        return drop
    return without_socket(drop)


def without_socket(drop: Record) -> Record:
    """The drop alone."""
    return replace(drop, state=None, sock=None, tw_substate=None, tw_rcv_nxt=None, found=False)


def judgement(wire: Record) -> Record | None:
    """What became of a RST, or a SYN in a connection, that nothing was told of after it came in.

    None: it should have been believed, or the socket was busy, so that its numbers were old.
    """
    packet, sock = wire.packet, wire.sock
    if not packet or not sock or not wire.found or sock.owned:
        return None
    if not packet.has(RST):
        return replace(wire, inferred=CHALLENGED_SYN)
    if wire.state in ("LISTEN", "SYN_SENT"):
        return replace(wire, inferred=CHALLENGED)  # the reason that newer kernels give there
    ahead = signed(packet.seq - sock.rcv_nxt)
    if ahead == 0 or (ahead == -1 and wire.state in _AFTER_FIN):
        return None
    return replace(wire, inferred=CHALLENGED if 0 < ahead < sock.rcv_wnd else OUTSIDE)
