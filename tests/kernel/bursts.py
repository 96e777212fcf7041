"""Many resets of one kind at once, and how many of which cause they must make."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rsttrace.lab import tcp
from rsttrace.lab.net import Lab
from rsttrace.model import RECEIVED, SENT

from .conftest import knock

Scene = Callable[[Lab], None]


def pairs(lab: Lab, count: int) -> list[tuple[socket.socket, socket.socket]]:
    """So many live connections to one listener."""
    listener = lab.listen(backlog=count)
    return [lab.pair(listener=listener) for _ in range(count)]


def together(count: int, act: Callable[[int], object], threads: int = 5) -> None:
    """Do it so many times from several threads at once."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(act, range(count)))


def closes_in_a_row(lab: Lab) -> None:
    """20 connections closed with SO_LINGER 0, nothing in between."""
    made = pairs(lab, 20)
    for _, server in made:
        tcp.linger_zero(server)
    for _, server in made:
        server.close()
    for client, _ in made:
        lab.wait_reset(client)


def knocks(lab: Lab) -> None:
    """50 SYNs to closed ports back to back from five threads."""
    together(50, lambda i: knock(lab, 9000 + i % 3))


def unread(lab: Lab) -> None:
    """20 connections closed with data unread, by five threads."""
    made = pairs(lab, 20)
    for client, server in made:
        client.sendall(b"u" * 312)
        lab.wait_readable(server, 312)
    together(20, lambda i: made[i][1].close())
    for client, _ in made:
        lab.wait_reset(client)


def late_data(lab: Lab) -> None:
    """20 connections closed in order; then every client writes on."""
    made = pairs(lab, 20)
    for _, server in made:
        server.close()
    for client, _ in made:
        lab.wait_state(client, "CLOSE_WAIT")
        lab.settle(client)
    port = made[0][0].getpeername()[1]
    lab.wait_for(lambda: lab.connections("server", port) == ["FIN_WAIT2"] * 20, "FIN_WAIT2")
    for client, _ in made:
        client.sendall(b"more")
    for client, _ in made:
        lab.wait_state(client, "CLOSE")


def exit_with_many(lab: Lab) -> None:
    """A process that owns 10 connections with unread data is killed."""
    listener = lab.listen(backlog=10)

    def own() -> None:
        mine = [listener.accept()[0] for _ in range(10)]
        for sock in mine:
            tcp.wait_readable(sock, 5)
        mine[0].sendall(b"r")
        tcp.settle(mine[0])
        signal.pause()

    pid = lab.spawn("server", own)
    clients = [lab.connect(listener) for _ in range(10)]
    for client in clients:
        client.sendall(b"hello")
    lab.wait_readable(clients[0])
    clients[0].recv(1)
    lab.settle(*clients)
    os.kill(pid, signal.SIGKILL)
    for client in clients:
        lab.wait_reset(client)


def queue_thrown_away(lab: Lab) -> None:
    """A listener with 16 connections in its queue is closed."""
    listener = lab.listen(backlog=16)
    clients = [lab.connect(listener) for _ in range(16)]
    lab.wait_for(lambda: tcp.info(listener).unacked == 16, "16 in the accept queue")
    listener.close()
    for client in clients:
        lab.wait_reset(client)


def strangers(lab: Lab) -> None:
    """10 clients use connections that the server never heard of."""
    lab.listen(port=8080)
    clients = [lab.half_open(8080) for _ in range(10)]
    for client in clients:
        client.sendall(b"hello?\n")
    for client in clients:
        lab.wait_reset(client)


def everything_at_once(lab: Lab) -> None:
    """Refused SYNs from threads between aborts and unread closes, in a mixed order."""
    made = pairs(lab, 20)
    for client, server in made[:10]:
        client.sendall(b"u" * 312)
        lab.wait_readable(server, 312)
    for _, server in made[10:]:
        tcp.linger_zero(server)
    acts: list[Callable[[], object]] = [server.close for _, server in made]
    acts += [lambda: knock(lab, 9000)] * 20
    random.Random(1).shuffle(acts)
    together(len(acts), lambda i: acts[i]())
    for client, _ in made:
        lab.wait_reset(client)


BURSTS: dict[Scene, dict[tuple[str, str], int]] = {
    closes_in_a_row: {(SENT, "linger-zero"): 20, (RECEIVED, "peer-reset"): 20},
    knocks: {(SENT, "closed-port"): 50, (RECEIVED, "connection-refused"): 50},
    unread: {(SENT, "unread-data-on-close"): 20, (RECEIVED, "peer-reset"): 20},
    late_data: {(SENT, "data-after-close"): 20, (RECEIVED, "peer-closed-first"): 20},
    exit_with_many: {(SENT, "process-exit-unread-data"): 10, (RECEIVED, "peer-reset"): 10},
    queue_thrown_away: {(SENT, "listener-closed"): 16, (RECEIVED, "peer-reset"): 16},
    strangers: {(SENT, "stale-connection"): 10, (RECEIVED, "peer-reset"): 10},
    everything_at_once: {
        (SENT, "linger-zero"): 10,
        (SENT, "unread-data-on-close"): 10,
        (SENT, "closed-port"): 20,
        (RECEIVED, "peer-reset"): 20,
        (RECEIVED, "connection-refused"): 20,
    },
}
