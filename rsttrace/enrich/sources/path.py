"""The way to the remote address: route, device, where that leads, the next hop (rtnetlink)."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from rsttrace.enrich.answers.namespaces import namespaces
from rsttrace.enrich.place import Path, Question
from rsttrace.enrich.sources import _route, _spaces, _values
from rsttrace.enrich.sources._address import address_of

NAME = "path"
IFF_RUNNING = 0x40


def ask(question: Question) -> dict[str, Any]:
    """Path as JSON."""
    route = _route.find(question)
    value: dict[str, Any] = {
        "route": route.kind,
        "gateway": route.gateway,
        "source": route.source,
        "device": question.device,
    }
    device = _device(route, question)
    if device:
        value.update(_described(device))
    if route.kind == "unicast":
        hop = route.gateway or str(address_of(question.remote))
        value["neighbour"] = _route.neighbour(route.device, hop)
    return value


def _device(route: _route.Route, question: Question) -> Any | None:
    if route.device:
        return _route.link(route.device)
    return _route.link(name=question.device) if question.device else None


def _described(device: Any) -> dict[str, Any]:
    kind = _route.kind_of(device)
    bridge = _route.master_of(device, "bridge")
    return {
        "device": device.get_attr("IFLA_IFNAME"),
        "kind": kind,
        "up": bool(device["flags"] & IFF_RUNNING),
        "bridge": bridge.get_attr("IFLA_IFNAME") if bridge else "",
        "other_end": _other_end(device) if kind == "veth" else "",
    }


def _other_end(veth: Any) -> str:
    """Namespace and device that a veth leads to, as far as they can be found."""
    index, nsid = veth.get_attr("IFLA_LINK"), veth.get_attr("IFLA_LINK_NETNSID")
    if not index:
        return ""
    peer = _route.link(index, nsid=nsid)
    name = peer.get_attr("IFLA_IFNAME") if peer else f"device {index}"
    return f"{_space(nsid) or 'another namespace'} {name}" if nsid is not None else str(name)


def _space(nsid: int) -> str:
    """Name of the namespace that has this number here; empty if it cannot be found."""
    for inode, path in namespaces():
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _route.number_of(descriptor) == nsid:
                    return _spaces.name_of(inode, path)
            finally:
                os.close(descriptor)
    return ""


def read(value: Any) -> Path:
    """Place.path."""
    known = _values.fields(value)
    names = ("kind", "bridge", "other_end", "gateway", "source", "route", "neighbour")
    return Path(
        device=_values.text(known.get("device")),
        up=_values.maybe(_values.flag, known.get("up")),
        **{name: _values.text(known.get(name, "")) for name in names},
    )
