"""Names of the running kernel that words.toml does not explain: what kind of name they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rsttrace.errors import CannotTrace
from rsttrace.kernel.btf import VMLINUX
from rsttrace.kernel.features import probe

PROC_NET = Path("/proc/net")
COUNTERS = ("netstat", "snmp")
# subsystems with drop reasons of their own: prefix of the names, kernel module, what it is
SUBSYSTEMS = (
    ("OVS_DROP_", "openvswitch", "Open vSwitch, a software switch"),
    ("RX_DROP_", "mac80211", "mac80211, the part of the kernel for Wi-Fi"),
)
REASONS: Mapping[str, tuple[str, str]] = {
    "sk_rst_reason": ("reset-reason", "why it sends a RST"),
    "skb_drop_reason": ("drop-reason", "why it discards a packet"),
}


@dataclass(frozen=True)
class KernelName:
    """A name, its kind as in words.toml, and what it is; the text is a whole sentence."""

    name: str
    kind: str
    text: str


def kernel_name(what: str, btf: Path = VMLINUX, proc_net: Path = PROC_NET) -> KernelName | None:
    """Look a name up in the kernel's enums and counters; None if it has no such name."""
    typed = what.strip().lower()
    return _reason(typed, btf) or _of_subsystem(what.strip(), btf) or _counter(typed, proc_net)


def _reason(typed: str, btf: Path) -> KernelName | None:
    try:
        enums = probe("", btf).enums
    except CannotTrace:
        return None
    for enum, (kind, why) in REASONS.items():
        for name in enums.get(enum, {}).values():
            if name.lower() in _stripped(typed, "skb_drop_reason_", "sk_rst_reason_", "skb_"):
                text = f"A name in the running kernel's enum {enum}: {why}."
                return KernelName(name, kind, text)
    return None


def _stripped(typed: str, *prefixes: str) -> set[str]:
    """The name with and without each prefix."""
    found = {typed}
    for prefix in prefixes:
        found |= {name.removeprefix(prefix) for name in found}
    return found


def _of_subsystem(typed: str, btf: Path) -> KernelName | None:
    """Names of modules: their BTF lies beside vmlinux's once they are loaded."""
    for prefix, module, about in SUBSYSTEMS:
        if typed.upper().startswith(prefix):
            name = typed.upper()
            known = any(_mentions(path, name) for path in (btf.parent / module, btf))
            has = "has it" if known else f"does not have it now (module {module})"
            return KernelName(
                name,
                "drop-reason",
                f"By its name a drop reason of {about}; the running kernel {has}.",
            )
    return None


def _mentions(path: Path, name: str) -> bool:
    """Is this a whole string in a file of BTF?"""
    try:
        return b"\0" + name.encode() + b"\0" in path.read_bytes()
    except OSError:
        return False


def _counter(typed: str, proc_net: Path) -> KernelName | None:
    for group, name in _counters(proc_net):
        if typed in (name.lower(), f"{group}{name}".lower()):
            text = f"A counter of the running kernel (nstat -az {group}{name})."
            return KernelName(name, "counter", text)
    return None


def _counters(proc_net: Path) -> Iterable[tuple[str, str]]:
    """(group, name): the first line of each pair in /proc/net/netstat and snmp."""
    for file in COUNTERS:
        try:
            lines = (proc_net / file).read_text().splitlines()
        except OSError:
            continue
        for line in lines[::2]:
            group, _, names = line.partition(":")
            yield from ((group, name) for name in names.split())
