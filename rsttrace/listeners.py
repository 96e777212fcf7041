"""Who listens where: the sockets found at start, kept up to date from the records. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rsttrace.records import Record, at

ANY_OF = {4: "0.0.0.0", 6: "::"}
ANY = tuple(ANY_OF.values())
REMEMBER_NS = 60_000_000_000


@dataclass(frozen=True)
class Listener:
    """A listening socket; ``closed_ns`` is set once it is gone. ``pid`` 0: not known."""

    netns: int
    address: str
    port: int
    inode: int
    pid: int = 0
    comm: str = ""
    sk: int = 0
    closed_ns: int = 0
    opened_ns: int = 0

    @property
    def name(self) -> str:
        """``nginx[1432]``, or the bare address if the owner is not known."""
        who = f"{self.comm}[{self.pid}]" if self.pid and self.comm else "a process"
        return f"{who} on {at(self.address, self.port)}"


class Listeners:
    """A table of listeners fed by ``inet_sock_set_state`` records to and from LISTEN."""

    def __init__(self, known: Iterable[Listener] = ()) -> None:
        self._open = list(known)
        self._closed: list[Listener] = []

    def add(self, known: Iterable[Listener]) -> None:
        """Take listeners found otherwise, unless the records told of them already."""
        have = {(x.netns, x.address, x.port) for x in self._open}
        self._open += [x for x in known if (x.netns, x.address, x.port) not in have]

    def feed(self, record: Record) -> None:
        """Take a record of a listening socket that came or went."""
        flow = record.flow
        if flow is None:
            return
        if record.state == "LISTEN":
            inode = record.sock.inode if record.sock else 0
            self._open.append(
                Listener(
                    flow.netns,
                    flow.local,
                    flow.lport,
                    inode,
                    record.task.pid,
                    record.task.comm,
                    record.sk,
                    opened_ns=record.time_ns,
                )
            )
            return
        if record.state != "CLOSE":
            return
        for listener in self._open:
            same = (listener.netns, listener.address, listener.port) == (
                flow.netns,
                flow.local,
                flow.lport,
            )
            if same and listener.sk in (0, record.sk):
                self._open.remove(listener)
                self._closed.append(replace(listener, closed_ns=record.time_ns))
                break
        limit = record.time_ns - REMEMBER_NS
        self._closed = [gone for gone in self._closed if gone.closed_ns > limit]

    def on_port(self, port: int, time_ns: int | None = None) -> list[Listener]:
        """Those that listened on this port at that time (None: now), in any namespace."""
        open_now = [x for x in self._open if x.port == port]
        if time_ns is None:
            return open_now
        later = [x for x in self._closed if x.port == port and x.closed_ns > time_ns]
        return [x for x in (*open_now, *later) if x.opened_ns <= time_ns]

    def closed_on_port(self, netns: int, port: int, time_ns: int | None = None) -> Listener | None:
        """The last one of this namespace that went away before that time, within a minute."""
        gone = [x for x in self._closed if x.port == port and x.netns == netns]
        gone = [x for x in gone if time_ns is None or x.closed_ns <= time_ns]
        return gone[-1] if gone else None

    def accepting(self, netns: int, address: str, port: int) -> Listener | None:
        """The one that a connection to this address reaches: the most specific."""
        same_family = ANY_OF[6 if ":" in address else 4]
        order = {address: 0, same_family: 1}
        found = (
            x
            for x in self.on_port(port)
            if x.netns == netns and (x.address == address or x.address in ANY)
        )
        return min(found, key=lambda x: order.get(x.address, 2), default=None)
