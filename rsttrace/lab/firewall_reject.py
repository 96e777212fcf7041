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
TOPOLOGY = {
    "nft-forward": "router",
    "iptables-forward": "router",
    "nft-bridge": "bridge",
    "bridge-netfilter": "bridge",
}
SENT = Expect("sent", "firewall-reject", end="server")
EXPECT = (SENT, closed_port.EXPECT[1])
OWN_FIREWALL = (Expect("sent", "firewall-reject", end="client"), closed_port.EXPECT[1])
MID_CONNECTION = (SENT, received("peer-reset", "ESTABLISHED", "ECONNRESET"))
ROUTER = (Expect("sent", "firewall-reject", end="router"), closed_port.EXPECT[1])
BRIDGE = (Expect("sent", "firewall-reject", end="bridge"), closed_port.EXPECT[1])


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


def iptables_legacy(lab: Lab) -> None:
    lab.listen(port=PORT)
    command = "iptables-legacy" if lab.family == AF_INET else "ip6tables-legacy"
    rule = f"-A INPUT -p tcp --dport {PORT} -j REJECT --reject-with tcp-reset"
    lab.prepare("server", command, *rule.split())
    closed_port.knock(lab)


def nft_output(lab: Lab) -> None:
    """The client's own firewall rejects its SYN (output hook): the RST never leaves the host."""
    lab.listen(port=PORT)
    lab.firewall("client", "output", f"tcp dport {PORT} reject with tcp reset")
    closed_port.knock(lab)


def nft_prerouting(lab: Lab) -> None:
    lab.listen(port=PORT)
    lab.firewall("server", "prerouting", f"tcp dport {PORT} reject with tcp reset")
    closed_port.knock(lab)

def _ingress(lab, family):
    lab.listen(port=PORT)
    chain = f"type filter hook ingress device veth0 priority 0; tcp dport {PORT} reject with tcp reset;"
    lab.prepare("server", "nft", "-f", "-", input=f"table {family} lab {{\nchain in {{ {chain} }}\n}}\n")
    closed_port.knock(lab)

def netdev(lab: Lab) -> None:
    _ingress(lab, "netdev")

def ingress(lab: Lab) -> None:
    _ingress(lab, "inet")

def nft_forward(lab: Lab) -> None:
    lab.listen(port=PORT)
    lab.firewall("router", "forward", f"tcp dport {PORT} reject with tcp reset")
    closed_port.knock(lab)

def iptables_forward(lab: Lab) -> None:
    lab.listen(port=PORT)
    command = "iptables" if lab.family == AF_INET else "ip6tables"
    rule = f"-A FORWARD -p tcp --dport {PORT} -j REJECT --reject-with tcp-reset"
    lab.prepare("router", command, *rule.split())
    closed_port.knock(lab)

def nft_bridge(lab: Lab) -> None:
    lab.listen(port=PORT)
    chain = f"type filter hook prerouting priority 0; tcp dport {PORT} reject with tcp reset;"
    lab.prepare("bridge", "nft", "-f", "-", input=f"table bridge lab {{\nchain in {{ {chain} }}\n}}\n")
    closed_port.knock(lab)

def bridge_netfilter(lab: Lab) -> None:
    lab.listen(port=PORT)
    kind = "ip" if lab.family == AF_INET else "ip6"
    lab.sysctl("bridge", f"net.bridge.bridge-nf-call-{kind}tables", "1")
    lab.sysctl("bridge", "net.ipv6.conf.all.disable_ipv6", "0")
    route = f"-{6 if kind == 'ip6' else 4} route add {lab.address['client']} dev br0"
    lab.prepare("bridge", "ip", *route.split())
    lab.firewall("bridge", "forward", f"tcp dport {PORT} reject with tcp reset")
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
    "iptables-legacy": (EXPECT, iptables_legacy),
    "nft-output": (OWN_FIREWALL, nft_output),
    "nft-prerouting": (EXPECT, nft_prerouting),
    "netdev": (EXPECT, netdev),
    "ingress": (EXPECT, ingress),
    "nft-forward": (ROUTER, nft_forward),
    "iptables-forward": (ROUTER, iptables_forward),
    "nft-bridge": (BRIDGE, nft_bridge),
    "bridge-netfilter": (BRIDGE, bridge_netfilter),
    "mid-connection": (MID_CONNECTION, mid_connection),
}
