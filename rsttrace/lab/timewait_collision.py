"""A new SYN meets the server's TIME_WAIT of an earlier connection with the same ports.

TIME_WAIT lets a new connection in only if its sequence number or its timestamp is newer than all
it has seen (``tcp_timewait_state_process``). Otherwise it repeats its last ACK. The client's socket
in SYN_SENT cannot use that (TCP_INVALID_ACK_SEQUENCE) and resets; the RST ends the TIME_WAIT, and
the repeated SYN gets through, at once since Linux 5.6, a second later before that.

A host's own numbers grow by 15.6 million a second, so they are older only behind a NAT that gives
one client's port to another, or if the earlier connection sent faster than that. With timestamps
the second cannot happen, so they are off here.
"""

from __future__ import annotations

import struct
import time
from socket import IPPROTO_TCP, SHUT_WR, socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError, LabSkip

CAUSE = "timewait-collision"
EXPECT = (
    Expect("sent", CAUSE, end="client", state="SYN_SENT"),
    Expect("received", "timewait-assassination", end="server", state="TIME_WAIT"),
)
NUMBERS_PER_S = 15_625_000  # secure_tcp_seq(): one for every 64 ns
CHUNK = b"x" * 32768
AT_ONCE = 256 * len(CHUNK)  # ahead of those numbers for half a second


def start_at(sock: socket, number: int) -> None:
    """Let connect() begin with this sequence number in place of the kernel's own choice."""
    try:
        sock.setsockopt(IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_ON)
    except OSError as error:
        raise LabSkip(f"TCP_REPAIR does not work here: {error.strerror}") from error
    sock.setsockopt(IPPROTO_TCP, tcp.TCP_REPAIR_QUEUE, tcp.SEND_QUEUE)
    sock.setsockopt(IPPROTO_TCP, tcp.TCP_QUEUE_SEQ, struct.pack("=I", number & 0xFFFFFFFF))
    sock.setsockopt(IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_OFF_QUIETLY)


def no_timestamps(lab: Lab) -> None:
    for end in lab.ends:
        lab.sysctl(end, "net.ipv4.tcp_timestamps", "0")


def server_waits(lab: Lab, client: socket, server: socket) -> None:
    """Close it as usual, the server first: its TIME_WAIT is what remains."""
    port = server.getsockname()[1]
    server.shutdown(SHUT_WR)
    lab.wait_state(client, "CLOSE_WAIT")
    client.close()
    server.close()
    lab.wait_for(lambda: lab.connections("server", port) == ["TIME_WAIT"], "TIME_WAIT")


def connect_again(lab: Lab, again: socket, listener: socket) -> None:
    again.connect(listener.getsockname())
    if lab.out_rsts("client") != 1:
        raise LabError("the first SYN must not get through")


def behind_nat(lab: Lab) -> None:
    """Another client got the port: its number is 1000 behind (hosts number independently)."""
    no_timestamps(lab)
    listener = lab.listen()
    client, server = lab.pair(listener=listener)
    address, (number, _) = client.getsockname(), tcp.sequence(client)
    server_waits(lab, client, server)
    again = lab.socket("client")
    again.bind(address)
    start_at(again, number - 1000)
    connect_again(lab, again, listener)


def fast_transfer(lab: Lab) -> None:
    """The same client, after it had sent 8 MB at once: nothing here is made by hand."""
    no_timestamps(lab)
    began = time.monotonic()
    listener = lab.listen()
    client, server = lab.pair(listener=listener)
    address = client.getsockname()
    for _ in range(AT_ONCE // len(CHUNK)):
        client.sendall(CHUNK)
        lab.wait_readable(server, len(CHUNK))
        server.recv(len(CHUNK))
    server_waits(lab, client, server)
    again = lab.socket("client")
    again.bind(address)
    if (time.monotonic() - began) * NUMBERS_PER_S > AT_ONCE / 2:
        raise LabSkip("this host is too slow to send faster than the numbers grow.")
    connect_again(lab, again, listener)


VARIANTS = {
    "behind-nat": (EXPECT, behind_nat),
    "fast-transfer": (EXPECT, fast_transfer),
}
