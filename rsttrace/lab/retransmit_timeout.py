"""Nothing that was sent is acknowledged any more: the kernel gives up, and sends no RST.

``tcp_write_timeout`` (or ``tcp_probe_timer``, at a closed window) counts retransmissions or time
against net.ipv4.tcp_retries2, tcp_syn_retries or TCP_USER_TIMEOUT; ``tcp_write_err`` then hands the
application ETIMEDOUT, or the ICMP error noted on the way. The peer is not told: it keeps its half
of the connection, and whatever it sends later is answered with a RST.
"""

from __future__ import annotations

import errno
from socket import IPPROTO_TCP, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, TCP_USER_TIMEOUT, socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "retransmit-timeout"
PORT = 8080


def expect(state: str, number: str = "ETIMEDOUT") -> Expected:
    facts = {"errno": number, "state_before": state}
    return (Expect("none", CAUSE, end="client", facts=facts),)


EXPECT = expect("ESTABLISHED")
CONNECT = expect("SYN_SENT")
NOTED = expect("ESTABLISHED", "EHOSTUNREACH")
LATER = (
    *EXPECT,
    Expect("sent", "stale-connection", end="client"),
    received("peer-reset", "ESTABLISHED", "ECONNRESET", end="server"),
)


def hurry(sock: socket) -> None:
    """Give up as soon as the first retransmission got no answer either."""
    sock.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 50)


def gives_up(lab: Lab, sock: socket, code: int = errno.ETIMEDOUT) -> None:
    lab.wait_state(sock, "CLOSE")
    tcp.must_fail(code, sock.recv, 1)


def lose(lab: Lab, server: socket, verdict: str = "drop") -> None:
    """From now on the client's data does not get through."""
    port = server.getsockname()[1]
    lab.firewall("server", "input", f"tcp dport {port} tcp flags & psh == psh {verdict}")


def retries(lab: Lab) -> None:
    """The retransmissions run out (net.ipv4.tcp_retries2)."""
    lab.sysctl("client", "net.ipv4.tcp_retries2", "1")
    client, server = lab.pair()
    lose(lab, server)
    client.sendall(b"anybody?\n")
    gives_up(lab, client)


def user_timeout(lab: Lab) -> None:
    """The application's own limit is over (TCP_USER_TIMEOUT)."""
    time_out(lab)


def time_out(lab: Lab) -> socket:
    """The client's end of a connection times out; the server's end, which lives on."""
    client, server = lab.pair()
    lose(lab, server)
    hurry(client)
    client.sendall(b"anybody?\n")
    gives_up(lab, client)
    return server


def peer_speaks_later(lab: Lab) -> None:
    """The peer knows nothing of it; what it sends later is answered with a RST."""
    server = time_out(lab)
    server.sendall(b"here I am\n")
    lab.wait_reset(server)


def connecting(lab: Lab) -> None:
    """The SYN is not answered, nor its repetition."""
    lab.firewall("server", "input", f"tcp dport {PORT} drop")
    client = lab.socket("client")
    hurry(client)
    tcp.must_fail(errno.ETIMEDOUT, client.connect, (lab.address["server"], PORT))


def icmp_noted(lab: Lab) -> None:
    """A router says that the host cannot be reached; an established connection only notes that."""
    kind = "icmp" if lab.family.name == "AF_INET" else "icmpv6"
    name = "host-unreachable" if kind == "icmp" else "addr-unreachable"
    client, server = lab.pair()
    lose(lab, server, f"reject with {kind} type {name}")
    hurry(client)
    client.sendall(b"anybody?\n")
    gives_up(lab, client, errno.EHOSTUNREACH)


def closed_window(lab: Lab) -> None:
    """The peer is there and answers, but its application does not read for too long."""
    listener = lab.socket("server")
    listener.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
    listener.bind((lab.address["server"], PORT))
    listener.listen()
    client, _ = lab.pair(listener=listener)
    client.setsockopt(SOL_SOCKET, SO_SNDBUF, 65536)
    hurry(client)
    client.setblocking(False)
    try:
        while True:
            client.send(b"x" * 4096)
    except BlockingIOError:
        pass
    lab.wait_state(client, "CLOSE")
    tcp.must_fail(errno.ETIMEDOUT, client.send, b"x")


VARIANTS = {
    "retries": (EXPECT, retries),
    "user-timeout": (EXPECT, user_timeout),
    "peer-speaks-later": (LATER, peer_speaks_later),
    "connecting": (CONNECT, connecting),
    "icmp-noted": (NOTED, icmp_noted),
    "closed-window": (EXPECT, closed_window),
}
