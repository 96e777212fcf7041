"""What this process may do."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from rsttrace.doctor.check import CONTEXT, MISSING, NEEDED, OK, SURE, Check
from rsttrace.doctor.host import Host
from rsttrace.errors import CannotTrace
from rsttrace.kernel import loader
from rsttrace.kernel.btf import Btf
from rsttrace.kernel.reader import PAGE, pages_per_cpu

CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK = 2, 12, 13, 14
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_SYSLOG = 19, 21, 24, 34
CAP_PERFMON, CAP_BPF = 38, 39
INITIAL_USER_NAMESPACE = "user:[4026531837]"  # PROC_USER_INIT_INO, include/linux/proc_ns.h
UNPRIVILEGED = (
    "kernel.unprivileged_bpf_disabled does not matter: whatever it is, reading the kernel's memory "
    "needs CAP_PERFMON"
)
# this helper function came with the kernel that charges BPF's memory to the cgroup (5.11); libbpf
# looks for the same one (probe_memcg_account())
COUNTED_BY_CGROUP = "BPF_FUNC_ktime_get_coarse_ns"


@dataclass(frozen=True)
class Right:
    """A capability and what it is for."""

    name: str
    bit: int
    use: str
    group: str = CONTEXT


RIGHTS = (
    Right("CAP_BPF", CAP_BPF, "load BPF programs, read their counters", NEEDED),
    Right("CAP_PERFMON", CAP_PERFMON, "attach them to tracepoints, read kernel memory", NEEDED),
    Right("CAP_SYSLOG", CAP_SYSLOG, "see kernel addresses, so that stacks have names", SURE),
    Right("CAP_SYS_ADMIN", CAP_SYS_ADMIN, "enter network namespaces"),
    Right("CAP_NET_ADMIN", CAP_NET_ADMIN, "read firewall rules and conntrack of a namespace"),
    Right("CAP_NET_RAW", CAP_NET_RAW, "read the rules of iptables-legacy"),
    Right("CAP_SYS_PTRACE", CAP_SYS_PTRACE, "find socket owners and namespaces in /proc"),
    Right("CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH, "read /proc/PID/fd of other users"),
)
# before Linux 5.8 CAP_SYS_ADMIN was all there was, and it still stands for these
STANDS_FOR = {CAP_BPF, CAP_PERFMON, CAP_SYSLOG}


def rights(host: Host) -> Iterator[Check]:
    """May this process load BPF programs?"""
    try:
        loader.check_rights()
    except CannotTrace as err:
        text, remedy = err.message, err.hint
        if os.geteuid() == 0:
            text = "this root lacks CAP_BPF or CAP_PERFMON: a container took them away."
            remedy = "Run it on the host, or start the container with: --privileged --pid=host"
        yield Check("rights", MISSING, text, remedy, fatal=True, more=(UNPRIVILEGED,))
    else:
        yield Check("rights", OK, "this user may load BPF programs")


def capabilities(host: Host) -> Iterator[Check]:
    """Each right of use, and what it is for."""
    lacking = [right for right in RIGHTS if not _holds(host, right)]
    more = tuple(
        f"{right.name}, to {right.use}: {'missing' if right in lacking else 'there'}"
        for right in RIGHTS
    )
    facts = {right.name: right not in lacking for right in RIGHTS}
    if not lacking:
        yield Check("capabilities", OK, f"all {len(RIGHTS)} of use", more=more, facts=facts)
        return
    text = f"missing: {', '.join(right.name for right in lacking)}"
    yield Check("capabilities", MISSING, text, _why(host), more=more, facts=facts)


def _holds(host: Host, right: Right) -> bool:
    return host.may(right.bit) or (right.bit in STANDS_FOR and host.may(CAP_SYS_ADMIN))


def _why(host: Host) -> str:
    return "" if os.geteuid() == 0 else "Root has them all."


def user_namespace(host: Host) -> Iterator[Check]:
    """The root of a user namespace has capabilities, but not over the kernel."""
    link = host.link("proc/self/ns/user")
    if link in ("", INITIAL_USER_NAMESPACE):
        return
    yield Check(
        "user namespace",
        MISSING,
        "this is a rootless container: its root has no rights over the kernel",
        "Run it on the host: sudo rsttrace",
        fatal=True,
    )


def memory(host: Host) -> Iterator[Check]:
    """Limits on locked memory: for the perf buffers, and before Linux 5.11 for BPF's maps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if not (host.may(CAP_SYS_ADMIN) or (host.may(CAP_BPF) and host.may(CAP_PERFMON))):
        return  # it does not come to that
    remedy = "Run as root, or first: ulimit -l unlimited"
    if buffers := _perf_buffers(host, soft):
        yield Check("memory", MISSING, buffers, remedy, fatal=True)
        return
    raised = host.may(CAP_SYS_RESOURCE) or resource.RLIM_INFINITY in (soft, hard)
    if raised or _counted_by_cgroup():
        yield Check("memory", OK, "no limit on locked memory stands in the way")
        return
    text = f"this kernel counts BPF's maps as locked memory, and its limit is {soft >> 10} kB"
    yield Check("memory", MISSING, text, remedy)


def _perf_buffers(host: Host, soft: int) -> str:
    """Why the kernel would refuse the perf buffers, empty if it does not (perf_mmap())."""
    paranoid = host.number("proc/sys/kernel/perf_event_paranoid")
    free = host.may(CAP_IPC_LOCK) or paranoid is None or paranoid < 0
    if free or soft == resource.RLIM_INFINITY:
        return ""
    cpus = os.cpu_count() or 1
    wanted = pages_per_cpu(cpus) * cpus * PAGE
    allowed = (host.number("proc/sys/kernel/perf_event_mlock_kb") or 0) * 1024 * cpus + soft
    if wanted <= allowed:
        return ""
    return (
        f"without CAP_IPC_LOCK {allowed >> 20} MB may be locked, the perf buffers need "
        f"{wanted >> 20} MB (kernel.perf_event_paranoid is {paranoid})"
    )


def _counted_by_cgroup() -> bool:
    try:
        numbers = Btf.load(["bpf_func_id"]).enum("bpf_func_id")
    except CannotTrace:
        return True  # told by the check of BTF
    return COUNTED_BY_CGROUP in numbers.values()
