"""A firewall rule on this host rejects with a TCP reset.

``nf_send_reset`` (``nf_send_reset6``) builds the RST inside the nftables or iptables rule. It looks
like one of the kernel's own but does not pass ``tcp_send_reset`` and is not counted in TcpOutRsts:
only the wire hook sees it, with ``nf_send_reset`` in the stack; then the rejected segment is freed
with NETFILTER_DROP. The stack also shows the hook and the kind of table; the rule itself is found
by reading the rules of the namespace, and each of these labs wants its own one named.
"""

from __future__ import annotations

from socket import AF_INET

from rsttrace.lab import closed_port
from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "firewall-reject"
TOPOLOGY = {
    "nft-forward": "router",
    "iptables-forward": "router",
    "nft-bridged": "bridge",
}
PORT = closed_port.PORT
REFUSED = closed_port.EXPECT[1]
RESET = received("peer-reset", "ESTABLISHED", "ECONNRESET")
REJECT = "reject with tcp reset"


class Names:
    """Equal to evidence that names one rule, which stands at this place."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __eq__(self, evidence: object) -> bool:
        lines = evidence if isinstance(evidence, list) else []
        return any(str(e).startswith("rule: ") and f"{self._place}: " in e for e in lines)

    def __hash__(self) -> int:
        return hash(self._place)

    def __repr__(self) -> str:
        return f"one with the rule at {self._place}"


def expect(end: str, place: str, other: Expect = REFUSED) -> Expected:
    """The firewall of ``end`` did it, by the rule at ``place``."""
    named = {"evidence": Names(place), "initiator": "local-firewall"}
    return (Expect("sent", CAUSE, end=end, facts=named), other)


def nft_input(lab: Lab) -> None:
    """nftables in the server's input hook; a service does listen behind it."""
    lab.listen(port=PORT)
    lab.firewall("server", "input", f"tcp dport {PORT} {REJECT}")
    closed_port.knock(lab)


def nft_jump(lab: Lab) -> None:
    """Among rules that do not fit, in a chain that a verdict map leads to."""
    lab.listen(port=PORT)
    rules = f"""table inet lab {{
        chain other {{
            {REJECT};
        }}
        chain service {{
            tcp dport != {PORT} {REJECT};
            tcp flags syn / fin,syn,rst,ack counter {REJECT};
            {REJECT};
        }}
        chain input {{
            type filter hook input priority 0;
            tcp dport {PORT + 1} {REJECT};
            iifname "lo" {REJECT};
            tcp dport vmap {{ {PORT + 2}: jump other, {PORT}: jump service }};
            {REJECT};
        }}
    }}
    """
    lab.prepare("server", "nft", "-f", "-", input=rules)
    closed_port.knock(lab)


def nft_prerouting(lab: Lab) -> None:
    """In the prerouting hook, before routing."""
    lab.listen(port=PORT)
    lab.firewall("server", "prerouting", f"tcp dport {PORT} {REJECT}")
    closed_port.knock(lab)


def nft_ingress(lab: Lab) -> None:
    """In the ingress hook of an inet table."""
    _ingress(lab, "inet")


def nft_netdev(lab: Lab) -> None:
    """In the ingress hook of a netdev table: the device sends the RST, without routing."""
    _ingress(lab, "netdev")


def _ingress(lab: Lab, family: str) -> None:
    lab.listen(port=PORT)
    hook = "type filter hook ingress device veth0 priority 0;"
    chain = f"chain in {{ {hook} tcp dport {PORT} {REJECT}; }}"
    lab.prepare("server", "nft", "-f", "-", input=f"table {family} lab {{\n{chain}\n}}\n")
    closed_port.knock(lab)


def nft_forward(lab: Lab) -> None:
    """On a router between the two: the RST has the server's address."""
    lab.listen(port=PORT)
    lab.firewall("router", "forward", f"tcp dport {PORT} {REJECT}")
    closed_port.knock(lab)


def nft_bridged(lab: Lab) -> None:
    """On a bridge that hands its packets to the rules for IP (br_netfilter)."""
    lab.listen(port=PORT)
    tables, family = ("iptables", "-4") if lab.family == AF_INET else ("ip6tables", "-6")
    lab.sysctl("bridge", f"net.bridge.bridge-nf-call-{tables}", "1")
    # it makes no RST that it could not route itself
    lab.sysctl("bridge", "net.ipv6.conf.all.disable_ipv6", "0")
    lab.prepare("bridge", "ip", family, "route", "add", lab.address["client"], "dev", "br0")
    lab.firewall("bridge", "forward", f"tcp dport {PORT} {REJECT}")
    closed_port.knock(lab)


def iptables_input(lab: Lab) -> None:
    """iptables or ip6tables with ``-j REJECT --reject-with tcp-reset``."""
    _iptables(lab, "server", "INPUT")


def iptables_legacy(lab: Lab) -> None:
    """The same in the kernel's older tables, which nft does not show."""
    _iptables(lab, "server", "INPUT", "-legacy")


def iptables_forward(lab: Lab) -> None:
    """In the FORWARD chain of a router."""
    _iptables(lab, "router", "FORWARD")


def _iptables(lab: Lab, end: str, chain: str, kind: str = "") -> None:
    lab.listen(port=PORT)
    command = f"{'iptables' if lab.family == AF_INET else 'ip6tables'}{kind}"
    for rule in (f"--dport {PORT + 1} -j REJECT", f"--dport {PORT} -j REJECT"):
        options = f"-A {chain} -p tcp {rule} --reject-with tcp-reset"
        lab.prepare(end, command, *options.split())
    closed_port.knock(lab)


def nft_output(lab: Lab) -> None:
    """The client's own firewall rejects its SYN (output hook): the RST never leaves the host."""
    lab.listen(port=PORT)
    lab.firewall("client", "output", f"tcp dport {PORT} {REJECT}")
    closed_port.knock(lab)


def mid_connection(lab: Lab) -> None:
    """The rule arrives while the connection lives; the next segment is rejected."""
    client, server = lab.pair()
    port = server.getsockname()[1]
    lab.firewall("server", "input", f"tcp dport {port} {REJECT}")
    client.sendall(b"next request\n")
    lab.wait_reset(client)


VARIANTS = {
    "nft-input": (expect("server", "table inet lab, chain input, handle 2"), nft_input),
    "nft-jump": (expect("server", "table inet lab, chain service, handle 6"), nft_jump),
    "nft-prerouting": (
        expect("server", "table inet lab, chain prerouting, handle 2"),
        nft_prerouting,
    ),
    "nft-ingress": (expect("server", "table inet lab, chain in, handle 2"), nft_ingress),
    "nft-netdev": (expect("server", "table netdev lab, chain in, handle 2"), nft_netdev),
    "nft-forward": (expect("router", "table inet lab, chain forward, handle 2"), nft_forward),
    "nft-bridged": (expect("bridge", "table inet lab, chain forward, handle 2"), nft_bridged),
    "nft-output": (expect("client", "table inet lab, chain output, handle 2"), nft_output),
    "iptables-input": (expect("server", "table filter, chain INPUT, rule 2"), iptables_input),
    "iptables-legacy": (expect("server", "table filter, chain INPUT, rule 2"), iptables_legacy),
    "iptables-forward": (expect("router", "table filter, chain FORWARD, rule 2"), iptables_forward),
    "mid-connection": (
        expect("server", "table inet lab, chain input, handle 2", RESET),
        mid_connection,
    ),
}
