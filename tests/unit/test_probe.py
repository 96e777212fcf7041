"""HOST:PORT, the outcome of a connection that was tried, and visits to servers in this process."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rsttrace.diagnose.probe import Visits, why_not_found
from rsttrace.diagnose.target import Target, parse_target
from rsttrace.diagnose.visit import CONNECT, TLS, WAIT, Plan, Visit, look_up, outcome_of, sentence
from rsttrace.report.model import Attempt

# -- targets


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("web:80", Target("web", 80)),
        ("web.example.:65535", Target("web.example.", 65535)),
        ("10.0.0.7:1", Target("10.0.0.7", 1)),
        ("[fd00::7]:443", Target("fd00::7", 443)),
        ("[fe80::1%eth0]:443", Target("fe80::1%eth0", 443)),
        ("http://web", Target("web", 80)),
        ("HTTPS://Web/a:b?c#d", Target("web", 443, True)),
        ("https://user:secret@web:8443/", Target("web", 8443, True)),
        ("https://[fd00::7]/", Target("fd00::7", 443, True)),
        ("wss://web/chat", Target("web", 443, True)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        *("", "web", ":80", "web:", "web:80:90", "web:-1", "web:+80", "web: 80", "a b:80"),
        *("[]:80", "[web]:80", "fd00::7", "fd00::7:443", "web:065536", "web:²", "[fd00::7]"),
        *("://x", "x://", "https://web:0/", "https://web:99999/", "https://[fd00::7/"),
        "tcp://web:80",
    ],
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


def test_text_of_a_target() -> None:
    assert str(Target("fd00::7", 443)) == "[fd00::7]:443"
    assert str(Target("web", 80)) == "web:80"
    assert [Target(h, 1).is_address for h in ("fd00::7", "10.0.0.7", "web")] == [True, True, False]


# -- outcomes


@pytest.mark.parametrize(
    ("err", "outcome", "number"),
    [
        (OSError(errno.ECONNREFUSED, ""), "refused", "ECONNREFUSED"),
        (OSError(errno.ECONNRESET, ""), "reset", "ECONNRESET"),
        (OSError(errno.EPIPE, ""), "reset", "EPIPE"),
        (OSError(errno.ETIMEDOUT, ""), "timeout", "ETIMEDOUT"),
        (socket.timeout("timed out"), "timeout", None),
        (OSError(errno.EHOSTUNREACH, ""), "unreachable", "EHOSTUNREACH"),
        (OSError(errno.ENETUNREACH, ""), "unreachable", "ENETUNREACH"),
        (OSError(errno.EACCES, ""), "error", "EACCES"),
        (OSError("no number"), "error", None),
        (ssl.SSLEOFError(8, "EOF"), "closed", None),
        (ssl.SSLError(1, "[SSL: X] alert"), "tls-failed", None),
        (ssl.SSLCertVerificationError(1, "bad"), "tls-failed", None),
    ],
)
def test_outcomes(err: OSError, outcome: str, number: str | None) -> None:
    assert outcome_of(err) == (outcome, number)


OUTCOMES = ("connected", "refused", "reset", "closed", "timeout", "unreachable", "tls-ok")
OUTCOMES += ("tls-failed", "answered", "error")


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("when", [CONNECT, TLS, WAIT])
def test_every_outcome_is_a_sentence(outcome: str, when: str) -> None:
    text = sentence(outcome, when, "why", 0.25, 7)
    assert text.endswith(".")
    assert text[0].isupper()


def test_a_tls_hello_to_what_speaks_no_tls() -> None:
    assert sentence("tls-failed", TLS, "wrong version number", 0.25, 0) == (
        "The TLS handshake failed: wrong version number. Perhaps the other end does not speak TLS "
        "on this port."
    )
    plain = sentence("tls-failed", TLS, "tlsv1 alert access denied", 0.25, 0)
    assert plain == "The TLS handshake failed: tlsv1 alert access denied."
    later = sentence("tls-failed", WAIT, "wrong version number", 0.25, 0)
    assert later == "TLS failed after the handshake: wrong version number."


def test_names_that_are_not_found() -> None:
    err = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert why_not_found("web", err, False) == (
        "The name web was not found: Name or service not known."
    )
    assert "inside that network namespace" in why_not_found("web", err, True)
    with pytest.raises(UnicodeError) as caught:
        look_up("a" * 70 + ".b", 1, None)
    assert why_not_found("x", caught.value, False) == "The name x was not found: it is no name."


def test_look_up_of_addresses() -> None:
    assert look_up("127.0.0.1", 80, None) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert look_up("::1", 80, 6) == [(socket.AF_INET6, ("::1", 80, 0, 0))]
    with pytest.raises(socket.gaierror):
        look_up("127.0.0.1", 80, 6)


# -- visits


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Accepts once and then does that; closes at the end of the test, after the visitor."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def live() -> None:
            with listener.accept()[0] as connection:
                serve(connection)
                over.wait()

        thread = threading.Thread(target=live)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            over.set()
            thread.join()


def visit(address: tuple[str, int], tls: bool = False, **plan: float) -> tuple[Attempt, Attempt]:
    """What was told at the beginning, and at the end."""
    began: list[Attempt] = []
    limits = {"timeout_s": 20.0, "wait_s": 0.05, **plan}
    done = Visit(socket.AF_INET, address, Plan(tls, "", **limits)).run(began.append)
    return began[0], done


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        began, done = visit(reserved.getsockname())
        assert (done.outcome, done.when, done.errno) == ("refused", "connect", "ECONNREFUSED")
        assert (done.address, done.port) == reserved.getsockname()
    assert done.local_address == "127.0.0.1"
    assert done.local_port == began.local_port > 0
    assert done.connect_ms is None


def test_nothing_happens() -> None:
    with server(lambda connection: None) as address:
        began, done = visit(address)
    assert (done.outcome, done.when, done.errno) == ("connected", "wait", None)
    assert done.connect_ms is not None
    assert done.local_port == began.local_port
    assert 0.05 <= done.seconds < 5


def test_data_comes() -> None:
    with server(lambda connection: connection.sendall(b"hello")) as address:
        _, done = visit(address)
    assert (done.outcome, done.received) == ("answered", 5)


def test_it_is_closed() -> None:
    with server(lambda connection: connection.shutdown(socket.SHUT_WR)) as address:
        _, done = visit(address, wait_s=20.0)
    assert (done.outcome, done.when) == ("closed", "wait")
    assert done.seconds < 15


def test_it_is_reset_while_it_waits() -> None:
    gate = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        gate.wait()
        reset(connection)

    with server(serve) as address:
        plan = Plan(False, "", 20.0, 20.0)
        one = Visit(socket.AF_INET, address, plan)
        # the server resets once the client has what was sent, and so is connected
        waits = one._is_closed

        def is_closed(sock: socket.socket) -> bool:
            sock.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL)
            gate.set()
            return waits(sock)

        one._is_closed = is_closed  # type: ignore[method-assign]
        done = one.run(lambda _: None)
    assert (done.outcome, done.when, done.errno) == ("reset", "wait", "ECONNRESET")


def test_it_is_reset_at_once() -> None:
    """Sooner or later than connect() returns: never refused, never fine."""
    with server(reset) as address:
        _, done = visit(address, wait_s=20.0)
    assert (done.outcome, done.errno) == ("reset", "ECONNRESET")


def test_reset_instead_of_a_tls_answer() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)  # of a whole hello
        reset(connection)

    with server(serve) as address:
        _, done = visit(address, tls=True)
    assert (done.outcome, done.when, done.errno) == ("reset", "tls", "ECONNRESET")


def test_closed_instead_of_a_tls_answer() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)

    with server(serve) as address:
        _, done = visit(address, tls=True)
    assert (done.outcome, done.when) == ("closed", "tls")


def test_no_tls_at_all() -> None:
    with server(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")) as address:
        _, done = visit(address, tls=True)
    assert (done.outcome, done.when) == ("tls-failed", "tls")
    assert "wrong version number" in done.text


def test_a_silent_tls_server() -> None:
    with server(lambda connection: None) as address:
        _, done = visit(address, tls=True, timeout_s=0.05)
    assert (done.outcome, done.when, done.errno) == ("timeout", "tls", None)


def test_it_leaves_politely() -> None:
    """The server sees an end of file and no error, also if it sent what nobody read in time."""
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"x" * 10)
        seen.append(connection.recv(10))
        connection.sendall(b"y" * 10)

    with server(serve) as address:
        _, done = visit(address)
    assert seen == [b""]
    assert done.outcome == "answered"


# -- the process that makes them


def finished(subject: Visits) -> Visits:
    subject.begin()
    try:
        while not subject.over():
            pass
    finally:
        subject.close()
    return subject


def test_all_addresses_are_tried() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        plan = Plan(False, "", 20.0, 0.05)
        subject = finished(Visits(Target("localhost", port), plan, 4, None, None))
    assert subject.probe.target == f"localhost:{port}"
    assert {a.outcome for a in subject.probe.attempts} == {"refused"}
    assert [v.lport for v in subject._visits] == [a.local_port for a in subject.probe.attempts]
    assert subject.what == f"connections to localhost:{port}"


def test_a_name_that_does_not_exist() -> None:
    plan = Plan(False, "", 20.0, 0.05)
    subject = finished(Visits(Target("a..b", 80), plan, None, None, None))
    assert subject.probe.attempts == ()
    assert "a..b was not found" in subject.probe.problem


def test_a_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """getaddrinfo() cannot be interrupted: its process can."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: threading.Event().wait())
    plan = Plan(False, "", 0.1, 0.05)
    subject = finished(Visits(Target("web", 80), plan, None, None, None))
    assert subject.probe.problem == (
        "web was not found within 0.1 s: the name server does not answer."
    )
    assert not os.path.exists(f"/proc/{subject._child.pid}")


def test_interrupted_in_the_middle() -> None:
    """Ctrl-C reaches that process as well: what it was at is still told."""
    with server(lambda connection: None) as address:
        subject = Visits(Target(*address), Plan(False, "", 20.0, 60.0), None, None, None)
        subject.begin()
        while not subject._visits:
            subject.over()
        os.kill(subject._child.pid, 2)
        finished(subject)
    (attempt,) = subject.probe.attempts
    assert attempt.outcome == "error"
    assert attempt.text == "Not finished: it was interrupted."
