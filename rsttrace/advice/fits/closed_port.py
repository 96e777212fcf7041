"""What listens on that port elsewhere, and the exact change that makes it fit."""

from __future__ import annotations

import ipaddress

from rsttrace.advice.commands import inside, line, sysctl
from rsttrace.advice.fit import Fit
from rsttrace.advice.queue import later
from rsttrace.causes.case import Case, count_of
from rsttrace.enrich.place import Place
from rsttrace.listeners import ANY, ANY_OF, Listener
from rsttrace.records import at

CAUSE = "closed-port"
WANTS = ("sockets",)
V6ONLY, L3MDEV = "net.ipv6.bindv6only", "net.ipv4.tcp_l3mdev_accept"
SCANNERS = "if only scanners knock: nothing; drop them in the firewall if they disturb you"


def fit(case: Case, place: Place) -> Fit | None:
    """By who knocks, who listened when the SYN came, and what accepts there now."""
    evidence, others = _now(case, place), case.facts.neighbours
    if others and others.scan:
        ports = count_of(others.ports, "port")
        scan = f"nothing: {case.reset.flow.remote} tried {ports} within a minute, it only scans"
        return Fit((scan,), evidence, instead=True)
    if remedies := _by_listener(case, place):
        return Fit(remedies, evidence, instead=True)
    if place.sockets and place.sockets.listening:
        again = (
            f"let clients retry, or start them later: {case.local} accepts connections "
            f"{later(case, place)} after this one came"
        )
        return Fit((again,), evidence, instead=True)
    if _stopped(case):
        return Fit((), evidence)  # the rule has the remedy
    why = "is the service there, on another port or address?"
    return Fit((inside(case, line("ss", "-ltnp"), why),), evidence)


def _stopped(case: Case) -> bool:
    flow, table = case.reset.flow, case.facts.listeners
    return bool(table and table.closed_on_port(flow.netns, flow.lport, case.reset.time_ns))


def _now(case: Case, place: Place) -> tuple[str, ...]:
    if place.sockets is None:
        return ()
    listening = place.sockets.listening
    what = f"{at(listening.address, listening.port)} accepts" if listening else "nothing accepts"
    if listening and listening.device:
        what += f" by {listening.device} only"
    return (f"{what} there {later(case, place)} later",)


def _by_listener(case: Case, place: Place) -> tuple[str, ...]:
    flow = case.reset.flow
    here = [one for one in case.listeners() if one.netns == flow.netns]
    same = [one for one in here if one.address in (flow.local, ANY_OF[flow.family])]
    device = _other_device(case, place)
    if same and place.sockets and not place.sockets.listening:
        return ()  # gone since, so that its device is not known
    if same or device:
        return _same_address(case, place, same[0] if same else None, device)
    if wildcard := [one for one in here if one.address in ANY]:
        return _other_family(case, place, wildcard[0])
    if here:
        return _other_address(case, here[0])
    elsewhere = {(one.netns, one.pid): one for one in case.listeners()}
    return _other_namespace(case, *elsewhere.values()) if len(elsewhere) == 1 else ()


def _other_device(case: Case, place: Place) -> str:
    """The one by whose packets alone the port is reached now, if the SYN came by another."""
    listening, wire = place.sockets.listening if place.sockets else None, case.reset.wire
    device = listening.device if listening else ""
    return "" if wire and wire.dev == device else device


def _who(listener: Listener | None) -> str:
    known = listener and listener.pid and listener.comm
    return f"{listener.comm}[{listener.pid}]" if listener and known else "the server"


def _if_meant(case: Case, *remedies: str) -> tuple[str, ...]:
    """What opens a service to more clients is not to be done for whoever only tried its port."""
    remote = case.reset.flow.remote
    return (*(f"if {remote} is meant to reach it: {remedy}" for remedy in remedies), SCANNERS)


def _same_address(
    case: Case, place: Place, listener: Listener | None, device: str
) -> tuple[str, ...]:
    """It fits by address, so the device was another one; ``device``: the one it is bound to."""
    who = _who(listener)
    bound = f"let {who} not bind to {device or 'a device'} (SO_BINDTODEVICE)"
    vrf = sysctl(case, L3MDEV, 1, f"if there is a VRF; or start {who} in it with ip vrf exec")
    if device:
        return _if_meant(case, bound)
    if place.sockets:
        return (vrf,)
    why = f"the name behind % is the only device that {who} listens on"
    look = inside(case, line("ss", "-ltnp", f"sport = :{case.reset.flow.lport}"), why)
    return (look, *_if_meant(case, bound), vrf)


def _other_family(case: Case, place: Place, listener: Listener) -> tuple[str, ...]:
    flow, who = case.reset.flow, _who(listener)
    wanted = at(ANY_OF[flow.family], flow.lport)
    both = f"let {who} listen on {wanted} as well as on {at(listener.address, listener.port)}"
    if flow.family == 6:
        return (both,)
    if place.number(V6ONLY) == 1:
        why = f"is 1: sockets on [::] take no IPv4; then restart {who}"
        return (sysctl(case, V6ONLY, 0, why), both)
    return (both, f"let {who} set IPV6_V6ONLY to 0 on its socket")


def _other_address(case: Case, listener: Listener) -> tuple[str, ...]:
    flow, bound = case.reset.flow, at(listener.address, listener.port)
    every = at(ANY_OF[flow.family], flow.lport)
    found = [
        f"let {_who(listener)} listen on {case.local}, or on {every} (then on all addresses of the "
        f"host), not only on {bound}"
    ]
    if not ipaddress.ip_address(listener.address).is_loopback:
        found.append(f"connect to {bound}")
    elif _local(flow.local, flow.remote):
        found.append(f"connect to {bound}, from this host")
    return _if_meant(case, *found)


def _local(local: str, remote: str) -> bool:
    return local == remote or ipaddress.ip_address(remote).is_loopback


def _other_namespace(case: Case, listener: Listener) -> tuple[str, ...]:
    """It may have nothing to do with this client: the same port is in use in many namespaces."""
    port, who = case.reset.flow.lport, _who(listener)
    found = []
    if listener.pid:
        look = line("nsenter", "-t", str(listener.pid), "-n", "ip", "-br", "addr")
        found.append(f"{look}  # {who} listens on port {port} at these addresses")
    publish = f"publish or forward port {port} to the network namespace of {who}"
    return (*found, *_if_meant(case, f"{publish}, or let it listen where clients arrive"))
