"""The sysctls that bear on resets, as the namespace of the question has them.

A process that has entered a network namespace finds that namespace's in /proc/sys/net. A few belong
to the whole host and are not shown there: these are read in the host's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rsttrace.enrich.place import Question
from rsttrace.enrich.sources import _spaces, _values

NAME = "settings"
SYSCTLS = "/proc/sys/"
LONGEST = 256  # bytes


def _group(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names.split())


# One value for all namespaces (compare /proc/sys/net in a new namespace and on the host).
HIDDEN = ("net.core.netdev_max_backlog", "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_mem")
READ_ONLY = ("net.netfilter.nf_conntrack_buckets", "net.netfilter.nf_conntrack_max")
# To change one of these, sysctl(8) has to run on the host, not in the container.
HOST_WIDE = frozenset(HIDDEN + READ_ONLY)
KNOWN = (
    "net.core.somaxconn",
    *_group(
        "net.ipv4.tcp_",
        "abort_on_overflow challenge_ack_limit ecn fastopen fastopen_blackhole_timeout_sec "
        "fin_timeout fwmark_accept invalid_ratelimit keepalive_intvl keepalive_probes "
        "keepalive_time l3mdev_accept max_syn_backlog max_tw_buckets migrate_req orphan_retries "
        "retries1 retries2 rfc1337 rmem rto_max_ms sack synack_retries syncookies "
        "syn_linear_timeouts syn_retries timestamps tw_reuse tw_reuse_delay window_scaling wmem",
    ),
    *_group("net.ipv4.ip_", "forward local_port_range local_reserved_ports nonlocal_bind"),
    *_group("net.ipv6.", "bindv6only ip_nonlocal_bind conf.all.forwarding"),
    *_group("net.mptcp.", "enabled add_addr_timeout checksum_enabled close_timeout"),
    "net.netfilter.nf_conntrack_count",
    *_group(
        "net.netfilter.nf_conntrack_tcp_",
        "be_liberal ignore_invalid_rst loose max_retrans no_window_check timeout_close "
        "timeout_close_wait timeout_established timeout_fin_wait timeout_last_ack "
        "timeout_max_retrans timeout_syn_recv timeout_syn_sent timeout_time_wait "
        "timeout_unacknowledged",
    ),
    *HIDDEN,
    *READ_ONLY,
)


def ask(_question: Question) -> dict[str, str]:
    """Name with dots and value, of those that this kernel has."""
    found = values(KNOWN)
    missing = [name for name in HIDDEN if name not in found]
    if missing:
        found.update(_spaces.in_host(lambda: values(missing)) or {})
    return found


def values(names: Iterable[str]) -> dict[str, str]:
    """Those of these sysctls that can be read here; several numbers with one blank between."""
    found = {}
    for name in names:
        try:
            descriptor = os.open(SYSCTLS + name.replace(".", "/"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found[name] = " ".join(os.read(descriptor, LONGEST).decode("ascii", "replace").split())
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return found


def read(value: Any) -> dict[str, str]:
    """Place.settings."""
    return _values.texts_by_name(value)
