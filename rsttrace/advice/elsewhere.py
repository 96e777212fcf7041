"""Where the other end really is, and how to look there."""

from __future__ import annotations

from rsttrace.advice.commands import inside, inside_of, line
from rsttrace.causes.case import CLIENT, SERVER, Case
from rsttrace.enrich.place import Place
from rsttrace.explain import role_of_local_end


def service_port(case: Case) -> int | None:
    """The server's port; the client's is another one with every connection."""
    flow, role = case.reset.flow, role_of_local_end(case)
    return {CLIENT: flow.rport, SERVER: flow.lport}.get(role or "")


def real_remote(case: Case, place: Place) -> str:
    """``10.0.0.2:8443``: what NAT on this host makes of the remote end; empty if nothing."""
    changes = place.conntrack.natted.split(", ") if place.conntrack else []
    pairs = (change.partition(" > ") for change in changes)
    return next((after for before, _, after in pairs if before == case.remote), "")


def evidence(case: Case, place: Place) -> tuple[str, ...]:
    """What was learnt of the other end."""
    remote, found = case.reset.flow.remote, []
    if place.peer and place.peer.here:
        found.append(f"{remote} is an address of this host, in this network namespace")
    elif place.peer and place.peer.elsewhere:
        names = ", ".join(place.peer.elsewhere)
        found.append(f"{remote} is an address on this host, in network namespace {names}")
    if place.conntrack and place.conntrack.natted:
        found.append(f"connection tracking translates it: {place.conntrack.natted}")
    return tuple(found)


def watch_there(case: Case, place: Place, why: str) -> str:
    """The command that shows the same connection at the other end."""
    flow, peer, port = case.reset.flow, place.peer, service_port(case)
    host, _, real_port = real_remote(case, place).rpartition(":")
    if peer and peer.here and not host:
        lost = f"{flow.remote} is an address of this host, but no sender was seen on it"
        look = line("nft", "list", "ruleset")
        return inside(case, look, f"{lost}: does NAT lead elsewhere, or IPVS (ipvsadm -ln)?")
    if real_port and port == flow.rport:
        port = int(real_port)
    watch = line("rsttrace", *(("-P", str(port)) if port else ()))
    if peer and peer.elsewhere and not host:
        names = ", ".join(peer.elsewhere)
        why += f" (network namespace {names} here has the same address, but no sender was seen)"
    return f"on {host.strip('[]') or flow.remote}: sudo {watch}  # {why}"


def listens_there(case: Case, place: Place, why: str) -> str:
    """How to see what listens at the remote end; empty if that is not on this host."""
    flow, peer = case.reset.flow, place.peer
    look = line("ss", "-ltnp", f"sport = :{flow.rport}")
    if peer and peer.here:
        return inside(case, look, why)
    return inside_of(peer.elsewhere[0], look, why) if peer and peer.elsewhere else ""


def capture(case: Case, device: str, why: str) -> str:
    """tcpdump of all connections of this kind: with handshake and data there is more to compare."""
    port = service_port(case)
    wanted = f"host {case.reset.flow.remote} and tcp" + (f" port {port}" if port else "")
    look = line("tcpdump", "-nn", "-i", device or "any", "-w", "/tmp/rst.pcap", wanted)
    return inside(case, look, why)
