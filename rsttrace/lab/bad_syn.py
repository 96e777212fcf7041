"""A SYN where none may be, or flags that no TCP sends.

A second SYN with another number, but within the window, for a connection that is half open:
``tcp_check_req`` resets and drops the request (INVALID_SYN, although a full accept queue has the
same reason). The same for a connection in FIN_WAIT2 of which only the timewait entry is left
(``tcp_timewait_state_process``, TCP_TIMEWAIT_SOCKET). Both happen to a client that gives up and
connects again from the same port at once: it is refused although the service is up.

Scanners send what no TCP sends: no flag at all, FIN without ACK, SYN with FIN. On a closed port all
that is answered as RFC 9293 asks (NO_SOCKET).
"""

from __future__ import annotations

import errno
from socket import socket

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, received
from rsttrace.lab.blind_reset_rejected import deliver
from rsttrace.lab.timewait_collision import start_at

CAUSE = "bad-syn"
REFUSED = received("connection-refused", "SYN_SENT", "ECONNREFUSED")
EXPECT = (Expect("sent", CAUSE, end="server", state="LISTEN"), REFUSED)
IN_FIN_WAIT2 = (Expect("sent", CAUSE, end="server", state="TIME_WAIT"), REFUSED)
SCAN = (
    Expect("sent", CAUSE, end="server"),
    Expect("rejected", "reset-no-socket", end="client"),
)
PORTS, START = (40001, 8080), 0x30000000
URG = 0x20
IN_WINDOW = 1000


def second_syn(lab: Lab) -> None:
    """The client gives up before the SYN+ACK has come, and connects again from the same port."""
    listener = lab.listen()
    port = listener.getsockname()[1]
    lab.firewall("client", "input", "tcp flags & (syn|ack) == (syn|ack) drop")
    first = lab.socket("client")
    first.setblocking(False)
    first.connect_ex(listener.getsockname())
    lab.wait_for(lambda: lab.connections("server", port) == ["SYN_RECV"], "the request")
    address, (number, _) = first.getsockname(), tcp.sequence(first)
    first.close()
    refused(lab, address, listener, number)


def fin_wait2(lab: Lab) -> None:
    """The server has closed and waits for the client's FIN; the client crashed and comes again."""
    listener = lab.listen()
    client, server = lab.pair(listener=listener)
    address, (number, _) = client.getsockname(), tcp.sequence(client)
    server.close()
    lab.wait_state(client, "CLOSE_WAIT")
    port = listener.getsockname()[1]
    lab.wait_for(lambda: lab.connections("server", port) == ["FIN_WAIT2"], "FIN_WAIT2")
    tcp.close_quietly(client)
    refused(lab, address, listener, number)


def refused(lab: Lab, address: tuple[str, int], listener: socket, number: int) -> None:
    """Hosts number by the clock: a millisecond later the window of the first is still open."""
    again = lab.socket("client")
    again.bind(address)
    start_at(again, number + IN_WINDOW)
    tcp.must_fail(errno.ECONNREFUSED, again.connect, listener.getsockname())


def scan(lab: Lab, flags: int) -> None:
    deliver(lab, "client", PORTS, flags, START)


def no_flags(lab: Lab) -> None:
    """nmap -sN."""
    scan(lab, 0)


def fin(lab: Lab) -> None:
    """nmap -sF."""
    scan(lab, tcp.FIN)


def xmas(lab: Lab) -> None:
    """nmap -sX."""
    scan(lab, tcp.FIN | tcp.PSH | URG)


def syn_fin(lab: Lab) -> None:
    """SYN and FIN at once."""
    scan(lab, tcp.SYN | tcp.FIN)


VARIANTS = {
    "second-syn": (EXPECT, second_syn),
    "fin-wait2": (IN_FIN_WAIT2, fin_wait2),
    "no-flags": (SCAN, no_flags),
    "fin": (SCAN, fin),
    "xmas": (SCAN, xmas),
    "syn-fin": (SCAN, syn_fin),
}
