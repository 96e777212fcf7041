"""This host's own firewall drops the RST that its TCP has made.

An nftables rule in the server's output hook drops every RST. TCP decides as always
(``tcp_send_reset``, TcpOutRsts), then ``kfree_skb`` reports the RST itself as NETFILTER_DROP, with
the function that made it in the stack. Nothing arrives: the client notices nothing, waits and
repeats. An active reset also counts TCPAbortFailed.
"""

from __future__ import annotations

from rsttrace.lab import closed_port, tcp, unread_data_on_close
from rsttrace.lab.base import Expect, Expected, Lab, LabError

CAUSE = "reset-suppressed"
DROP_RESETS = "tcp flags & rst == rst drop"


def expect(cause: str, state_before: str | None) -> Expected:
    """``cause``: what TCP wanted to reset for."""
    facts = {"suppressed_cause": cause, "state_before": state_before, "peer_id": None}
    return (Expect("suppressed", CAUSE, end="server", facts=facts),)


def passive(lab: Lab) -> None:
    """A closed port: the client's SYN is not refused, connect() just waits."""
    lab.firewall("server", "output", DROP_RESETS)
    client, before = lab.socket("client"), lab.out_rsts("server")
    client.setblocking(False)
    client.connect_ex((lab.address["server"], closed_port.PORT))
    lab.wait_for(lambda: lab.out_rsts("server") > before, "the server's answer to the SYN")
    if tcp.info(client).state != "SYN_SENT":
        raise LabError("the client must not learn of the RST")
    client.close()  # before it repeats its SYN


def active(lab: Lab) -> None:
    """A close with unread data: the client goes on with a connection that is gone."""
    client, server = unread_data_on_close.unread_pair(lab)
    lab.firewall("server", "output", DROP_RESETS)
    server.close()
    if tcp.info(client).state != "ESTABLISHED":
        raise LabError("the client must not learn of the RST")


VARIANTS = {
    "passive": (expect("closed-port", None), passive),
    "active": (expect("unread-data-on-close", "ESTABLISHED"), active),
}
