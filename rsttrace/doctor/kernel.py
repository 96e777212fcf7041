"""What this kernel shows."""

from __future__ import annotations

from collections.abc import Iterator

from rsttrace.doctor import costs
from rsttrace.doctor.check import CONTEXT, MISSING, NEEDED, NOTE, OK, SURE, Check
from rsttrace.doctor.host import Host
from rsttrace.doctor.members import empty_fields
from rsttrace.doctor.rights import CAP_SYS_ADMIN, CAP_SYSLOG
from rsttrace.errors import CannotTrace
from rsttrace.kernel import loader, tracefs
from rsttrace.kernel.features import HELPERS, HOOKS, ON_DEMAND, Features
from rsttrace.kernel.gaps import GAPS, gaps_of, lost_hooks

BTF_REMEDY = (
    "Boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10, RHEL 8.2 and newer "
    "have it)"
)
REASONS = {
    "sk_rst_reason": "the kernel gives no reset reason (before 6.10): the stack decides",
    "skb_drop_reason": "the kernel gives no drop reason (before 5.17): the stack decides",
}


def btf(host: Host) -> Iterator[Check]:
    """The kernel's description of its types."""
    try:
        features = host.features
    except CannotTrace as err:
        yield Check("BTF", MISSING, err.message, err.hint, fatal=True)
        return
    if features.no_btf:
        yield _no_btf(features)
        return
    there = len(features.offsets) - len(features.missing_members)
    yield Check("BTF", OK, f"describes {there} of the {len(features.offsets)} members in use")


def _no_btf(features: Features) -> Check:
    """It can trace all the same, by what its events say of themselves."""
    text = f"{features.no_btf} Sockets, packets and network namespaces cannot be read"
    return Check("BTF", MISSING, text, BTF_REMEDY, SURE, cost=costs.without_btf())


def lockdown(host: Host) -> Iterator[Check]:
    """Its strictest mode forbids BPF to read kernel memory (kernel_lockdown(7))."""
    mode = (host.text("sys/kernel/security/lockdown") or "").partition("[")[2].partition("]")[0]
    if mode != "confidentiality":
        yield Check("lockdown", OK, mode or "none")
        return
    yield Check(
        "lockdown",
        MISSING,
        "confidentiality mode forbids BPF to read kernel memory",
        "Boot without lockdown=confidentiality",
        fatal=True,
    )


def hooks(host: Host) -> Iterator[Check]:
    """The tracepoints: all in one line, and each that is missing."""
    try:
        args, lost = host.features.args, lost_hooks(host.features)
    except CannotTrace:
        return
    absent = [hook for hook in HOOKS if hook not in args]
    number = f"all {len(HOOKS)}" if not absent else f"{len(args)} of {len(HOOKS)}"
    more = tuple(f"{hook}: {HOOKS[hook]}" for hook in HOOKS if hook in args)
    facts = {hook: hook in args for hook in HOOKS}
    are = "can be used" if host.features.no_btf else "are there"
    yield Check("hooks", OK, f"{number} tracepoints {are}", group=SURE, more=more, facts=facts)
    for hook in lost:
        fatal = hook in loader.NEEDED
        cost = costs.without_hook(hook)
        mark = MISSING if fatal or cost else NOTE
        text = f"not in this kernel; lost: {HOOKS[hook]}"
        group = NEEDED if fatal else SURE
        yield Check(hook, mark, text, group=group, fatal=fatal, cost=cost)


def hooks_on_demand(host: Host) -> Iterator[Check]:
    """Tracepoints that only some commands attach (`diagnose -- COMMAND`)."""
    try:
        there = host.features.on_demand
    except CannotTrace:
        return
    for hook, without in ON_DEMAND.items():
        if hook in there:
            yield Check(hook, OK, f"there (optional: {without})", group=CONTEXT)
        else:
            text = f"not in this kernel (optional); lost: {without}"
            yield Check(hook, NOTE, text, group=CONTEXT)


def reasons(host: Host) -> Iterator[Check]:
    """The kernel's own names of why it resets and why it drops."""
    try:
        enums = host.features.enums
    except CannotTrace:
        return
    for enum, without in REASONS.items():
        if enums[enum]:
            yield Check(enum, OK, f"{len(enums[enum])} names", group=SURE)
        else:
            yield Check(enum, NOTE, without, group=SURE, cost=costs.without_enum(enum))


