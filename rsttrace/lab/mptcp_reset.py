"""An MPTCP connection is aborted, or a path that somebody wants to add to one is refused.

MPTCP (RFC 8684) spreads one connection over several TCP connections, its subflows. The kernel
resets every subflow with the option MP_FASTCLOSE (``mptcp_do_fastclose``) when the application
closes with data unread, closes with SO_LINGER {on, 0 seconds}, or calls connect(AF_UNSPEC); the
reason is TCP_ABORT_ON_CLOSE for all three. A SYN with the option MP_JOIN that names no connection
of this host is refused with MP_TCPRST (``subflow_v4_route_req``, reason MPTCP_RST_EMPTCP). One that
is over the limit of paths is refused when its handshake ends (``subflow_syn_recv_sock``, reason
MPTCP_RST_EPROHIBIT), and the client's MPTCP answers that RST by a RST.
"""

from __future__ import annotations

import ctypes
import os
import struct
from socket import AF_INET, AF_INET6, AF_UNSPEC, socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError, LabSkip, received

CAUSE = "mptcp-reset"
IPPROTO_MPTCP = 262
CLIENT_PORT, ISS = 40087, 0x10000000
ABORTED = (
    Expect("sent", CAUSE, end="server", facts={"trigger": None}),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)
REFUSED = (
    Expect("sent", CAUSE, end="server", facts={"trigger.flags": "SYN"}),
    Expect("rejected", "reset-no-socket", end="client"),
)

PATH_REFUSED = (
    Expect("sent", CAUSE, end="server", facts={"trigger.flags": "ACK"}),
    Expect("received", "peer-reset", end="client", state="ESTABLISHED"),
    Expect("sent", CAUSE, end="client", facts={"benign": True}),
    Expect("rejected", "reset-no-socket", end="server"),
)
SECOND = {AF_INET: "10.87.0.3/24", AF_INET6: "fd00:87::3/64"}


def mptcp(lab: Lab, end: str) -> socket:
    try:
        return lab.socket(end, protocol=IPPROTO_MPTCP)
    except OSError as error:
        raise LabSkip(f"no MPTCP here: {error.strerror}") from error


def listen(lab: Lab) -> socket:
    listener = mptcp(lab, "server")
    listener.bind((lab.address["server"], 0))
    listener.listen()
    return listener


def pair(lab: Lab) -> tuple[socket, socket]:
    """A client and a server with one subflow that have exchanged a request and an answer."""
    listener = listen(lab)
    client = mptcp(lab, "client")
    client.connect(listener.getsockname())
    server = lab.accept(listener)
    for sender, receiver in ((client, server), (server, client)):
        sender.sendall(b"hello\n")
        lab.wait_readable(receiver, 6)
        receiver.recv(6)
    lab.wait_for(lambda: tcp.info(server).unacked == tcp.info(client).unacked == 0, "all ACKs")
    return client, server


def unread_data(lab: Lab) -> None:
    """Closed with received data unread."""
    client, server = pair(lab)
    client.sendall(b"not read by anybody\n")
    lab.wait_readable(server)
    server.close()
    lab.wait_reset(client)


def linger_zero(lab: Lab) -> None:
    """Closed with SO_LINGER {on, 0 seconds}."""
    client, server = pair(lab)
    tcp.linger_zero(server)
    server.close()
    lab.wait_reset(client)


def disconnect(lab: Lab) -> None:
    """connect() with AF_UNSPEC, which Python does not offer."""
    client, server = pair(lab)
    address = struct.pack("=H14x", AF_UNSPEC)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(server.fileno(), address, len(address)) != 0:
        raise LabError(f"connect(AF_UNSPEC): {os.strerror(ctypes.get_errno())}")
    lab.wait_reset(client)


def join_refused(lab: Lab) -> None:
    """A SYN wants to join a connection that does not exist (hand-made)."""
    port = listen(lab).getsockname()[1]
    # kind 30, 12 bytes, subtype 1, address id 0, the connection's token, a random number
    join = struct.pack("!BBBBII", 30, 12, 0x10, 0, 0x01020304, 0x05060708)
    resets = lab.out_rsts("server")
    lab.send_segment("client", (CLIENT_PORT, port), tcp.SYN, ISS, 0, options=join)
    lab.wait_for(lambda: lab.out_rsts("server") > resets, "the refusal")


def path_refused(lab: Lab) -> None:
    """A second path is one more than the server allows; the connection lives on."""
    another = SECOND[lab.family]
    # never preferred, so that the first path does not use it
    address = f"addr add {another} dev veth0 preferred_lft 0"
    lab.run("client", "ip", *address.split(), *(["nodad"] if ":" in another else []))
    endpoint = f"mptcp endpoint add {another.partition('/')[0]} dev veth0 subflow"
    lab.prepare("client", "ip", *endpoint.split())
    lab.prepare("client", "ip", *["mptcp", "limits", "set", "subflow", "2"])
    lab.prepare("server", "ip", *["mptcp", "limits", "set", "subflow", "0"])
    client, server = pair(lab)
    lab.wait_for(lambda: lab.out_rsts("server") + lab.out_rsts("client") == 2, "both RSTs")
    client.sendall(b"still here\n")
    lab.wait_readable(server)


VARIANTS = {
    "unread-data": (ABORTED, unread_data),
    "linger-zero": (ABORTED, linger_zero),
    "disconnect": (ABORTED, disconnect),
    "join-refused": (REFUSED, join_refused),
    "path-refused": (PATH_REFUSED, path_refused),
}
