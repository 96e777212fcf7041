"""A RST meets the entry that waits in TIME_WAIT for late segments of a finished connection.

``tcp_timewait_state_process`` deletes the entry if the sequence number is exactly the next one
expected, unless net.ipv4.tcp_rfc1337 is 1; otherwise it ignores the RST. No tcp_receive_reset
fires, and the RST is freed without a reason; the entry's own numbers tell what became of it.
"""

from __future__ import annotations

from socket import SHUT_WR

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError
from rsttrace.lab.blind_reset_rejected import FORGED, deliver

CAUSE = "timewait-assassination"
KILLED = Expect("received", CAUSE, end="client", state="TIME_WAIT", facts={"errno": None})
IGNORED = Expect("rejected", CAUSE, end="client", state="TIME_WAIT", facts={"errno": None})
EXPECT = (FORGED, KILLED)
SURVIVED = (FORGED, IGNORED)
BY_OLD_SEGMENT = (Expect("sent", "late-segment", end="server", confidence="likely"), KILLED)


class TimeWait:
    """A connection that the client closed first: it is in TIME_WAIT there, and gone here."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        listener = lab.listen()
        client, server = lab.pair(listener=listener)
        listener.close()
        self.ports = (server.getsockname()[1], client.getsockname()[1])
        self.seq, self.ack = tcp.sequence(server)  # before the FINs, which count one each
        client.shutdown(SHUT_WR)
        lab.wait_state(server, "CLOSE_WAIT")
        server.close()
        client.close()
        self.wait(["TIME_WAIT"])
        lab.wait_for(lambda: not lab.connections("server", self.ports[0]), "the last ACK")

    def wait(self, states: list[str]) -> None:
        lab, port = self.lab, self.ports[1]
        lab.wait_for(lambda: lab.connections("client", port) == states, f"the client in {states}")

    def hit(self, offset: int = 0) -> None:
        """A forged RST, ``offset`` off the number that the entry expects."""
        deliver(self.lab, "server", self.ports, tcp.RST, self.seq + 1 + offset)


def forged(lab: Lab) -> None:
    """A RST with just the right number."""
    connection = TimeWait(lab)
    connection.hit()
    connection.wait([])


def old_segment(lab: Lab) -> None:
    """An old segment draws an ACK, and that ACK draws the RST (RFC 1337, hazard H1)."""
    connection = TimeWait(lab)
    lab.send_segment(
        "server",
        connection.ports,
        tcp.PSH | tcp.ACK,
        connection.seq - 7,
        connection.ack,
        b"answer\n",
    )
    connection.wait([])


def protected(lab: Lab) -> None:
    """net.ipv4.tcp_rfc1337=1: the entry stays."""
    lab.sysctl("client", "net.ipv4.tcp_rfc1337", "1")
    survives(lab, 0)


def wrong_number(lab: Lab) -> None:
    """Any other sequence number does nothing."""
    survives(lab, 100)


def survives(lab: Lab, offset: int) -> None:
    connection = TimeWait(lab)
    connection.hit(offset)
    if lab.connections("client", connection.ports[1]) != ["TIME_WAIT"]:
        raise LabError("the entry in TIME_WAIT is gone")


VARIANTS = {
    "forged": (EXPECT, forged),
    "old-segment": (BY_OLD_SEGMENT, old_segment),
    "protected": (SURVIVED, protected),
    "wrong-number": (SURVIVED, wrong_number),
}
