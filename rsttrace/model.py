"""One reset at one end, put together from the records of several hooks."""

from __future__ import annotations

from dataclasses import dataclass, field

from rsttrace.packet import Packet
from rsttrace.records import Flow, Handshake, History, Record, Sock

SENT, RECEIVED, FORWARDED = "sent", "received", "forwarded"
SUPPRESSED, REJECTED, NONE = "suppressed", "rejected", "none"

# who built a RST, by the innermost of these functions in the stack of net_dev_queue
MAKERS = {
    "tcp_send_active_reset": "tcp-active",
    "tcp_v4_send_reset": "tcp-passive",
    "tcp_v6_send_reset": "tcp-passive",
    "nf_send_reset": "firewall",
    "nf_send_reset6": "firewall",
    "nf_reject_skb_v4_tcp_reset": "firewall",
    "nf_reject_skb_v6_tcp_reset": "firewall",
    "nft_reject_netdev_eval": "firewall",
    "nft_reject_bridge_eval": "firewall",
    "raw_sendmsg": "raw-socket",
    "rawv6_sendmsg": "raw-socket",
    "packet_sendmsg": "packet-socket",
    "packet_snd": "packet-socket",
    "packet_sendmsg_spkt": "packet-socket",
    "ip_forward": "forward",
    "ip6_forward": "forward",
    "br_handle_frame": "forward",
}

BY_TCP = ("tcp-active", "tcp-passive")
# MAKERS outside TCP and the firewall: the task on the CPU sent the RST itself
BY_TOOL = ("raw-socket", "packet-socket")


def maker_of(frames: tuple[str, ...]) -> str | None:
    """Who built a packet seen at net_dev_queue: a value of MAKERS, or None."""
    return next((MAKERS[f] for f in frames if f in MAKERS), None)


@dataclass(eq=False)
class Reset:
    """One RST at one end of it, or an abort without one.

    ``decided``: tcp_send_reset. ``wire``: net_dev_queue (sent) or netif_receive_skb
    (received). ``judged``: tcp_receive_reset, or kfree_skb of a RST that was not accepted.
    ``trigger_drop``: kfree_skb of the segment that provoked it. ``error``:
    inet_sk_error_report. ``peer``: the record of the other end when both are on this host.
    ``origin``: of a forwarded reset, the sender's record if that is on this host.
    ``refused_first``: kfree_skb of the same abort's first RST, which was ahead of what had
    arrived and drew a challenge ACK; the RST after that was accepted (RFC 5961 3.2).
    ``siblings``: further RSTs of the flow that came in about then. ``after``: segments with
    data that came after this RST was believed. ``lossy``: records were lost at about this time.
    """

    id: int
    direction: str
    flow: Flow
    time_ns: int
    decided: Record | None = None
    wire: Record | None = None
    judged: Record | None = None
    trigger_drop: Record | None = None
    error: Record | None = None
    unread_judgement: Record | None = None
    refused_first: Record | None = None
    siblings: tuple[Packet, ...] = ()
    after: tuple[Packet, ...] = ()
    peer: Reset | None = field(default=None, repr=False)
    origin: Reset | None = field(default=None, repr=False)
    lossy: bool = False

    @property
    def records(self) -> list[Record]:
        """What is known, in order of time."""
        parts = (
            *(self.decided, self.wire, self.judged, self.trigger_drop, self.error),
            self.refused_first,
        )
        return sorted((r for r in parts if r), key=lambda r: r.time_ns)

    @property
    def _told(self) -> list[Record]:
        """The records of this reset that speak of its socket, the telling ones first."""
        parts = (self.decided, self.judged, self.wire, self.trigger_drop)
        own = [r for r in parts if r]
        return own or ([self.error] if self.error else [])

    @property
    def main(self) -> Record:
        """The record that says most: the decision, the judgement, or the packet."""
        found = self.decided or self.judged or self.wire or self.trigger_drop or self.error
        assert found is not None
        return found

    @property
    def packet(self) -> Packet | None:
        """The RST itself, or the SYN that an established connection refused."""
        if self.wire and self.wire.packet:
            return self.wire.packet
        return self.judged.packet if self.judged else None

    @property
    def trigger(self) -> Packet | None:
        """The segment that provoked the RST."""
        for record in (self.decided, self.trigger_drop):
            if record and record.packet:
                return record.packet
        return None

    @property
    def active(self) -> bool:
        """Sent by tcp_send_active_reset(): nothing that arrived provoked it."""
        if self.decided:
            return not self.decided.skb
        return self.maker == "tcp-active"

    @property
    def maker(self) -> str | None:
        """Who built the RST (see MAKERS); by the decision if the packet was not seen."""
        if self.wire and self.wire.kind == "net_dev_queue" and (m := maker_of(self.wire.frames)):
            return m
        if self.direction == SUPPRESSED and self.judged and (m := maker_of(self.judged.frames)):
            return m
        if self.decided:
            return "tcp-passive" if self.decided.skb else "tcp-active"
        return None

    @property
    def frames(self) -> tuple[str, ...]:
        """Kernel stack that explains the reset, innermost first."""
        for record in self._told:
            if record.frames:
                return record.frames
        return ()

    def in_stack(self, *functions: str) -> bool:
        """Is one of these functions in the explaining stack?"""
        return any(f in self.frames for f in functions)

    @property
    def sock(self) -> Sock | None:
        """Facts of the socket."""
        return next((r.sock for r in self._told if r.sock), None)

    @property
    def history(self) -> History | None:
        """The life of the connection, or of an earlier one with the same tuple."""
        return next((r.history for r in self._told if r.history), None)

    @property
    def handshake(self) -> Handshake | None:
        """The handshake as seen on the wire."""
        return next((r.handshake for r in self._told if r.handshake), None)

    @property
    def state(self) -> str | None:
        """TCP state of the socket when it happened."""
        return next((r.state for r in self._told if r.state), None)

    @property
    def state_before(self) -> str | None:
        """The state before the abort, where the abort itself had changed it already."""
        record = self.decided or self.judged or self.error
        if not record:
            return None
        if record.tw_substate:  # a minisocket: TIME_WAIT stands for FIN_WAIT2 as well
            return record.tw_substate
        if record.state != "CLOSE":
            return record.state
        history = record.history
        return history.old_state if history and not history.closed else None

    @property
    def reason(self) -> str | None:
        """enum sk_rst_reason by the running kernel's name."""
        return self.decided.reason if self.decided else None

    @property
    def drop_reason(self) -> str | None:
        """enum skb_drop_reason: of the provoking segment, or of a RST not accepted."""
        for record in (self.trigger_drop, self.judged):
            if record and record.drop_reason:
                return record.drop_reason
        return None
