"""A busy host: ``crowd.py PROCESSES CONNECTIONS DESCRIPTORS``, in a new network namespace.

So many processes share so many established loopback connections (both ends), each has so many open
descriptors; all sleep. Prints the namespace's inode number, then for each line ``RATE COUNT`` of
stdin makes that many resets at that rate per second (0: as fast as it goes), of several causes in
turn, and prints a JSON object. Ends with stdin, and everything it made with it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle

from traffic import CLOSED_PORT, HOST, child, enter_new_namespace, out_rsts

LINGER_ZERO = struct.pack("ii", 1, 0)
SPARE = 64  # descriptors of this process besides one for each member
WAIT_S = 10.0


class Member:
    """A process of the crowd. A byte into its pipe makes it reset one of its old connections."""

    def __init__(self, connections: int, descriptors: int) -> None:
        ready, told = os.pipe()
        inside, self.pipe = os.pipe()
        self.pid = child(lambda: _be_member(inside, told, connections, descriptors))
        os.close(inside)
        os.close(told)
        if os.read(ready, 1) != b"r":
            raise SystemExit("a process of the crowd could not start")
        os.close(ready)

    def reset_one(self) -> None:
        os.write(self.pipe, b"x")


def _be_member(inside: int, told: int, connections: int, descriptors: int) -> None:
    inside, told = os.dup2(inside, 3), os.dup2(told, 4)
    os.closerange(5, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    held = list(_pairs(connections))
    null = [os.open(os.devnull, os.O_RDONLY) for _ in range(descriptors - 4 - 2 * connections)]
    os.write(told, b"r")
    os.close(told)
    while os.read(inside, 1):
        client, _ = held.pop()
        _abort(client)  # the other end stays: it belongs to this process until it ends
        null.append(os.open(os.devnull, os.O_RDONLY))


def _pairs(number: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server((HOST, 0), backlog=number) as listener:
        for _ in range(number):
            client = socket.create_connection(listener.getsockname())
            yield client, listener.accept()[0]


def _abort(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    end.close()


class Acts:
    """What makes a reset, one each; both ends are here, so each is sent and received."""

    def __init__(self, members: list[Member]) -> None:
        self._members = cycle(members)
        self._listener = socket.create_server((HOST, 0))

    def all(self) -> list[Callable[[], None]]:
        """In the order in which they take turns."""
        return [self.old, self.linger_zero, self.unread, self.closed_port, self.late_data]

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        client = socket.create_connection(self._listener.getsockname())
        return client, self._listener.accept()[0]

    def old(self) -> None:
        """A connection older than any trace, of one of the many processes."""
        next(self._members).reset_one()

    def linger_zero(self) -> None:
        client, server = self._pair()
        _abort(server)
        client.close()

    def unread(self) -> None:
        client, server = self._pair()
        client.send(b"never read")
        select.select([server], [], [], WAIT_S)
        server.close()
        client.close()

    def closed_port(self) -> None:
        with socket.socket() as client:
            client.connect_ex((HOST, CLOSED_PORT))

    def late_data(self) -> None:
        client, server = self._pair()
        server.close()
        client.send(b"too late")
        client.close()


def make(acts: list[Callable[[], None]], rate: float, count: int) -> dict[str, float]:
    """So many resets; how many the kernel counted, and in what time."""
    before, start = out_rsts(), time.monotonic()
    for number, act in zip(range(count), cycle(acts)):
        if rate:
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
        act()
    took = time.monotonic() - start
    end = time.monotonic() + WAIT_S
    while out_rsts() - before < count and time.monotonic() < end:
        time.sleep(0.01)  # the members reset in their own time
    return {"asked": count, "resets": out_rsts() - before, "seconds": took}


def main() -> None:
    """Build the crowd, then one result for each line of input."""
    number, connections, descriptors = map(int, sys.argv[1:4])
    limit = number + SPARE
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, descriptors + SPARE), hard))
    inode = enter_new_namespace()
    members: list[Member] = []
    try:
        for _ in range(number):
            members.append(Member(connections // number, descriptors))
        print(inode, flush=True)
        acts = Acts(members).all()
        for line in sys.stdin:
            rate, count = line.split()
            print(json.dumps(make(acts, float(rate), int(count))), flush=True)
    finally:
        for member in members:
            os.kill(member.pid, signal.SIGKILL)
        for member in members:
            os.waitpid(member.pid, 0)


if __name__ == "__main__":
    main()