def gaps(host: Host) -> Iterator[Check]:
    """What newer kernels tell, and what stands in for it."""
    try:
        features = host.features
    except CannotTrace:
        return
    names = gaps_of(features)
    told = {name: name not in names for name in GAPS}
    if not names:
        yield Check("tells", OK, "what newer kernels tell of resets", group=SURE, facts=told)
    for name in names:
        if name == "btf":  # has its own check
            continue
        gap = GAPS[name]
        text = f"{gap.text}; told by {gap.instead}" if gap.instead else gap.text
        yield Check(name, NOTE, text, group=SURE, facts=told)


def members(host: Host) -> Iterator[Check]:
    """Struct members that the programs read where a kernel has them."""
    try:
        missing = host.features.missing_members
    except CannotTrace:
        return
    lost = empty_fields(loader.read_sources(), missing)
    missing = [name for name in missing if lost[name] or not _replaced(name)]
    if not missing:
        return
    fields = {field for name in missing for field in lost[name]}
    cost = costs.without_fields(fields) if fields else costs.Cost()
    more = tuple(f"{name}: {', '.join(lost[name]) or 'used on the way'}" for name in missing)
    text = f"not in this kernel: {', '.join(missing)}"
    yield Check("members", NOTE, text, group=SURE, cost=cost, more=more)


def _replaced(member: str) -> bool:
    """Where it is missing another one gives the same (see bpf/socket.h)."""
    return member == "sock.sk_ino"


def helpers(host: Host) -> Iterator[Check]:
    """Functions of the kernel that the programs can do without."""
    try:
        missing = [name for name in HELPERS if name not in host.features.helpers]
    except CannotTrace:
        return
    if missing and not host.features.no_btf:
        text = f"not in this kernel: {', '.join(missing)}; some programs' own stacks are not seen"
        yield Check("functions", NOTE, text, group=SURE)


def symbols(host: Host) -> Iterator[Check]:
    """Are kernel addresses shown? (kallsyms_show_value())"""
    restrict = host.number("proc/sys/kernel/kptr_restrict")
    paranoid = host.number("proc/sys/kernel/perf_event_paranoid")
    facts = {"kptr_restrict": restrict, "addresses": host.symbols}
    setting = "" if restrict is None else f" (kernel.kptr_restrict is {restrict})"
    if host.symbols:
        text = f"/proc/kallsyms shows addresses{setting}"
        yield Check("symbols", OK, text, group=SURE, facts=facts)
        return
    yield Check(
        "symbols",
        MISSING,
        f"kernel addresses are hidden{setting}, so stacks cannot be named and most verdicts are "
        "unsure",
        _show_addresses(host, restrict, paranoid),
        SURE,
        cost=costs.without_symbols(),
        facts=facts,
    )


def _show_addresses(host: Host, restrict: int | None, paranoid: int | None) -> str:
    """What shows them: enough rights, and a setting that lets rights count."""
    allowed = host.may(CAP_SYSLOG) or host.may(CAP_SYS_ADMIN)
    if restrict is not None and restrict >= 2:
        return "sysctl kernel.kptr_restrict=1"
    if allowed:
        return "Mount the host's own /proc: this /proc/kallsyms has no addresses"
    if restrict == 0 and paranoid is not None and paranoid > 1:
        return "Ask as root: sudo rsttrace doctor (or: sysctl kernel.perf_event_paranoid=1)"
    return "Ask as root: sudo rsttrace doctor"


def tracing_files(host: Host) -> Iterator[Check]:
    """Mostly not needed, but people look for it first."""
    place = tracefs.mounted(host.root / "proc/mounts")
    try:
        needed = bool(host.features.no_btf)
    except CannotTrace:
        needed = True
    if place:
        use = "needed without BTF" if needed else "not needed"
        yield Check("tracefs", OK, f"mounted at {place} ({use})", group=CONTEXT)
        return
    text = "not mounted; not needed: the hooks are raw tracepoints"
    if needed:
        text = "not mounted; rsttrace mounts it for itself alone, where it may"
    yield Check("tracefs", NOTE, text, group=CONTEXT)
