"""What names, rules and settings this host shows around a reset."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from rsttrace.causes import catalogue
from rsttrace.doctor.check import CONTEXT, MISSING, NOTE, OK, Check
from rsttrace.doctor.costs import without_sources
from rsttrace.doctor.host import Host
from rsttrace.doctor.rights import CAP_SYS_PTRACE
from rsttrace.enrich.answers.firewall import has_nf_tables
from rsttrace.enrich.answers.namespaces import namespaces as all_namespaces
from rsttrace.enrich.broker import ENVIRONMENT
from rsttrace.enrich.live import RUN_NETNS

INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h
# where the runtimes keep what runs
RUNTIMES = {
    "docker": ("run/docker", "var/lib/docker"),
    "containerd": ("run/containerd",),
    "cri-o": ("run/crio", "var/run/crio"),
    "podman": ("run/libpod", "var/lib/containers"),
    "kubelet": ("var/lib/kubelet",),
    "lxc": ("var/lib/lxc", "var/lib/incus", "var/lib/lxd"),
    "systemd-nspawn": ("run/systemd/machines",),
}
SHOWN = ("hidepid=0", "hidepid=off")
INSIDE = (".dockerenv", "run/.containerenv")
CONNTRACK = "proc/sys/net/netfilter/nf_conntrack_"
# words that a line of the catalogue may begin with, but that are no tool of their own
NO_TOOL = ("sudo",)


def helper(host: Host) -> Iterator[Check]:
    """The process that keeps the rights to look into namespaces (enrich/broker.py)."""
    read = host.namespaces_read
    if read:
        yield Check("helper process", OK, "starts and answers", group=CONTEXT)
        return
    text = "it answers, but may not look anywhere" if read is not None else "it does not answer"
    yield Check(
        "helper process",
        MISSING,
        f"{text}: no firewall rules, settings, sockets or counters",
        "Ask as root: sudo rsttrace doctor",
        CONTEXT,
        cost=without_sources(()),
    )


def network_namespaces(host: Host) -> Iterator[Check]:
    """How many there are, and into how many the helper process may look."""
    seen = dict(all_namespaces())
    read = len(host.namespaces_read or ())
    named = sorted(p.rpartition("/")[2] for p in seen.values() if p.startswith(str(RUN_NETNS)))
    facts = {"seen": len(seen), "read": read, "named": named}
    more = (f"named: {', '.join(named)}",) if named else ()
    names = f", {len(named)} with a name" if named else ""
    text = f"{_count(len(seen), 'network namespace')} seen{names}, {read} can be entered"
    mark = OK if read >= len(seen) else NOTE
    yield Check("namespaces", mark, text, group=CONTEXT, more=more, facts=facts)


def processes(host: Host) -> Iterator[Check]:
    """Whose names and sockets can be found in /proc."""
    if host.link("proc/self/ns/pid") not in ("", INITIAL_PID_NAMESPACE):
        text = "this is a container: processes outside have no name here, nor owners of sockets"
        remedy = "Start the container with: --pid=host"
        yield Check("processes", MISSING, text, remedy, CONTEXT)
    elif _hides_processes(host) and not host.may(CAP_SYS_PTRACE):
        text = "/proc is mounted with hidepid: processes of other users have no name"
        yield Check("processes", NOTE, text, "Ask as root: sudo rsttrace doctor", CONTEXT)
    else:
        yield Check("processes", OK, "/proc shows the processes of this host", group=CONTEXT)


def _hides_processes(host: Host) -> bool:
    hidden = False
    for line in (host.text("proc/mounts") or "").splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[1:3] == ["/proc", "proc"]:  # the last one is on top
            options = fields[3].split(",")
            hidden = any(o.startswith("hidepid=") and o not in SHOWN for o in options)
    return hidden


def containers(host: Host) -> Iterator[Check]:
    """Runtimes, whose containers get a name from the cgroup; and is this one of them?"""
    found = {
        name: place
        for name, places in RUNTIMES.items()
        if (place := next((p for p in places if host.has(p)), ""))
    }
    text = ", ".join(f"{name} (/{place})" for name, place in found.items()) or "no runtime found"
    inside = next((place for place in INSIDE if host.has(place)), "")
    if inside:
        text += f"; this may be the inside of one (/{inside})"
    facts = {"runtimes": sorted(found), "inside": bool(inside)}
    yield Check("containers", OK, text, group=CONTEXT, facts=facts)


def firewall(host: Host) -> Iterator[Check]:
    """The tools that tell the rules, by the path of the helper process. Nothing is run: asking
    nft or iptables may load modules.
    """
    nft = _tool("nft")
    modern, legacy = has_nf_tables(), bool(host.text("proc/net/ip_tables_names"))
    lacking = [name for name, there in _rule_tools(modern, legacy).items() if not there]
    used = {"nf_tables": modern, "iptables-legacy": legacy}
    rules = " and ".join(name for name, there in used.items() if there) or "no rules here now"
    facts = {**used, "missing": lacking}
    if not lacking:
        text = f"{nft}: the rule that made or dropped a reset is named ({rules})"
        yield Check("nft", OK, text, group=CONTEXT, facts=facts)
        return
    text = f"not installed: {', '.join(lacking)} ({rules}); a rule that made a reset is not named"
    remedy = "If this host has such rules: apt install nftables iptables"
    mark = MISSING if modern or legacy else NOTE
    yield Check("nft", mark, text, remedy, CONTEXT, facts=facts)


def _rule_tools(modern: bool, legacy: bool) -> dict[str, bool]:
    """Tools that matter for the rules there are."""
    tools = {"nft": bool(_tool("nft"))}
    if modern:  # iptables may have written some of them
        tools["iptables-save"] = bool(_tool("iptables-nft-save") or _tool("iptables-save"))
    if legacy:
        tools["iptables-legacy-save"] = bool(_tool("iptables-legacy-save"))
    return tools


def _tool(name: str) -> str | None:
    return shutil.which(name, path=ENVIRONMENT["PATH"])


def conntrack(host: Host) -> Iterator[Check]:
    """Does the kernel track connections in this namespace?"""
    used, most = (host.number(f"{CONNTRACK}{name}") for name in ("count", "max"))
    if most is None:
        text = "not loaded: there is no NAT and no stateful rule here"
        yield Check("conntrack", OK, text, group=CONTEXT)
        return
    text = f"tracks connections: {used if used is not None else '?'} of at most {most}"
    facts = {"count": used, "max": most}
    yield Check("conntrack", OK, text, group=CONTEXT, facts=facts)


def tools(host: Host) -> Iterator[Check]:
    """Programs in the commands that rsttrace tells people to type. It does not need them itself."""
    lines = (line for cause in catalogue().values() for line in cause.confirm)
    names = sorted({line.split()[0] for line in lines if line} - set(NO_TOOL))
    lacking = [name for name in names if not _tool(name)]
    facts = {"missing": lacking}
    if not lacking:
        text = f"all {len(names)} programs of the suggested commands are installed"
        yield Check("tools", OK, text, group=CONTEXT, facts=facts)
        return
    text = f"not installed: {', '.join(lacking)} (only for commands that rsttrace suggests)"
    yield Check("tools", NOTE, text, group=CONTEXT, facts=facts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
