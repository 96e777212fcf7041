"""Compile, load and attach the programs in bpf/ with the distribution's bcc.

No kernel headers: ``BCC_KERNEL_SOURCE`` points at the stub tree in bpf/include, struct
offsets come from BTF as ``-D`` flags. Raw tracepoints need neither tracefs nor perf events. Without
BTF the programs in bpf/nobtf are taken, classic tracepoints, which need both.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsttrace.errors import CannotTrace
from rsttrace.kernel.credentials import not_uid_zero
from rsttrace.kernel.features import HOOKS, NOT_IN_EVENTS, ON_DEMAND, Features, examine

HEADERS = ("record.h", "common.h", "socket.h", "packet.h", "find.h")
NEEDED = ("tcp_send_reset", "tcp_receive_reset", "net_dev_queue")
# those that the programs ask for; -1 where this kernel has no such reason
DROP_REASONS = ("NETFILTER_DROP", "NO_SOCKET", "TCP_INVALID_SYN", "TCP_RESET")
WITHOUT_BTF = ("record.h", "common.h", "nobtf/event.h")
KEEP_ALL = "1"
FOLLOWING = ("followed", "not_followed")  # maps of sched_process_fork
# bcc asks clang for debug information and for -O2, then optimizes the module itself: without
# these two the start takes a third longer
QUICK = ("-g0", "-Xclang", "-disable-llvm-passes")
_TIMEVAL = struct.Struct("@ll")
# x86-64 without KASLR, 4-level page tables (Documentation/arch/x86/x86_64/mm.rst); the
# programs prove them before use
DEFAULT_PAGE_BASES = (0xFFFFEA0000000000, 0xFFFF888000000000)


def bpf_dir() -> Path:
    """The C sources: in the wheel as rsttrace/_bpf, in a checkout as bpf/."""
    package = Path(__file__).resolve().parent.parent
    return next(d for d in (package / "_bpf", package.parent / "bpf") if d.is_dir())


def read_sources(hooks: tuple[str, ...] = tuple(HOOKS), btf: bool = True) -> str:
    """Headers and the given hooks as one C text."""
    directory = bpf_dir()
    files = [*HEADERS, *(f"{hook}.c" for hook in hooks)]
    if not btf:
        files = [*WITHOUT_BTF, *(f"nobtf/{hook}.c" for hook in hooks)]
    return "\n".join((directory / name).read_text() for name in files)


def import_bcc() -> Any:
    """The distribution's bcc module, or CannotTrace with the remedy."""
    try:
        bcc = importlib.import_module("bcc")
    except ImportError as err:
        raise CannotTrace(
            f"the Python module bcc is missing for {sys.executable}.",
            "Install it with: apt install python3-bpfcc (Fedora: dnf install python3-bcc), "
            "and run rsttrace with /usr/bin/python3.",
        ) from err
    except Exception as err:  # built for another Python, or a library of it is missing
        raise CannotTrace(
            f"the Python module bcc does not work: {err}.",
            "Install it again with: apt install --reinstall python3-bpfcc libbpfcc",
        ) from err
    if not hasattr(bcc, "BPF"):
        raise CannotTrace(
            f"the module bcc at {bcc.__file__} is not BCC, the BPF compiler: "
            "PyPI has an unrelated package of that name.",
            "Remove it with: pip uninstall bcc; then: apt install python3-bpfcc",
        )
    return bcc


def check_rights() -> None:
    """CannotTrace unless this process may load BPF programs."""
    needed = {"CAP_PERFMON": 38, "CAP_BPF": 39}
    effective = _effective_capabilities()
    sys_admin = effective >> 21 & 1
    if not sys_admin and any(not effective >> bit & 1 for bit in needed.values()):
        raise CannotTrace(
            "tracing the kernel needs root.", f"Run: sudo {' '.join(['rsttrace', *sys.argv[1:]])}"
        )


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def compile_flags(features: Features, keep: str) -> list[str]:
    """The -D flags that carry what is known about this kernel and the user's filter."""
    drop = {name: number for number, name in features.enums["skb_drop_reason"].items()}
    flags = [f"-DOFF_{s}__{m}={-1 if o is None else o}" for (s, m), o in features.offsets.items()]
    flags += [f"-DNARGS_{hook}={n}" for hook, n in features.args.items()]
    flags += [f"-DFN_{helper}={n}" for helper, n in features.helpers.items()]
    if features.no_btf:
        from rsttrace.kernel import formats

        flags += formats.flags(features.formats)
        keep = f"{keep} || !(r)->rport"  # a listener's other end is not known: it may be the one
    return [
        *flags,
        *(f"-D{name}={drop.get(name, -1)}" for name in DROP_REASONS),
        f"-DKERNEL_HZ={kernel_hz()}",
        f"-DPAGE_STRUCT_SIZE={features.page_struct_size}",
        f"-DIN_NETNS(r, inode)=({'1' if features.no_btf else '(r)->netns == (inode)'})",
        f"-DKEEP(r)=({keep})",
        "-Wno-everything",
        *QUICK,
    ]


