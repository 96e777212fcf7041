"""One visit to an address: connect, say hello in TLS if asked, wait for what comes, leave politely.

It runs in a child process with the caller's rights. The sockets are plain, blocking ones with a
time limit, so that what the kernel does is what it does for any client.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rsttrace.report.model import Attempt

MOST_ADDRESSES = 4
READ_BYTES = 65536
ENOUGH_BYTES = 1 << 20
LEAVE_SECONDS = 0.3  # for the other end's FIN
DISCARD_PORT = 9
# what OpenSSL says of an answer that is no TLS (SSL_R_..., in words)
FOREIGN = (
    *("wrong version number", "record layer failure", "packet length too long", "http request"),
    *("unknown protocol", "bad record type", "unexpected message"),
)
NO_TLS = "Perhaps the other end does not speak TLS on this port."

CONNECT, TLS, WAIT = "connect", "tls", "wait"
REFUSED = {errno.ECONNREFUSED: "refused"}
# ENOTCONN: it was connected, and the TLS library asked for the peer's name too late
RESET = dict.fromkeys((errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN), "reset")
UNREACHABLE = dict.fromkeys(
    (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN), "unreachable"
)
LATE = {errno.ETIMEDOUT: "timeout"}
OUTCOMES = {**REFUSED, **RESET, **UNREACHABLE, **LATE}

Sockaddr = tuple[Any, ...]


@dataclass(frozen=True)
class Plan:
    """What to do at each address. ``name``: for the TLS hello (SNI), empty for an address."""

    tls: bool
    name: str
    timeout_s: float
    wait_s: float


def look_up(host: str, port: int, family: int | None) -> list[tuple[int, Sockaddr]]:
    """(address family, address) of a name, the first few; OSError (gaierror) if there is none."""
    wanted = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    rows = socket.getaddrinfo(host, port, wanted, socket.SOCK_STREAM)
    found = list(dict.fromkeys((int(row[0]), row[4]) for row in rows))
    return found[:MOST_ADDRESSES]


def outcome_of(err: OSError) -> tuple[str, str | None]:
    """The outcome, and the errno's name."""
    if isinstance(err, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "closed", None
    if isinstance(err, ssl.SSLError):
        return "tls-failed", None
    if isinstance(err, socket.timeout) and err.errno is None:  # the limit of the socket
        return "timeout", None
    number = err.errno or 0
    return OUTCOMES.get(number, "error"), errno.errorcode.get(number)


def sentence(outcome: str, when: str, said: str, seconds: float, received: int) -> str:
    """What happened, for people. ``said``: the system's or the TLS library's words."""
    after = f"after {seconds:.3f} s"
    at_step = {CONNECT: "while connecting", TLS: "in the TLS handshake", WAIT: "once connected"}
    if outcome == "reset" and when == CONNECT:  # a refusal is another errno: the handshake was done
        return f"Connected, and reset at once, {after}."
    got = f" {received} bytes had come." if received else ""
    failed = "The TLS handshake failed" if when == TLS else "TLS failed after the handshake"
    other = f" {NO_TLS}" if when == TLS and said.startswith(FOREIGN) else ""
    texts = {
        "refused": f"Refused, {after}.",
        "reset": f"Reset {at_step[when]}, {after}.{got}",
        "closed": f"The other end closed the connection {at_step[when]}, {after}.{got}",
        "timeout": f"Nothing came {at_step[when]} for {seconds:.1f} s.",
        "unreachable": f"Not reachable: {said}.",
        "tls-ok": f"The TLS handshake worked ({said}); then nothing happened.",
        "tls-failed": f"{failed}: {said}.{other}{got}",
        "answered": f"Connected; {received} bytes came.",
        "connected": "Connected; then nothing happened.",
    }
    return texts.get(outcome, f"It failed {at_step[when]}: {said}.")


class Visit:
    """``run`` gives the finished Attempt; ``began`` is told as soon as the local port is known."""

    def __init__(self, family: int, address: Sockaddr, plan: Plan) -> None:
        self._family = socket.AddressFamily(family)
        self._address = address
        self._plan = plan
        self._start = time.monotonic()
        self._ended = 0.0
        self._when = CONNECT
        self._connect_ms: float | None = None
        self._received = 0
        self._local = ("", 0)

    def run(self, began: Callable[[Attempt], None]) -> Attempt:
        """Never raises: what went wrong is the outcome."""
        outcome, number, said = "error", None, ""
        try:
            with socket.socket(self._family, socket.SOCK_STREAM) as sock:
                sock.settimeout(self._plan.timeout_s)
                self._local = self._bound(sock)
                began(self._attempt("error", None))
                outcome, said = self._talk(sock)
        except OSError as err:
            outcome, number = outcome_of(err)
            said = _words(err)
        except ValueError as err:  # a name that cannot be in a TLS hello
            said = str(err)
        done = self._attempt(outcome, number)
        text = sentence(outcome, self._when, said, done.seconds, self._received)
        return replace(done, text=text)

    def _attempt(self, outcome: str, number: str | None) -> Attempt:
        return Attempt(
            address=_bare(self._address[0]),
            port=self._address[1],
            local_address=_bare(self._local[0]),
            local_port=self._local[1],
            outcome=outcome,
            when=self._when,
            errno=number,
            connect_ms=self._connect_ms,
            seconds=round((self._ended or time.monotonic()) - self._start, 6),
            received=self._received,
        )

    def _bound(self, sock: socket.socket) -> tuple[str, int]:
        """Take a local port now: after a refused connect() nobody knows it any more."""
        local = ""
        with contextlib.suppress(OSError), socket.socket(self._family, socket.SOCK_DGRAM) as other:
            other.connect((self._address[0], DISCARD_PORT, *self._address[2:]))  # sends nothing
            local = other.getsockname()[0]
        with contextlib.suppress(OSError):
            sock.bind(("", 0))
        return local, sock.getsockname()[1]

    def _talk(self, sock: socket.socket) -> tuple[str, str]:
        """(outcome, words) of a visit that went well."""
        sock.connect(self._address)
        self._connect_ms = round((time.monotonic() - self._start) * 1000, 3)
        self._local = sock.getsockname()[:2]
        if not self._plan.tls:
            return self._watched(sock), ""
        self._when = TLS
        with _hello(sock, self._plan.name) as secured:
            try:
                secured.do_handshake()
            except OSError:
                self._leave(secured)
                raise
            version = secured.version() or ""
            outcome = self._watched(secured)
            return ("tls-ok" if outcome == "connected" else outcome), version

    def _watched(self, sock: socket.socket) -> str:
        """The outcome of waiting for what comes."""
        self._when = WAIT
        try:
            if self._is_closed(sock):
                return "closed"
            return "answered" if self._received else "connected"
        finally:
            self._leave(sock)

    def _is_closed(self, sock: socket.socket) -> bool:
        """Read until the other end closes, or the time is over."""
        until = time.monotonic() + self._plan.wait_s
        while (left := until - time.monotonic()) > 0 and self._received < ENOUGH_BYTES:
            sock.settimeout(left)
            try:
                data = sock.recv(READ_BYTES)
            except socket.timeout as err:
                if err.errno:  # not our limit: the kernel gave the connection up
                    raise
                break
            if not data:
                return True
            self._received += len(data)
        return False

    def _leave(self, sock: socket.socket) -> None:
        """A FIN, and read what still comes: closing with data unread would reset, by us."""
        self._ended = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            sock.settimeout(LEAVE_SECONDS)
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)  # from here on without TLS
            while (left := self._ended + LEAVE_SECONDS - time.monotonic()) > 0:
                sock.settimeout(left)
                if not sock.recv(READ_BYTES):
                    break


def _hello(sock: socket.socket, name: str) -> ssl.SSLSocket:
    """Not verified: whose certificate it is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=name or None, do_handshake_on_connect=False)


def _words(err: OSError) -> str:
    if isinstance(err, ssl.SSLError):
        return (err.reason or str(err)).replace("_", " ").lower()
    return err.strerror or str(err)


def _bare(address: str) -> str:
    """Without the zone of a link-local address."""
    return address.partition("%")[0]
