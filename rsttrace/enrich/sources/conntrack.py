"""The conntrack entry of the flow: what a stateful firewall or NAT on this host knows of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from rsttrace.enrich.place import Question, Tracked
from rsttrace.enrich.sources import NotKnown, _netlink, _values
from rsttrace.enrich.sources._address import address_of
from rsttrace.records import at

NAME = "conntrack"
COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
NETLINK_MODULE = "nf_conntrack_netlink"
CTNETLINK_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
TCP = 6
IPS_ASSURED = 4
# enum tcp_conntrack of linux/netfilter/nf_conntrack_tcp.h
STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)


def ask(question: Question) -> dict[str, Any]:
    """Tracked as JSON."""
    problem = why_not(question)
    if problem:
        raise NotKnown(problem)
    entry = _look_up(question)
    return describe(entry, address_of(question.local).version) if entry else {"found": False}


def why_not(question: Question, count: str = COUNT) -> str:
    """Why there is nothing to ask; empty if there is. Nothing here loads a module."""
    if not question.lport or not question.rport:
        return "the question has only one port"
    try:
        tracked = int(Path(count).read_text())
    except OSError:
        return "connection tracking is not loaded"
    if not tracked:
        return "connection tracking follows no connection in this namespace"
    if not can_be_asked():
        return f"the kernel module {NETLINK_MODULE} is not loaded"
    return ""


def can_be_asked(sys: str = "/sys/module", modules: str = "/lib/modules") -> bool:
    """Is ctnetlink there already? A question would load it."""
    if os.path.exists(f"{sys}/{NETLINK_MODULE}"):
        return True
    try:
        built_in = Path(modules, os.uname().release, "modules.builtin").read_text()
    except OSError:
        return True  # no modules at all
    return f"/{NETLINK_MODULE}.ko" in built_in


def _look_up(question: Question) -> Any | None:
    """The entry (nfct_msg) that has this flow as one of its two tuples, or None (of zone 0).

    Seen from a NAT host the addresses of a forwarded packet can be those before or after: what is
    no tuple in one direction is one in the other.
    """
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, nfct_msg

    local, remote = address_of(question.local), address_of(question.remote)
    family = 2 if local.version == 4 else 10
    ways = (
        (local, question.lport, remote, question.rport),
        (remote, question.rport, local, question.lport),
    )
    for source, sport, target, dport in ways:
        wanted = NFCTAttrTuple(family, str(source), str(target), TCP, sport, dport)
        request = nfct_msg.create_from(tuple_orig=wanted)
        request["nfgen_family"] = family
        with contextlib.suppress(FileNotFoundError):
            raw = _netlink.one(_netlink.NETFILTER, _netlink.encoded(request, CTNETLINK_GET))
            return _netlink.decoded(nfct_msg, raw)
    return None


def describe(entry: Any, version: int) -> dict[str, Any]:
    """Tracked as JSON, out of an nfct_msg."""
    value: dict[str, Any] = {"found": True, "natted": _natted(entry, version)}
    value["timeout_s"] = entry.get_attr("CTA_TIMEOUT")
    value["assured"] = bool((entry.get_attr("CTA_STATUS") or 0) & IPS_ASSURED)
    tcp = entry.get_nested("CTA_PROTOINFO", "CTA_PROTOINFO_TCP")
    state = tcp.get_attr("CTA_PROTOINFO_TCP_STATE") if tcp else None
    if state is not None:
        value["state"] = STATES[state] if state < len(STATES) else str(state)
    return value


def _natted(entry: Any, version: int) -> str:
    source, target = _ends(entry.get_attr("CTA_TUPLE_ORIG"), version)
    answers, to = _ends(entry.get_attr("CTA_TUPLE_REPLY"), version)
    changed = [f"{target} > {answers}"] if target != answers else []
    changed += [f"{source} > {to}"] if source != to else []
    return ", ".join(changed)


def _ends(tuple_: Any, version: int) -> tuple[str, str]:
    ip, proto = tuple_.get_attr("CTA_TUPLE_IP"), tuple_.get_attr("CTA_TUPLE_PROTO")
    addresses = (ip.get_attr(f"CTA_IP_V{version}_{end}") for end in ("SRC", "DST"))
    ports = (proto.get_attr(f"CTA_PROTO_{end}_PORT") for end in ("SRC", "DST"))
    source, target = (at(*end) for end in zip(addresses, ports))
    return source, target


def read(value: Any) -> Tracked:
    """Place.conntrack."""
    known = _values.fields(value)
    return Tracked(
        found=_values.flag(known.get("found")),
        state=_values.text(known.get("state", "")),
        timeout_s=_values.maybe(_values.whole, known.get("timeout_s")),
        assured=_values.maybe(_values.flag, known.get("assured")),
        natted=_values.text(known.get("natted", "")),
    )
