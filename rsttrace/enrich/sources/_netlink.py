"""One question to the kernel over netlink, one answer: pyroute2's messages over a bare socket.

pyroute2's own sockets are not used: DiagSocket takes errors for answers and cannot ask for one
address, 0.9's IPRoute has no nlm_request() that works and runs an event loop, which swallows the
alarm of the engine. Its message classes are the same from 0.7 to 0.9.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

ROUTE, SOCK_DIAG, NETFILTER = 0, 4, 12
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER = struct.Struct("=IHHII")
ERROR = struct.Struct("=i")
BUFFER = 1 << 16


def encoded(message: Any, kind: int, flags: int = 0) -> bytes:
    """A pyroute2 message as a request of this type."""
    message["header"].update(type=kind, flags=NLM_F_REQUEST | flags, sequence_number=1)
    message.encode()
    return bytes(message.data)


def decoded(message: type[Any], raw: bytes) -> Any:
    """An answer as a pyroute2 message."""
    answer = message(raw)
    answer.decode()
    return answer


def one(protocol: int, request: bytes) -> bytes:
    """The answer to a request for one thing. OSError with the kernel's number if there is none."""
    return next(_messages(protocol, request))


def many(protocol: int, request: bytes) -> Iterator[bytes]:
    """The answers to a dump, each from its netlink header on. OSError as the kernel has it."""
    for raw in _messages(protocol, request):
        if HEADER.unpack_from(raw)[1] == NLMSG_DONE:
            return
        yield raw


def _messages(protocol: int, request: bytes) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as way:
        way.send(request)
        while True:
            data = way.recv(BUFFER)
            at = 0
            while at + HEADER.size <= len(data):
                length, kind, *_ = HEADER.unpack_from(data, at)
                if kind == NLMSG_ERROR:
                    raise OSError(-ERROR.unpack_from(data, at + HEADER.size)[0], "netlink")
                yield data[at : at + length]
                at += (length + 3) & ~3