def kernel_hz() -> int:
    """Jiffies per second: SO_RCVTIMEO rounds a microsecond up to one (sock_set_timeout())."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, 1))
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.size)
    jiffy_us: int = _TIMEVAL.unpack(raw)[1]
    return 1_000_000 // max(1, jiffy_us)


@dataclass(frozen=True)
class Prepared:
    """All that must be known before the compiler can start."""

    bcc: Any
    features: Features


def prepare() -> Prepared:
    """Check rights, bcc, BTF and tracepoints; CannotTrace with the remedy if one is missing."""
    check_rights()
    bcc = import_bcc()
    features = examine(read_sources((*HOOKS, *ON_DEMAND)))
    lacking = [h for h in NEEDED if h not in features.args]
    if features.no_btf:
        lacking = [h for h in lacking if h not in NOT_IN_EVENTS]
    if lacking:
        raise CannotTrace(
            f"this kernel has no tracepoint {', '.join(lacking)}.",
            "rsttrace needs Linux 5.5 or newer with CONFIG_INET and tracepoints.",
        )
    return Prepared(bcc, features)


def load_in_background(
    prepared: Prepared,
    keep: str = KEEP_ALL,
    skip: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
) -> Future[Kernel]:
    """Compile in a thread: the compiler is C and leaves Python free for other work."""
    pool = ThreadPoolExecutor(1)
    loading = pool.submit(Kernel, prepared, keep, skip, extra)
    pool.shutdown(wait=False)
    return loading


class Kernel:
    """The loaded programs. ``bpf`` is the bcc object; ``features`` what the kernel has."""

    def __init__(
        self,
        prepared: Prepared,
        keep: str = KEEP_ALL,
        skip: tuple[str, ...] = (),
        extra: tuple[str, ...] = (),
    ) -> None:
        """Load all hooks this kernel has but those in ``skip``; CannotTrace if it cannot.

        ``extra``: hooks of ON_DEMAND that are wanted as well, if this kernel has them.
        """
        self.features = prepared.features
        self.hooks = tuple(h for h in self.features.args if h not in skip)
        self.hooks += tuple(h for h in self.features.on_demand if h in extra)
        self.bpf = self._load(prepared.bcc, keep)
        names = ("events", "lost", "page_bases", *(FOLLOWING if self.follows else ()))
        self._tables = {name: self.bpf[name] for name in names}

    @property
    def follows(self) -> bool:
        """Can it tell which processes a followed one starts?"""
        return "sched_process_fork" in self.hooks

    def _load(self, bcc: Any, keep: str) -> Any:
        os.environ["BCC_KERNEL_SOURCE"] = str(bpf_dir())
        text = read_sources(self.hooks, not self.features.no_btf)
        flags = compile_flags(self.features, keep)

        def build() -> Any:
            with not_uid_zero():
                return bcc.BPF(text=text, cflags=flags)

        with _captured_stderr() as talk:
            try:
                return _where_events_are(build) if self.features.no_btf else build()
            except Exception as err:  # bcc raises bare Exception for all failures
                reason = str(err).strip().splitlines()
                detail = talk().strip().splitlines()
        raise CannotTrace(
            f"the kernel did not take the programs: {(reason or ['unknown reason'])[-1]}",
            "See: rsttrace doctor" + (f" ({detail[0][:160]})" if detail else ""),
        )

    def set_page_bases(self, vmemmap_base: int, page_offset_base: int) -> None:
        """Tell the programs where the kernel keeps these variables (0: not known)."""
        table = self._tables["page_bases"]
        for key, value in enumerate((*DEFAULT_PAGE_BASES, vmemmap_base, page_offset_base)):
            table[ctypes.c_int(key)] = ctypes.c_uint64(value)

    @property
    def events(self) -> Any:
        """The perf buffer's table."""
        return self._tables["events"]

    def lost(self) -> int:
        """Records that did not fit into the perf buffer, over all hooks and CPUs."""
        return sum(sum(per_cpu) for per_cpu in self._tables["lost"].values())

    def follow(self, pid: int) -> None:
        """From now on everything that this process starts is followed as well."""
        self._tables["followed"][ctypes.c_uint32(pid)] = ctypes.c_uint32(0)

    def is_followed(self, pid: int) -> bool:
        """Is, or was, this process followed?"""
        return ctypes.c_uint32(pid) in self._tables["followed"]

    def followed(self) -> set[int]:
        """All processes that were followed so far, also those that have ended."""
        return {key.value for key in self._tables["followed"]}

    def not_followed(self) -> int:
        """How many processes should have been followed, but there were too many."""
        return int(self._tables["not_followed"][ctypes.c_int(0)].value)

    def close(self) -> None:
        """Detach and unload."""
        # bcc must drop the perf buffer while its map is still open
        self._tables.clear()
        self.bpf.cleanup()


def _where_events_are(build: Callable[[], Any]) -> Any:
    """Classic tracepoints are attached by way of tracefs."""
    from rsttrace.kernel import tracefs

    return tracefs.reading(lambda _place: build())


@contextlib.contextmanager
def _captured_stderr() -> Any:
    """Keep the compiler's talk off the user's terminal; yields a function that returns it."""
    saved = os.dup(2)
    with os.fdopen(os.memfd_create("compiler"), "w+b") as file:
        os.dup2(file.fileno(), 2)

        def text() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)
