"""A SYN reaches a port on which nobody listens.

``tcp_v4_rcv`` finds no socket (neither connection nor listener) and answers with
``tcp_v4_send_reset(NULL, skb)``: RST|ACK, seq 0, window 0, no options. There is no socket, so the
trace has no state and no owner; from 6.10 on the reason is NO_SOCKET, before that the tracepoint
stays silent and only the wire shows the RST. The useful question is why nobody listens *here*:
the service may be down, bound to another address, or serve the other address family only.
"""

from __future__ import annotations

import errno
import socket

from rsttrace.lab.base import Expect, Lab, received
from rsttrace.lab.tcp import must_fail

CAUSE = "closed-port"
EXPECT = (
    Expect("sent", "closed-port", end="server"),
    received("connection-refused", "SYN_SENT", "ECONNREFUSED"),
)
PORT = 8080


def knock(lab: Lab) -> None:
    client = lab.socket("client")
    must_fail(errno.ECONNREFUSED, client.connect, (lab.address["server"], PORT))


def plain(lab: Lab) -> None:
    """Nothing at all uses the port."""
    knock(lab)


def listener_just_left(lab: Lab) -> None:
    """A service listened on the port until a moment ago."""
    lab.listen(port=PORT).close()
    knock(lab)


def bound_elsewhere(lab: Lab) -> None:
    """A service listens on the port, but only on the loopback address."""
    listener = lab.socket("server")
    listener.bind(("127.0.0.1" if lab.family == socket.AF_INET else "::1", PORT))
    listener.listen()
    knock(lab)


def other_family(lab: Lab) -> None:
    """A service listens on all addresses, but of the other family only (IPV6_V6ONLY)."""
    other = socket.AF_INET6 if lab.family == socket.AF_INET else socket.AF_INET
    listener = lab.socket("server", other)
    if other == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", PORT))
    listener.listen()
    knock(lab)


def bound_to_device(lab: Lab) -> None:
    """A service listens on all addresses, but only by way of the loopback device."""
    listener = lab.socket("server")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listener.bind(("", PORT))
    listener.listen()
    knock(lab)


VARIANTS = {
    "plain": (EXPECT, plain),
    "listener-just-left": (EXPECT, listener_just_left),
    "bound-elsewhere": (EXPECT, bound_elsewhere),
    "other-family": (EXPECT, other_family),
    "bound-to-device": (EXPECT, bound_to_device),
}
