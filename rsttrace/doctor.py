"""Checks of what tracing needs, each with its remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rsttrace.enrich.broker import ENVIRONMENT
from rsttrace.errors import CannotTrace
from rsttrace.kernel import loader, tracefs
from rsttrace.kernel.features import HOOKS, Features, probe
from rsttrace.kernel.symbols import Symbols

OK, MISSING, NOTE = "ok", "MISSING", "note"


@dataclass(frozen=True)
class Check:
    """One line of the report. ``fatal``: tracing cannot work without it."""

    name: str
    mark: str
    text: str
    remedy: str = ""
    fatal: bool = False


def _guarded(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, OK, check())
    except CannotTrace as err:
        return Check(name, MISSING, err.message, err.hint, fatal=True)


def _rights() -> str:
    loader.check_rights()
    return "this user may load BPF programs"


def _bcc() -> str:
    bcc = loader.import_bcc()
    return f"version {getattr(bcc, '__version__', 'unknown')} from {Path(bcc.__file__).parent}"


def examine() -> list[Check]:
    """All checks, in the order in which they would stop a trace."""
    checks = [_guarded("rights", _rights), _guarded("bcc", _bcc)]
    features: Features | None = None
    try:
        features = probe(loader.read_sources())
    except CannotTrace as err:
        checks.append(Check("BTF", MISSING, err.message, err.hint, fatal=True))
    if features:
        checks += [Check("BTF", OK, f"{len(features.offsets)} struct members asked for")]
        checks += _hooks(features)
        checks += _facts(features)
    checks += [_symbols(), _tracefs(), _lockdown(), _firewall()]
    if features and not any(c.fatal for c in checks):
        checks.append(_guarded("load", _load))
    return checks


def _load() -> str:
    kernel = loader.Kernel(loader.prepare())
    hooks = len(kernel.hooks)
    kernel.close()
    return f"{hooks} programs compiled, loaded and attached"


def _hooks(features: Features) -> list[Check]:
    found = []
    for hook, cost in HOOKS.items():
        if hook in features.args:
            found.append(Check(hook, OK, f"{features.args[hook]} arguments"))
        else:
            fatal = hook in loader.NEEDED
            found.append(Check(hook, MISSING, f"not in this kernel; lost: {cost}", "", fatal))
    return found


def _facts(features: Features) -> list[Check]:
    found = []
    for enum, cost in (
        ("sk_rst_reason", "the kernel gives no reset reason (before 6.10): the stack decides"),
        ("skb_drop_reason", "the kernel gives no drop reason (before 5.17)"),
    ):
        names = features.enums[enum]
        if names:
            found.append(Check(enum, OK, f"{len(names)} names"))
        else:
            found.append(Check(enum, NOTE, cost))
    missing = [m for m in features.missing_members if m not in ("sock.sk_ino",)]
    if missing:
        found.append(Check("members", NOTE, f"not in this kernel: {', '.join(missing)}"))
    return found


def _symbols() -> Check:
    if Symbols().available:
        return Check("symbols", OK, "/proc/kallsyms shows addresses")
    return Check(
        "symbols",
        MISSING,
        "kernel addresses are hidden, so stacks cannot be named and most verdicts are unsure",
        f"{'' if os.geteuid() == 0 else 'Ask as root first; then: '}sysctl kernel.kptr_restrict=1",
    )


def _tracefs() -> Check:
    place = tracefs.mounted()
    if place:
        return Check("tracefs", OK, f"mounted at {place} (not needed)")
    return Check("tracefs", NOTE, "not mounted; not needed: the hooks are raw tracepoints")


def _firewall() -> Check:
    """By the path that the helper process uses."""
    place = shutil.which("nft", path=ENVIRONMENT["PATH"])
    if place:
        return Check("nft", OK, f"{place}: the rule that made or dropped a reset can be named")
    text = "not installed; a rule of nftables or iptables that made a reset is not named"
    return Check("nft", NOTE, text, "If this host has such rules: apt install nftables")


def _lockdown() -> Check:
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return Check("lockdown", OK, "none")
    mode = text.partition("[")[2].partition("]")[0]
    if mode == "confidentiality":
        return Check(
            "lockdown",
            MISSING,
            "confidentiality mode forbids BPF to read kernel memory",
            "Boot without lockdown=confidentiality",
            fatal=True,
        )
    return Check("lockdown", OK, mode or "none")
