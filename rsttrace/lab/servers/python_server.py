"""Servers of Python's own library: what they do by default, and how a program makes them reset."""

from __future__ import annotations

import io
import os
import signal
import socket

from rsttrace.lab.base import Expect, Lab, LabSkip, received
from rsttrace.lab.servers.program import SYSTEM, Program
from rsttrace.lab.servers.running import (
    CLOSED_FIRST,
    RESET,
    Running,
    connect,
    sent,
    start,
    wait_waiting,
)
from rsttrace.lab.tcp import settle, wait_reset, wait_state

PORT = 8000
BACKLOG = 5  # socketserver's default
BODY = 12000  # bytes of a request
# the distribution's, whatever virtual environment comes first in PATH
PYTHON = Program("/usr/bin/python3", {"PATH": SYSTEM, "LC_ALL": "C.UTF-8"})
THREE_LINES = """
import asyncio, signal, socket, struct, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseRequestHandler

class Server(HTTPServer):
    address_family = socket.{family}

class Handler(BaseRequestHandler):
    def handle(self):
        {handle}

Server((sys.argv[1], int(sys.argv[2])), {handler}).serve_forever()
"""
ASYNCIO = """
import asyncio, sys

async def serve(reader, writer):
    try:
        await asyncio.wait_for(reader.readline(), 0.1)
    finally:
        writer.close()

async def main():
    async with await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2])) as server:
        await server.serve_forever()

asyncio.run(main())
"""


def run_script(lab: Lab, text: str) -> Running:
    """Start a script of that text; it is told the address and the port."""
    arguments = ("/run/server.py", lab.address["server"], str(PORT))
    return start(lab, PYTHON, *arguments, files={"server.py": text}).wait_listening(PORT)


def run_server(lab: Lab, handle: str = "pass", handler: str = "Handler") -> Running:
    """Start a socketserver that does one thing at a time, as it is by default."""
    family = socket.AddressFamily(lab.family).name
    return run_script(lab, THREE_LINES.format(family=family, handle=handle, handler=handler))


def http_server(lab: Lab) -> Running:
    """Start ``python3 -m http.server``."""
    arguments = ("-m", "http.server", "--bind", lab.address["server"], str(PORT))
    return start(lab, PYTHON, *arguments).wait_listening(PORT)


def backlog(lab: Lab) -> None:
    """A server that is busy with one client; the others fill socketserver's queue of 5, and
    tcp_abort_on_overflow is 1.

    A full queue drops SYNs, so three handshakes have to be under way when the last place goes:
    for a moment the clients' ACKs are held back.
    """
    lab.sysctl("server", "net.ipv4.tcp_abort_on_overflow", "1")
    lab.sysctl("server", "net.core.somaxconn", "4096")
    run_server(lab, handler="BaseHTTPRequestHandler")
    connect(lab, PORT)
    wait_waiting(lab, PORT, 0)
    for _ in range(BACKLOG - 1):
        connect(lab, PORT)
    wait_waiting(lab, PORT, BACKLOG - 1)
    lab.firewall("client", "output", "tcp flags & (syn | ack) == ack drop")
    *last_in, refused = (connect(lab, PORT) for _ in range(3))
    lab.run("client", "nft", "delete", "table", "inet", "lab")
    for waiting, client in enumerate(last_in, BACKLOG):
        client.sendall(b"x")
        wait_waiting(lab, PORT, waiting)
    refused.sendall(b"x")
    wait_reset(refused)


def upload_refused(lab: Lab) -> None:
    """``python3 -m http.server`` cannot POST: it answers 501 and closes with the body unread."""
    if io.DEFAULT_BUFFER_SIZE > BODY:
        raise LabSkip("this Python takes all of the request at its first read.")
    http_server(lab)
    client = connect(lab, PORT)
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % BODY + b"x" * BODY)
    wait_state(client, "CLOSE")


def linger(lab: Lab) -> None:
    """A handler sets SO_LINGER {on, 0 s}."""
    option = 'socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)'
    # closed by hand: socketserver sends a FIN first, and the answer to that may come after the RST
    handle = f"self.request.setsockopt({option}); self.request.recv(100); self.request.close()"
    run_server(lab, handle)
    client = connect(lab, PORT)
    client.sendall(b"request\n")
    wait_state(client, "CLOSE")


def too_late(lab: Lab) -> None:
    """An asyncio server stops waiting for a request, which comes all the same."""
    run_script(lab, ASYNCIO)
    client = connect(lab, PORT)
    wait_state(client, "CLOSE_WAIT")
    client.sendall(b"request\n")
    wait_state(client, "CLOSE")


def killed(lab: Lab) -> None:
    """The server is killed while it has unread data of one client, and another is in the queue."""
    running = run_server(lab, "self.request.sendall(b'x'); signal.pause()")
    client = connect(lab, PORT)
    lab.wait_readable(client)
    client.recv(1)
    client.sendall(b"request\n")
    waiting = connect(lab, PORT)
    wait_waiting(lab, PORT, 1)
    settle(client, waiting)
    os.kill(running.pid, signal.SIGKILL)
    wait_reset(client)
    wait_reset(waiting)


QUEUE_FULL = Expect(
    "sent",
    "accept-queue-overflow",
    end="server",
    facts={
        "process.comm": "python3",
        "socket.accept_queue.used": BACKLOG + 1,
        "socket.accept_queue.max": BACKLOG,
    },
    says=("limit 5", "request_queue_size"),
)
VARIANTS = {
    "backlog": ((QUEUE_FULL, received("peer-reset", "ESTABLISHED", "ECONNRESET")), backlog),
    "upload-refused": (
        (sent("unread-data-on-close", "python3", "Content-Length"), CLOSED_FIRST),
        upload_refused,
    ),
    "linger": (
        (sent("linger-zero", "python3", "SO_LINGER {1,0} from python3["), RESET),
        linger,
    ),
    "too-late": ((sent("data-after-close", "python3", "let python3["), CLOSED_FIRST), too_late),
    "killed": (
        (
            sent("process-exit-unread-data", "python3", "SIGKILL"),
            RESET,
            sent("listener-closed", "python3", "exited"),
            RESET,
        ),
        killed,
    ),
}
