"""HAProxy, with the settings that make it reset connections, of clients and of servers."""

from __future__ import annotations

import errno
import os
import socket

from rsttrace.lab.base import Expect, Lab, LabError
from rsttrace.lab.servers.program import find_program
from rsttrace.lab.servers.running import (
    CLOSED_FIRST,
    RESET,
    Running,
    at,
    connect,
    refused,
    sent,
    start,
)
from rsttrace.lab.tcp import wait_reset, wait_state

PORT, CLOSED_PORT = 80, 8000
SHELL = """
global
  maxconn 64
  tune.bufsize 4096
  {user}
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend lab
  bind {bind}
  {frontend}
  default_backend servers
backend servers
  {backend}
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 8000\r\n\r\n"


def haproxy(lab: Lab, frontend: str, backend: str = "", user: str = "") -> Running:
    """Start it with this line in the frontend and these in the backend. ``user``: whom it becomes
    after that, as it does on real hosts; empty: it stays root.
    """
    bind = at(lab.address["server"], PORT)
    text = SHELL.format(bind=bind, frontend=frontend, backend=backend, user=user)
    files = {"haproxy.cfg": text}
    running = start(lab, find_program("haproxy"), "-db", "-f", "/run/haproxy.cfg", files=files)
    return running.wait_listening(PORT)


def backend(lab: Lab) -> tuple[socket.socket, str]:
    """A server for HAProxy to send requests to, in the client's namespace, and its address."""
    listener = lab.listen("client")
    return listener, at(lab.address["client"], listener.getsockname()[1])


def rejected(lab: Lab) -> None:
    """``tcp-request connection reject``: HAProxy closes with SO_LINGER 0 right after accept()."""
    haproxy(lab, "tcp-request connection reject")
    client = lab.socket("client")
    code = client.connect_ex((lab.address["server"], PORT))
    if code not in (0, errno.ECONNRESET):  # the RST may be quicker than connect()
        raise LabError(f"connect(): {os.strerror(code)}")
    wait_state(client, "CLOSE")


def silent_drop(lab: Lab) -> None:
    """``silent-drop`` without the right to use TCP_REPAIR, as HAProxy runs on real hosts: it resets
    with a TTL of 1, which the client gets only because no router is between.
    """
    haproxy(lab, "http-request silent-drop", user="uid 65534")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    wait_reset(client)


def nolinger(lab: Lab) -> None:
    """``option nolinger``: after its answer HAProxy closes with SO_LINGER 0, behind its own FIN."""
    haproxy(lab, "option nolinger\n  http-request return status 200")
    client = connect(lab, PORT)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    wait_state(client, "CLOSE")


def content_rejected(lab: Lab) -> None:
    """``tcp-request content reject``, and the client has sent more than tune.bufsize: the rest
    stays unread.
    """
    haproxy(lab, "tcp-request inspect-delay 5s\n  tcp-request content reject if { req.len gt 0 }")
    client = connect(lab, PORT)
    client.sendall(UPLOAD + b"x" * 8000)
    wait_state(client, "CLOSE")


def keepalive(lab: Lab) -> None:
    """A client sends its next request after timeout http-keep-alive has closed the connection."""
    haproxy(lab, "timeout http-keep-alive 1100ms\n  http-request return status 200")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    wait_state(client, "CLOSE_WAIT")
    client.sendall(REQUEST)
    wait_state(client, "CLOSE")


def server_slow(lab: Lab) -> None:
    """A server does not answer within ``timeout server``: HAProxy resets it; 504 for the client."""
    listener, address = backend(lab)
    haproxy(lab, "", f"timeout server 100ms\n  server one {address}")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    server = lab.accept(listener)
    lab.wait_readable(server)
    server.recv(4096)
    wait_reset(server)
    _answered(lab, client, b" 504 ")


def server_down(lab: Lab) -> None:
    """Nothing listens at the server's address: 503."""
    haproxy(lab, "", f"retries 0\n  server one {at(lab.address['server'], CLOSED_PORT)}")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    _answered(lab, client, b" 503 ")


def health_check(lab: Lab) -> None:
    """``check``: HAProxy connects and aborts before the handshake is over, to see that the port is
    open.
    """
    _, address = backend(lab)
    # the next check comes when the lab is over
    haproxy(lab, "", f"server one {address} check inter 60s")
    lab.wait_for(lambda: lab.out_rsts("server") == 1, "the RST of the health check")


def health_check_http(lab: Lab) -> None:
    """``option httpchk``: HAProxy resets the check's connection as soon as it has the answer."""
    listener, address = backend(lab)
    haproxy(lab, "", f"option httpchk\n  server one {address} check inter 60s")
    server = lab.accept(listener)
    lab.wait_readable(server)
    server.recv(4096)
    server.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    wait_reset(server)


def _answered(lab: Lab, client: socket.socket, status: bytes) -> None:
    lab.wait_readable(client, 12)
    if status not in (answer := client.recv(4096)):
        raise LabError(f"expected{status.decode()}, got {answer[:20]!r}")


def _checked(direction: str, cause: str) -> Expect:
    """The server's end of a health check."""
    facts = {"benign": True}
    return Expect(direction, cause, end="client", facts=facts, says=("haproxy[",))


VARIANTS = {
    "rejected": (
        (sent("linger-zero", "haproxy", "tcp-request connection reject"), RESET),
        rejected,
    ),
    "silent-drop": (
        (sent("linger-zero", "haproxy", "silent-drop"), RESET),
        silent_drop,
    ),
    "nolinger": ((sent("linger-zero", "haproxy", "no option nolinger"), CLOSED_FIRST), nolinger),
    "content-rejected": (
        (sent("unread-data-on-close", "haproxy", "tcp-request content reject"), CLOSED_FIRST),
        content_rejected,
    ),
    "keepalive": (
        (sent("data-after-close", "haproxy", "timeout http-keep-alive"), CLOSED_FIRST),
        keepalive,
    ),
    "server-slow": ((sent("linger-zero", "haproxy", "timeout server"), RESET), server_slow),
    "server-down": (refused("haproxy", "server NAME"), server_down),
    "health-check": (
        (sent("linger-zero", "haproxy", "check"), _checked("received", "handshake-aborted")),
        health_check,
    ),
    "health-check-http": (
        (sent("linger-zero", "haproxy", "check"), RESET),
        health_check_http,
    ),
}
