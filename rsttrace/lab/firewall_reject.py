"""A firewall rule on this host rejects with a TCP reset.

``nf_send_reset`` (``nf_send_reset6``) builds the RST inside the nftables or iptables rule. It looks
like one of the kernel's own but does not pass ``tcp_send_reset`` and is not counted in TcpOutRsts:
only the wire hook sees it, with ``nf_send_reset`` in the stack; then the rejected segment is freed
with NETFILTER_DROP.
"""

from __future__ import annotations

from socket import AF_INET

from rsttrace.lab import closed_port
from rsttrace.lab.base import Expect, Lab, received

CAUSE = "firewall-reject"
PORT = closed_port.PORT
SENT = Expect("sent", "firewall-reject", end="server")
EXPECT = (SENT, closed_port.EXPECT[1])
OWN_FIREWALL = (Expect("sent", "firewall-reject", end="client"), closed_port.EXPECT[1])
MID_CONNECTION = (SENT, received("peer-reset", "ESTABLISHED", "ECONNRESET"))


def nft_input(lab: Lab) -> None:
    """nftables in the server's input hook; a service does listen behind it."""
    lab.listen(port=PORT)
    lab.firewall("server", "input", f"tcp dport {PORT} reject with tcp reset")
    closed_port.knock(lab)


def iptables_input(lab: Lab) -> None:
    """iptables or ip6tables with ``-j REJECT --reject-with tcp-reset``."""
    lab.listen(port=PORT)
    command = "iptables" if lab.family == AF_INET else "ip6tables"
    rule = f"-A INPUT -p tcp --dport {PORT} -j REJECT --reject-with tcp-reset"
    lab.prepare("server", command, *rule.split())
    closed_port.knock(lab)


def nft_output(lab: Lab) -> None:
    """The client's own firewall rejects its SYN (output hook): the RST never leaves the host."""
    lab.listen(port=PORT)
    lab.firewall("client", "output", f"tcp dport {PORT} reject with tcp reset")
    closed_port.knock(lab)


def mid_connection(lab: Lab) -> None:
    """The rule arrives while the connection lives; the next segment is rejected."""
    client, server = lab.pair()
    port = server.getsockname()[1]
    lab.firewall("server", "input", f"tcp dport {port} reject with tcp reset")
    client.sendall(b"next request\n")
    lab.wait_reset(client)


VARIANTS = {
    "nft-input": (EXPECT, nft_input),
    "iptables-input": (EXPECT, iptables_input),
    "nft-output": (OWN_FIREWALL, nft_output),
    "mid-connection": (MID_CONNECTION, mid_connection),
}
