"""inet_diag: questions about TCP sockets. The answers are pyroute2's ``inet_diag_msg``.

If the kernel has tcp_diag as a module, the first question loads it, as ss(8) does.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from rsttrace.enrich.place import Question
from rsttrace.enrich.sources import _netlink
from rsttrace.enrich.sources._address import address_of

SOCK_DIAG_BY_FAMILY = 20
SYN_RECV, LISTEN = 3, 10
ALL_STATES = (1 << 13) - 1
INET_DIAG_INFO = 2
NO_COOKIE = (1 << 64) - 1


def exact(question: Question, device: int) -> Any | None:
    """The socket that a segment of this flow belongs to; None if there is none.

    It is the connection's, or the listener's that would take a SYN. ``device``: index of the
    interface that the segment comes in by, 0 if not known. A kernel without tcp_diag says ENOENT
    as well: only after a ``dump`` it means that there is no socket.
    """
    here, there = address_of(question.local), address_of(question.remote)
    request = _request(here.version, ALL_STATES)
    request["idiag_ext"] = 1 << (INET_DIAG_INFO - 1)
    request["idiag_src"], request["idiag_dst"] = _four(here), _four(there)
    request["idiag_sport"], request["idiag_dport"] = question.lport, question.rport
    request["idiag_if"], request["idiag_cookie"] = device, NO_COOKIE
    try:
        raw = _netlink.one(_netlink.SOCK_DIAG, _netlink.encoded(request, SOCK_DIAG_BY_FAMILY))
    except FileNotFoundError:
        return None
    return _decoded(raw)


def dump(version: int, state: int, port: int) -> Iterator[Any]:
    """All sockets of one family (4, 6) in this state with this local port."""
    return map(_decoded, dump_raw(version, state, port))


def dump_raw(version: int, state: int, port: int) -> Iterator[bytes]:
    """The same as they come, from the netlink header on: thousands can be counted in no time."""
    request = _request(version, 1 << state)
    request["idiag_sport"] = port  # the kernel leaves out all others
    data = _netlink.encoded(request, SOCK_DIAG_BY_FAMILY, _netlink.NLM_F_DUMP)
    try:
        yield from _netlink.many(_netlink.SOCK_DIAG, data)
    except FileNotFoundError as err:
        raise OSError(errno.EOPNOTSUPP, "no tcp_diag") from err


def _request(version: int, states: int) -> Any:
    from pyroute2.netlink.diag import inet_diag_req

    request = inet_diag_req()
    request["sdiag_family"] = socket.AF_INET6 if version == 6 else socket.AF_INET
    request["sdiag_protocol"] = socket.IPPROTO_TCP
    request["idiag_states"] = states
    return request


def _four(address: IPv4Address | IPv6Address) -> tuple[int, ...]:
    return struct.unpack(">4I", address.packed.ljust(16, b"\0"))


def _decoded(raw: bytes) -> Any:
    from pyroute2.netlink.diag import inet_diag_msg

    return _netlink.decoded(inet_diag_msg, raw)
