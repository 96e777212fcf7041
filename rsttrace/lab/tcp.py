"""What a lab needs to know about TCP sockets: states, conditions, repair mode, raw segments.

Nothing here knows about namespaces; ``net.py`` does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
import time
from collections.abc import Callable
from typing import NamedTuple

from rsttrace.lab.errors import LabError, LabSkip

TIMEOUT = 20.0  # a virtual machine without KVM may be ten times slower
STATES = (
    "UNKNOWN",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)

# linux/tcp.h; Python's socket module does not name these.
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_WINDOW = 19, 20, 21, 29
REPAIR_ON, REPAIR_OFF_QUIETLY = 1, -1
RECV_QUEUE, SEND_QUEUE = 1, 2

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


class Info(NamedTuple):
    """The few fields of ``struct tcp_info`` that labs wait for.

    On a listening socket ``unacked`` is the number of connections waiting for accept().
    """

    state: str
    unacked: int


def info(sock: socket.socket) -> Info:
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return Info(STATES[data[0]], struct.unpack_from("=I", data, 24)[0])


def unread(sock: socket.socket) -> int:
    """Bytes received but not yet read (FIONREAD)."""
    answer = fcntl.ioctl(sock, termios.FIONREAD, b"\0\0\0\0")
    return int(struct.unpack("=i", answer)[0])


def wait_for(condition: Callable[[], bool], what: str, timeout: float = TIMEOUT) -> None:
    """Poll until ``condition()`` holds; a lab never sleeps and hopes."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:g} s in vain for: {what}")
        time.sleep(0.0005)


def wait_readable(sock: socket.socket, n: int = 1) -> None:
    wait_for(lambda: unread(sock) >= n, f"{n} unread bytes")


def wait_state(sock: socket.socket, state: str) -> None:
    wait_for(lambda: info(sock).state == state, f"state {state}")


def settle(*socks: socket.socket) -> None:
    """Wait until all that was sent is acknowledged, so that no delayed ACK is still to come."""
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    wait_for(lambda: all(info(sock).unacked == 0 for sock in socks), "the ACK of all sent data")


def talk(client: socket.socket, server: socket.socket) -> None:
    """One request and one answer, both read and acknowledged: an ordinary live connection."""
    for sender, receiver, text in ((client, server, b"request\n"), (server, client, b"answer\n")):
        sender.sendall(text)
        wait_readable(receiver, len(text))
        receiver.recv(len(text))
    settle(client, server)


def linger_zero(sock: socket.socket) -> None:
    """SO_LINGER {on, 0 s}: the next close() resets."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def must_fail(code: int, call: Callable[..., object], *arguments: object) -> None:
    """Check that the application gets exactly this errno."""
    try:
        result = call(*arguments)
    except OSError as error:
        if error.errno == code:
            return
        raise LabError(f"expected {errno.errorcode[code]}, got {error}") from error
    raise LabError(f"expected {errno.errorcode[code]}, but the call returned {result!r}")


def wait_reset(sock: socket.socket) -> None:
    """Wait until the RST has come; the application's next read then gets ECONNRESET."""
    wait_state(sock, "CLOSE")
    must_fail(errno.ECONNRESET, sock.recv, 1)


def wait_reset_after_eof(sock: socket.socket) -> None:
    """The same when the peer's FIN came first: reading gives EOF, only SO_ERROR tells."""
    wait_state(sock, "CLOSE")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code != errno.ECONNRESET or sock.recv(1) != b"":
        raise LabError(f"expected ECONNRESET in SO_ERROR and EOF, got {os.strerror(code)}")


def _repair(sock: socket.socket, mode: int) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, mode)
    except OSError as error:
        raise LabSkip(f"TCP_REPAIR does not work here: {error.strerror}") from error


def sequence(sock: socket.socket) -> tuple[int, int]:
    """(next sequence number to send, next one expected) of a live connection."""
    _repair(sock, REPAIR_ON)
    numbers = []
    for queue in (SEND_QUEUE, RECV_QUEUE):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        numbers.append(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    _repair(sock, REPAIR_OFF_QUIETLY)
    return numbers[0], numbers[1]


def pretend_connected(sock: socket.socket, address: tuple[str, int]) -> None:
    """Make a bound socket ESTABLISHED with ``address`` without a single packet.

    That is what checkpoint/restore does, and just what a host looks like whose peer rebooted.
    """
    _repair(sock, REPAIR_ON)
    for queue, start in ((SEND_QUEUE, 0x10000000), (RECV_QUEUE, 0x20000000)):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, start)
    sock.connect(address)
    window = list(struct.unpack("=5I", sock.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, 20)))
    window[1] = window[2] = 65535  # snd_wnd and max_window: without them no data would leave
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, struct.pack("=5I", *window))
    _repair(sock, REPAIR_OFF_QUIETLY)


def close_quietly(sock: socket.socket) -> None:
    """Close without a FIN or a RST, so that cleaning up adds nothing to the trace."""
    if sock.fileno() < 0:
        return
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                close_quietly(sock.accept()[0])
    else:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
    sock.close()


def segment(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: int,
    seq: int,
    ack: int = 0,
    payload: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """A TCP segment, its checksum filled in. ``options``: a multiple of four bytes."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack("!HHIIBBHHH", source[1], target[1], seq, ack, offset, flags, 65535, 0, 0)
    body = header + options + payload
    pseudo = socket.inet_pton(family, source[0]) + socket.inet_pton(family, target[0])
    pseudo += struct.pack("!II", len(body), socket.IPPROTO_TCP)
    return body[:16] + struct.pack("!H", _checksum(pseudo + body)) + body[18:]


def ip_packet(source: str, target: str, body: bytes, ttl: int = 64, ip_id: int = 0) -> bytes:
    """An IPv4 or IPv6 packet around a TCP segment, with DF, its header checksum filled in."""
    if ":" in source:
        header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_TCP, ttl)
        addresses = (socket.inet_pton(socket.AF_INET6, a) for a in (source, target))
        return header + b"".join(addresses) + body
    size, dont_fragment = 20 + len(body), 0x4000
    header = struct.pack("!BBHHHBBH", 0x45, 0, size, ip_id, dont_fragment, ttl, 6, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + body


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
