"""nginx, with the settings that make it reset connections."""

from __future__ import annotations

import os
import signal

from rsttrace.lab.base import Lab, LabError
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
from rsttrace.lab.tcp import info, settle, wait_reset, wait_state

PORT, CLOSED_PORT = 80, 8000
SHELL = """
user root;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr info;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path /run/tmp/body;
  proxy_temp_path /run/tmp/proxy;
  fastcgi_temp_path /run/tmp/fastcgi;
  uwsgi_temp_path /run/tmp/uwsgi;
  scgi_temp_path /run/tmp/scgi;
  {http}
  server {{ listen {listen}; {server} }}
}}
"""
PATIENCE = 15.0
REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 8000\r\n\r\n"


def nginx(lab: Lab, http: str, server: str) -> Running:
    """Start it with these lines in the http and the server block."""
    listen = at(lab.address["server"], PORT)
    files = {"nginx.conf": SHELL.format(http=http, server=server, listen=listen), "tmp/x": ""}
    arguments = ("-e", "stderr", "-c", "/run/nginx.conf", "-g", "daemon off;")
    running = start(lab, find_program("nginx"), *arguments, files=files)
    return running.wait_listening(PORT)


def return_444(lab: Lab) -> None:
    """``return 444`` where reset_timedout_connection is on: nginx closes with SO_LINGER 0."""
    nginx(lab, "reset_timedout_connection on;", "location / { return 444; }")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    wait_reset(client)


def slow_client(lab: Lab) -> None:
    """A client is slower than client_header_timeout, and reset_timedout_connection is on."""
    nginx(lab, "reset_timedout_connection on; client_header_timeout 200ms;", "")
    client = connect(lab, PORT)
    client.sendall(REQUEST[:10])
    wait_reset(client)


def return_444_with_body(lab: Lab) -> None:
    """``return 444`` for an upload, as nginx is by default: it closes with the body unread."""
    nginx(lab, "", "location / { return 444; }")
    client = connect(lab, PORT)
    client.sendall(UPLOAD + b"x" * 8000)
    wait_reset(client)


def upload_refused(lab: Lab) -> None:
    """A body larger than client_max_body_size: nginx answers 413, reads on for lingering_timeout,
    and the rest of the body comes later.
    """
    nginx(lab, "lingering_timeout 1100ms; client_max_body_size 1k;", "")
    client = connect(lab, PORT)
    client.sendall(UPLOAD)
    wait_state(client, "CLOSE_WAIT")
    client.sendall(b"x" * 1000)
    wait_state(client, "CLOSE")


def keepalive(lab: Lab) -> None:
    """A client sends its next request after keepalive_timeout has closed the connection. What is
    closed sooner, within less than people set there, was closed for another reason.
    """
    nginx(lab, "keepalive_timeout 4100ms;", "location / { return 204; }")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    lab.wait_for(lambda: info(client).state == "CLOSE_WAIT", "nginx's FIN", PATIENCE)
    client.sendall(REQUEST)
    wait_state(client, "CLOSE")


def upstream_down(lab: Lab) -> None:
    """Nothing listens where proxy_pass leads: 502."""
    upstream = at(lab.address["server"], CLOSED_PORT)
    nginx(lab, "", f"location / {{ proxy_pass http://{upstream}; }}")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    lab.wait_readable(client, 12)
    if b" 502 " not in (answer := client.recv(4096)):
        raise LabError(f"expected 502, got {answer[:20]!r}")


def upstream_slow(lab: Lab) -> None:
    """The upstream answers after proxy_read_timeout has made nginx give up: 504."""
    upstream = lab.listen("client")
    address = at(lab.address["client"], upstream.getsockname()[1])
    nginx(lab, "proxy_read_timeout 100ms;", f"location / {{ proxy_pass http://{address}; }}")
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    backend = lab.accept(upstream)
    wait_state(backend, "CLOSE_WAIT")
    backend.sendall(b"HTTP/1.0 204 late\r\n\r\n")
    wait_state(backend, "CLOSE")


def worker_killed(lab: Lab) -> None:
    """A worker is killed while a request waits to be read."""
    running = nginx(lab, "", "location / { return 204; }")
    (worker,) = running.children()
    client = connect(lab, PORT)
    client.sendall(REQUEST)
    lab.wait_readable(client)
    client.recv(4096)
    os.kill(worker, signal.SIGSTOP)
    client.sendall(REQUEST)
    settle(client)
    os.kill(worker, signal.SIGKILL)
    wait_reset(client)


VARIANTS = {
    "return-444": (
        (sent("linger-zero", "nginx", "reset_timedout_connection off;"), RESET),
        return_444,
    ),
    "return-444-with-body": (
        (sent("unread-data-on-close", "nginx", "return 444"), RESET),
        return_444_with_body,
    ),
    "slow-client": (
        (sent("linger-zero", "nginx", "reset_timedout_connection off;"), RESET),
        slow_client,
    ),
    "upload-refused": (
        (sent("data-after-close", "nginx", "lingering_timeout"), CLOSED_FIRST),
        upload_refused,
    ),
    "keepalive": (
        (sent("data-after-close", "nginx", "keepalive_timeout"), CLOSED_FIRST),
        keepalive,
    ),
    "upstream-down": (refused("nginx", "proxy_pass"), upstream_down),
    "upstream-slow": (
        (sent("data-after-close", "nginx", "proxy_read_timeout"), CLOSED_FIRST),
        upstream_slow,
    ),
    "worker-killed": (
        (sent("process-exit-unread-data", "nginx", "SIGKILL", "error_log"), RESET),
        worker_killed,
    ),
}
