"""What this kernel has: hooks, struct members, enum names; by presence, never by version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rsttrace.errors import CannotTrace
from rsttrace.kernel.btf import VMLINUX, Btf

# hook name -> what is lost without it
HOOKS: Mapping[str, str] = {
    "tcp_send_reset": "who decided to send a reset, and why",
    "tcp_receive_reset": "whether a received reset was believed",
    "kfree_skb": "resets that were refused, and the firewall's part",
    "net_dev_queue": "resets that the TCP stack did not make itself",
    "netif_receive_skb": "the received reset as it came in",
    "inet_sock_set_state": "the state before an abort, and the age of the connection",
    "inet_sk_error_report": "the errno of aborts without a reset (kernels before 5.14 lack it)",
}
# hooks that are attached only where they are asked for -> what is lost without them
ON_DEMAND: Mapping[str, str] = {
    "sched_process_fork": "which processes a watched one has started",
}
# without BTF the kernel shows of these hooks only the address of a packet
NOT_IN_EVENTS = ("kfree_skb", "net_dev_queue", "netif_receive_skb")
ENUMS = ("sk_rst_reason", "skb_drop_reason")
# helper functions of the kernel that the programs can do without
HELPERS = ("get_current_task_btf", "task_pt_regs")

_OFF = re.compile(r"\bOFF\((\w+),\s*(\w+)\)")
_READ = re.compile(r"\bREAD\([^;]*?,\s*(\w+),\s*(\w+)\)")
_SKB_AT = re.compile(r"\bSKB_AT\([^;]*?,\s*(\w+)\)")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Features:
    """Facts about the running kernel that the loader and the decoder need.

    ``args`` maps each hook this kernel has to its number of arguments, ``offsets`` maps
    (struct, member) to a byte offset or None, ``enums`` maps an enum to its names by number,
    ``helpers`` those of HELPERS that this kernel has to their numbers, ``on_demand`` those hooks of
    ON_DEMAND that it has.

    Without BTF (``no_btf`` says why) no offset is known, and ``formats`` has those of the events'
    own fields (kernel/formats.py): only the hooks that can do with these are in ``args``.
    """

    args: Mapping[str, int]
    offsets: Mapping[tuple[str, str], int | None]
    enums: Mapping[str, Mapping[int, str]]
    page_struct_size: int
    missing_hooks: tuple[str, ...] = field(default=())
    helpers: Mapping[str, int] = field(default_factory=dict)
    on_demand: tuple[str, ...] = field(default=())
    formats: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    no_btf: str = ""

    @property
    def missing_members(self) -> list[str]:
        """Members the C code would read but this kernel does not have. Of one that describes none,
        nobody knows.
        """
        if self.no_btf:
            return []
        return [f"{s}.{m}" for (s, m), offset in self.offsets.items() if offset is None]


def used_members(source: str) -> set[tuple[str, str]]:
    """The (struct, member) pairs that C source names in OFF(), READ() and SKB_AT()."""
    source = _COMMENT.sub("", source)
    macros = {("s", "m"), ("sk_buff", "m")}
    found = set(_OFF.findall(source)) | set(_READ.findall(source))
    found |= {("sk_buff", m) for m in _SKB_AT.findall(source)}
    return found - macros


def short_names(enum: Mapping[int, str], *prefixes: str) -> dict[int, str]:
    """Enum names as tracefs prints them: without the common prefix."""
    result = {}
    for number, name in enum.items():
        for prefix in prefixes:
            name = name.removeprefix(prefix)
        result[number] = name
    return result


def probe(source: str, path: Path = VMLINUX) -> Features:
    """Ask BTF for everything that ``source`` (all of bpf/*.c and *.h) uses; CannotTrace without."""
    members = used_members(source)
    names = {s for s, _ in members} | {*ENUMS, "page", "bpf_func_id"}
    names |= {f"btf_trace_{h}" for h in (*HOOKS, *ON_DEMAND)}
    btf = Btf.load(names, path)
    structs = {s: btf.members(s) for s in {s for s, _ in members}}
    args = {h: n for h in HOOKS if (n := btf.tracepoint_args(h)) is not None}
    return Features(
        args=args,
        offsets={(s, m): structs[s].get(m) for s, m in sorted(members)},
        enums={
            "sk_rst_reason": short_names(btf.enum("sk_rst_reason"), "SK_RST_REASON_"),
            "skb_drop_reason": short_names(btf.enum("skb_drop_reason"), "SKB_DROP_REASON_", "SKB_"),
        },
        page_struct_size=btf.size("page") or 64,
        missing_hooks=tuple(h for h in HOOKS if h not in args),
        helpers={
            name: number
            for number, name in short_names(btf.enum("bpf_func_id"), "BPF_FUNC_").items()
            if name in HELPERS
        },
        on_demand=tuple(h for h in ON_DEMAND if btf.tracepoint_args(h) is not None),
    )


def examine(source: str, path: Path = VMLINUX) -> Features:
    """The same; without BTF what the events' formats say. CannotTrace if neither can be read."""
    try:
        return probe(source, path)
    except CannotTrace as err:
        return _by_formats(source, err)


def _by_formats(source: str, problem: CannotTrace) -> Features:
    from rsttrace.kernel import formats, tracefs

    try:
        texts = tracefs.reading(formats.read)
    except CannotTrace as err:
        raise CannotTrace(f"{problem.message} Without that, {err.message}", err.hint) from err
    except OSError as err:
        raise problem from err
    known = formats.usable(texts)
    args = {hook: len(known[hook]) for hook in HOOKS if hook in known}
    return Features(
        args=args,
        offsets=dict.fromkeys(sorted(used_members(source))),
        enums=formats.enums(texts),
        page_struct_size=64,
        missing_hooks=tuple(h for h in HOOKS if h not in args),
        on_demand=tuple(h for h in ON_DEMAND if h in known),
        formats=known,
        no_btf=problem.message,
    )
