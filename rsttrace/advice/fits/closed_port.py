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
V6ONLY = "net.ipv6.bindv6only"


def fit(case: Case, place: Place) -> Fit | None:
    """By who listened when the SYN came, else by what accepts there now."""
    remedies, evidence = _by_listener(case, place), _now(case, place)
    if remedies:
        return Fit(remedies, evidence, instead=True)
    others = case.facts.neighbours
    if others and others.scan:
        ports = count_of(others.ports, "port")
        scan = f"nothing: {case.reset.flow.remote} tried {ports} within a minute, it only scans"
        return Fit((scan,), evidence, settles=("only scanners knock",))
    if place.sockets and place.sockets.listening:
        again = (
            f"let clients retry, or start them later: {case.local} accepts connections "
            f"{later(case, place)} after this one came"
        )
        return Fit((again,), evidence, instead=True)
    if _stopped(case):
        return Fit((), evidence)  # the rule has the remedy
    look = inside(case, line("ss", "-ltnp"))
    return Fit((f"{look}  # is the service there, on another port or address?",), evidence)


def _stopped(case: Case) -> bool:
    flow, table = case.reset.flow, case.facts.listeners
    return bool(table and table.closed_on_port(flow.netns, flow.lport, case.reset.time_ns))


def _now(case: Case, place: Place) -> tuple[str, ...]:
    if place.sockets is None:
        return ()
    listening = place.sockets.listening
    what = f"{at(listening.address, listening.port)} accepts" if listening else "nothing accepts"
    return (f"{what} there {later(case, place)} later",)


def _by_listener(case: Case, place: Place) -> tuple[str, ...]:
    flow = case.reset.flow
    here = [one for one in case.listeners() if one.netns == flow.netns]
    same = [one for one in here if one.address in (flow.local, ANY_OF[flow.family])]
    if same:
        return _same_address(case, same[0])
    if wildcard := [one for one in here if one.address in ANY]:
        return _other_family(case, place, wildcard[0])
    if here:
        return _other_address(case, here[0])
    elsewhere = case.listeners()
    return _other_namespace(case, elsewhere[0]) if elsewhere else ()


def _who(listener: Listener) -> str:
    return f"{listener.comm}[{listener.pid}]" if listener.pid and listener.comm else "the server"


def _port(case: Case) -> str:
    return f"sport = :{case.reset.flow.lport}"


def _same_address(case: Case, listener: Listener) -> tuple[str, ...]:
    look = inside(case, line("ss", "-ltnp", _port(case)))
    return (
        f"{look}  # the name behind % is the only device that {_who(listener)} listens on",
        f"let {_who(listener)} not bind to a device (SO_BINDTODEVICE); with a VRF: ip vrf exec, or "
        + sysctl(case, "net.ipv4.tcp_l3mdev_accept", 1),
    )


def _other_family(case: Case, place: Place, listener: Listener) -> tuple[str, ...]:
    flow, who = case.reset.flow, _who(listener)
    wanted = at(ANY_OF[flow.family], flow.lport)
    both = f"let {who} listen on {wanted} as well as on {at(listener.address, listener.port)}"
    if flow.family == 6:
        return (both,)
    if place.number(V6ONLY) == 1:
        why = f"is 1: sockets on [::] take no IPv4; then restart {who}"
        return (f"{sysctl(case, V6ONLY, 0)}  # {why}", both)
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
    return tuple(found)


def _local(local: str, remote: str) -> bool:
    return local == remote or ipaddress.ip_address(remote).is_loopback


def _other_namespace(case: Case, listener: Listener) -> tuple[str, ...]:
    flow = case.reset.flow
    found = []
    if listener.pid:
        look = line("nsenter", "-t", str(listener.pid), "-n", "ip", "-br", "addr")
        found.append(f"{look}  # {_who(listener)} listens on port {flow.lport} at these addresses")
    found.append(
        f"publish or forward port {flow.lport} to the namespace of {_who(listener)} (docker run -p "
        f"{flow.lport}:{flow.lport}), or let it listen in the namespace where clients arrive"
    )
    return tuple(found)
