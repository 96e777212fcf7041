"""A RST arrives for a connection that does not exist here: dropped, never answered.

Without any socket ``tcp_v4_rcv`` frees it with NO_SOCKET. If the port listens, the RST reaches the
listener and ends in ``tcp_rcv_state_process`` (state LISTEN): TCP_RESET, or TCP_FLAGS if it has an
ACK. A host under somebody's forged address sees many of these (backscatter).
"""

from __future__ import annotations

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab
from rsttrace.lab.blind_reset_rejected import deliver

CAUSE = "reset-no-socket"
FORGED = Expect("sent", "injected-by-local-tool", end="client")
EXPECT = (FORGED, Expect("rejected", CAUSE, end="server"))
LISTENING = (FORGED, Expect("rejected", CAUSE, end="server", state="LISTEN"))
PORTS = (40001, 8080)


def send(lab: Lab, flags: int, ack: int) -> None:
    lab.pair()  # another connection: so the two know each other's link addresses already
    deliver(lab, "client", PORTS, flags, 0x30000000, ack)


def closed_port(lab: Lab) -> None:
    """Nothing uses the port."""
    send(lab, tcp.RST | tcp.ACK, 0x10000000)


def listening_port(lab: Lab) -> None:
    """The port listens, but has no such connection."""
    lab.listen(port=PORTS[1])
    send(lab, tcp.RST, 0)


def listening_port_with_ack(lab: Lab) -> None:
    """The same with an ACK, as an aborting peer sends it."""
    lab.listen(port=PORTS[1])
    send(lab, tcp.RST | tcp.ACK, 0x10000000)


VARIANTS = {
    "closed-port": (EXPECT, closed_port),
    "listening-port": (LISTENING, listening_port),
    "listening-port-with-ack": (LISTENING, listening_port_with_ack),
}
