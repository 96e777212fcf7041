"""What the host says of the place where a reset happened: a question and its answer. Pure.

The helper process answers (answers/place.py), from the modules in sources/; each fills one field of
``Place``. What could not be learnt is None, and ``problems`` says why, by source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Question:
    """One flow, seen from this host's end, in the network namespace with this inode number.

    A port that does not matter is 0: no socket, no conntrack entry can be found by it. ``device``:
    interface that the packet used, empty if not known. ``wants``: names of the sources to ask.
    """

    netns: int
    family: int
    local: str
    lport: int
    remote: str
    rport: int
    device: str = ""
    wants: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """All of it as one text."""
        ends = f"{self.local} {self.lport} {self.remote} {self.rport}"
        return f"{self.netns} {self.family} {ends} {self.device} {','.join(self.wants)}"


@dataclass(frozen=True)
class Listening:
    """The socket that accepts on this address and port (inet_diag of a LISTEN socket).

    ``waiting`` connections wait for accept(), ``limit`` is min(backlog, somaxconn); the queue is
    full when ``waiting > limit``. ``half_open``: handshakes that are not complete (SYN_RECV),
    None if not known. ``device``: the only one whose packets it gets (SO_BINDTODEVICE), empty: all.
    """

    address: str
    port: int
    inode: int
    uid: int
    waiting: int
    limit: int
    half_open: int | None = None
    device: str = ""


@dataclass(frozen=True)
class Sockets:
    """What inet_diag shows. ``listening``: None if nothing accepts there.

    ``state`` is this connection's own socket, None if there is none any more (or a port was left
    out of the question); ``rtt_ms``, ``retransmits`` (of the oldest segment),
    ``total_retransmits``, ``last_sent_ms`` and ``last_heard_ms`` (data) are out of its tcp_info.
    ``inode`` and ``uid`` are its owner's, None for an orphan, a request and TIME_WAIT.
    """

    listening: Listening | None = None
    state: str | None = None
    rtt_ms: float | None = None
    retransmits: int | None = None
    total_retransmits: int | None = None
    last_sent_ms: int | None = None
    last_heard_ms: int | None = None
    inode: int | None = None
    uid: int | None = None


@dataclass(frozen=True)
class Path:
    """The way to the remote address, as this namespace would send now (rtnetlink).

    ``device`` with its ``kind`` (veth, bridge, vlan, ...; empty for hardware), ``up``: does it run
    (IFF_RUNNING); ``bridge``: the one that it is a port of; ``other_end``: of a veth, name of the
    namespace (or ``netns N``) and device it leads to (``host vethb1f2``), the device alone if it is
    in this namespace. ``gateway``: empty on the same wire. ``route``: unicast, local, unreachable,
    blackhole, prohibit ..., ``none`` if no route matches; then ``device`` is the question's.
    ``neighbour``: state of the next hop's link-layer entry (REACHABLE, STALE, FAILED, ...), empty
    if there is none.
    """

    device: str
    kind: str = ""
    up: bool | None = None
    bridge: str = ""
    other_end: str = ""
    gateway: str = ""
    source: str = ""
    route: str = ""
    neighbour: str = ""


@dataclass(frozen=True)
class Peer:
    """Where on this host the remote address is configured.

    ``here``: in this namespace itself. ``elsewhere``: names (``host``, ``netns N``) of other
    namespaces; never for addresses that every namespace may have (loopback, link-local). Private
    addresses can be in use twice. If not all were asked, Place.problems says so.
    """

    here: bool = False
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tracked:
    """The conntrack entry of the flow. ``found``: is there one? ``state``: ESTABLISHED, CLOSE, ...

    ``timeout_s``: until it is forgotten. ``assured``: it has seen the whole handshake. ``natted``:
    what was changed into what (destination first), ``203.0.113.7:443 > 10.0.0.2:8443``, empty for
    nothing.
    """

    found: bool
    state: str = ""
    timeout_s: int | None = None
    assured: bool | None = None
    natted: str = ""


@dataclass(frozen=True)
class Place:
    """The answer. ``settings``: sysctls as this namespace has them, by name with dots.

    A field is None (``settings``: without the name) if it was not asked for or could not be
    learnt; then ``problems`` has the reason by source: ``{"sockets": "took too long"}``. A field
    that is only part of the truth has a problem as well.
    ``time_ns``: CLOCK_MONOTONIC when it was asked, 0: it was not. Where there are too many resets
    to ask for each, it is up to two seconds before the reset.
    """

    time_ns: int = field(default=0, compare=False)
    settings: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    sockets: Sockets | None = None
    path: Path | None = None
    peer: Peer | None = None
    conntrack: Tracked | None = None
    problems: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    def number(self, setting: str) -> int | None:
        """A sysctl that is one number; None if it is not known."""
        value = self.settings.get(setting, "")
        return int(value) if value.lstrip("-").isdigit() else None
