"""Who accepts on the local address and port, and the connection's own socket (inet_diag)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from rsttrace.enrich.place import Listening, Question, Sockets
from rsttrace.enrich.sources import NotKnown, _diag, _values
from rsttrace.enrich.sources._address import address_of

NAME = "sockets"
ANY = ("0.0.0.0", "::")
# of an inet_diag_msg, behind the netlink header: family, the local address
FAMILY_AT, LOCAL_AT = 16, 24
HALF_OPEN_MOST = 65536
# enum in net/tcp_states.h
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
    "SYN_RECV",
)


def ask(question: Question) -> dict[str, Any]:
    """Sockets as JSON. A port that is 0 was left out of the question."""
    if not question.lport:
        raise NotKnown("the question has no local port")
    listeners = list(_listeners(question))
    found = _diag.exact(question, _index(question.device)) if question.rport else None
    accepts = found is not None and found["idiag_state"] == _diag.LISTEN
    listener = choose(listeners, found["idiag_cookie"] if found and accepts else None)
    connection = _connection(found) if found and not accepts else {}
    alone = len(listeners) == 1
    return {"listening": _listening(listener, alone) if listener else None, **connection}


def _index(device: str) -> int:
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(device) if device else 0
    return 0


def _listeners(question: Question) -> Iterator[Any]:
    """All LISTEN sockets that take a SYN to the local address and port."""
    local = address_of(question.local)
    for version in (4, 6) if local.version == 4 else (6,):
        for message in _diag.dump(version, _diag.LISTEN, question.lport):
            address = address_of(message["idiag_src"])
            both = local.version == version or not message.get_attr("INET_DIAG_SKV6ONLY")
            if address == local or (str(address) == ANY[version == 6] and both):
                yield message


def choose(listeners: list[Any], cookie: int | None) -> Any | None:
    """The one that the kernel chose; else the most specific, of a SO_REUSEPORT group the fullest.

    The kernel tells its choice when it looks for the connection and there is none any more. Before
    a wildcard comes the address, before [::] the same family; behind all comes one that is bound to
    a device, since the SYN may come in by another.
    """

    def rank(message: Any) -> tuple[bool, bool, bool, int, int]:
        address = message["idiag_src"]
        return (
            message["idiag_cookie"] == cookie,
            not message["idiag_if"],
            address not in ANY,
            -message["idiag_family"],
            message["idiag_rqueue"],
        )

    return max(listeners, key=rank, default=None)


def _listening(message: Any, alone: bool) -> dict[str, Any]:
    """``alone``: no other socket accepts there; requests do not say whose they are."""
    address = address_of(message["idiag_src"])
    device = ""
    with contextlib.suppress(OSError):
        device = socket.if_indextoname(message["idiag_if"]) if message["idiag_if"] else ""
    return {
        "address": str(address),
        "port": message["idiag_sport"],
        "inode": message["idiag_inode"],
        "uid": message["idiag_uid"],
        "waiting": message["idiag_rqueue"],
        "limit": message["idiag_wqueue"],
        "half_open": _half_open(message) if alone else None,
        "device": device,
    }


def _half_open(listener: Any) -> int | None:
    """Requests (SYN_RECV) of that listener's port, and address if it has one; None: too many."""
    version = 6 if listener["idiag_family"] == socket.AF_INET6 else 4
    address = address_of(listener["idiag_src"])
    own = None if str(address) in ANY else address
    count = 0
    for raw in _diag.dump_raw(version, _diag.SYN_RECV, listener["idiag_sport"]):
        count += own is None or own == address_of(_local(raw))
        if count > HALF_OPEN_MOST:
            return None
    return count


def _local(raw: bytes) -> str:
    """The local address of a raw inet_diag_msg."""
    if raw[FAMILY_AT] == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[LOCAL_AT : LOCAL_AT + 4])
    return socket.inet_ntop(socket.AF_INET6, raw[LOCAL_AT : LOCAL_AT + 16])


def _connection(message: Any) -> dict[str, Any]:
    """State, owner and tcp_info; an orphan, a request and TIME_WAIT have no owner."""
    state = message["idiag_state"]
    value: dict[str, Any] = {"state": STATES[state] if state < len(STATES) else str(state)}
    if message["idiag_inode"]:
        value.update(inode=message["idiag_inode"], uid=message["idiag_uid"])
    if info := message.get_attr("INET_DIAG_INFO"):
        value.update(
            rtt_ms=info["tcpi_rtt"] / 1000,
            retransmits=info["tcpi_retransmits"],
            total_retransmits=info["tcpi_total_retrans"],
            last_sent_ms=info["tcpi_last_data_sent"],
            last_heard_ms=info["tcpi_last_data_recv"],
        )
    return value


def read(value: Any) -> Sockets:
    """Place.sockets."""
    known = _values.fields(value)
    numbers = ("retransmits", "total_retransmits", "last_sent_ms", "last_heard_ms", "inode", "uid")
    return Sockets(
        listening=_values.maybe(_read_listening, known.get("listening")),
        state=_values.maybe(_values.text, known.get("state")),
        rtt_ms=_values.maybe(_values.number, known.get("rtt_ms")),
        **{name: _values.maybe(_values.whole, known.get(name)) for name in numbers},
    )


def _read_listening(value: Any) -> Listening:
    known = _values.fields(value)
    numbers = ("port", "inode", "uid", "waiting", "limit")
    return Listening(
        address=_values.text(known.get("address")),
        half_open=_values.maybe(_values.whole, known.get("half_open")),
        device=_values.text(known.get("device", "")),
        **{name: _values.whole(known.get(name)) for name in numbers},
    )
