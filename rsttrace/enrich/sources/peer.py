"""Is the remote address one of this host's own, here or in another network namespace?

Asked by a route look-up in each namespace (type local). There can be hundreds, so the request is
made once, and one byte of the answer is read.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from rsttrace.enrich.answers.namespaces import namespaces
from rsttrace.enrich.place import Peer, Question
from rsttrace.enrich.sources import _netlink, _spaces, _values
from rsttrace.enrich.sources._address import address_of

NAME = "peer"
RTM_GETROUTE, RTA_DST, RTN_LOCAL = 26, 1, 2
ROUTE = struct.Struct("=8BI")  # struct rtmsg; the last byte is its type
ATTRIBUTE = struct.Struct("=HH")


def ask(question: Question) -> dict[str, Any]:
    """Peer as JSON."""
    address = address_of(question.remote)
    request = _request(address.version, address.packed)
    value: dict[str, Any] = {"here": is_local(request), "elsewhere": []}
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return value
    here = _spaces.here()
    others = [(inode, path) for inode, path in namespaces() if inode != here]
    said, silent = _spaces.visit(others, lambda: is_local(request))
    value["elsewhere"] = [_spaces.name_of(inode, path) for inode, path, local in said if local]
    if silent:
        value["problem"] = f"{silent} of {len(others)} other namespaces could not be asked"
    return value


def _request(version: int, packed: bytes) -> bytes:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    route = ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    body = route + ATTRIBUTE.pack(ATTRIBUTE.size + len(packed), RTA_DST) + packed
    header = (_netlink.HEADER.size + len(body), RTM_GETROUTE, _netlink.NLM_F_REQUEST, 1, 0)
    return _netlink.HEADER.pack(*header) + body


def is_local(request: bytes) -> bool:
    """Does this thread's namespace deliver packets to that address to itself?"""
    try:
        answer = _netlink.one(_netlink.ROUTE, request)
    except OSError:
        return False  # no way there
    return bool(ROUTE.unpack_from(answer, _netlink.HEADER.size)[7] == RTN_LOCAL)


def read(value: Any) -> Peer:
    """Place.peer."""
    known = _values.fields(value)
    return Peer(_values.flag(known.get("here")), _values.texts(known.get("elsewhere")))
