"""What rsttrace believes of the running kernel, held against the kernel's own word."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rsttrace.causes import words
from rsttrace.kernel import tracefs
from rsttrace.kernel.features import HOOKS, Features, probe, short_names
from rsttrace.kernel.loader import read_sources
from rsttrace.kernel.symbols import KALLSYMS, Symbols
from rsttrace.lab.net import Lab
from rsttrace.session import Session

from .conftest import in_private_mounts, knock, live_session

pytestmark = pytest.mark.kernel

SUBSYSTEM = {
    "tcp_send_reset": "tcp",
    "tcp_receive_reset": "tcp",
    "kfree_skb": "skb",
    "net_dev_queue": "net",
    "netif_receive_skb": "net",
    "inet_sock_set_state": "sock",
    "inet_sk_error_report": "sock",
}
# what the programs read of the raw tracepoint, by the name that the format file gives it
FIELDS = {
    "tcp_send_reset": {"skbaddr", "skaddr"},
    "tcp_receive_reset": {"skaddr"},
    "kfree_skb": {"skbaddr", "location"},
    "net_dev_queue": {"skbaddr"},
    "netif_receive_skb": {"skbaddr"},
    "inet_sock_set_state": {"skaddr", "oldstate", "newstate"},
    "inet_sk_error_report": {"error", "sport", "dport"},
}


@pytest.fixture(scope="module")
def formats() -> dict[str, str]:
    """The format files, read in a mount namespace that has tracefs."""
    place = "/sys/kernel/tracing"
    names = [f"{place}/events/{SUBSYSTEM[hook]}/{hook}/format" for hook in HOOKS]
    prefix = in_private_mounts(f"mount -t tracefs none {place}")
    argv = [*prefix, "tail", "-n", "+1", *names]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    parts = re.split(r"^==> .*/(\w+)/format <==$", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.fixture(scope="module")
def features() -> Features:
    """The same facts out of BTF."""
    return probe(read_sources())


def test_hooks(formats: Mapping[str, str], features: Features) -> None:
    """BTF and tracefs name the same tracepoints."""
    assert set(formats) == set(features.args)


@pytest.mark.parametrize("hook", HOOKS)
def test_fields(formats: Mapping[str, str], hook: str) -> None:
    """The arguments that the programs take by position are the ones they think."""
    if hook not in formats:
        pytest.skip(f"this kernel has no {hook}")
    assert tracefs.fields(formats[hook]).keys() >= FIELDS[hook]


@pytest.mark.parametrize(
    ("enum", "hook", "prefixes"),
    [
        ("sk_rst_reason", "tcp_send_reset", ("SK_RST_REASON_",)),
        ("skb_drop_reason", "kfree_skb", ("SKB_DROP_REASON_", "SKB_")),
    ],
)
def test_enums(
    formats: Mapping[str, str], features: Features, enum: str, hook: str, prefixes: tuple[str, ...]
) -> None:
    """Every number that tracefs names has the same name in BTF."""
    printed = short_names(tracefs.symbols(formats[hook]), *prefixes)
    known = features.enums[enum]
    assert bool(printed) == bool(known)
    if not printed:
        pytest.skip(f"this kernel has no {enum}")
    assert {number: known.get(number) for number in printed} == printed
    # BTF also has those that are not printed: MAX, MASK, subsystems
    assert len(known) >= len(printed) > 20


def test_reasons_have_words(features: Features) -> None:
    """`explain` knows every reset reason that this kernel can give."""
    assert set(features.enums["sk_rst_reason"].values()) - set(words()) == set()


@pytest.mark.parametrize(
    "member",
    [
        "sock_common.skc_state",
        "sock_common.skc_net",
        "sock.sk_lingertime",
        "inet_sock.inet_sport",
        "tcp_sock.rcv_nxt",
        "tcp_sock.copied_seq",
        "sk_buff.head",
        "sk_buff.network_header",
        "net_device.nd_net",
        "task_struct.exit_code",
    ],
)
def test_members(features: Features, member: str) -> None:
    """BTF has what most verdicts rest on, at an offset that can be."""
    struct, name = member.split(".")
    offset = features.offsets[struct, name]
    assert offset is not None
    assert 0 <= offset < 16384


# -- symbols


PER_CPU = """\
0000000000000000 A fixed_percpu_data
0000000000000000 A __per_cpu_start
0000000000001000 A cpu_debug_store
"""


def test_table_of_an_older_kernel(tmp_path: Path) -> None:
    """x86-64 before 6.15 lists its per-CPU variables first, from address 0: nothing is hidden."""
    file = tmp_path / "kallsyms"
    file.write_text(PER_CPU + KALLSYMS.read_text())
    symbols = Symbols(file)
    try:
        assert symbols.available
    finally:
        if symbols._file:
            symbols._file.close()


# -- the record


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """The programs as loaded."""
    with live_session() as live:
        yield live


def test_layout_is_the_compilers(session: Session) -> None:
    """Every field of struct record is where the compiler put it, and no byte is left over."""
    record = session.kernel.bpf["scratch"].Leaf._type_  # one for each CPU
    assert ctypes.sizeof(record) == session.layout.size
    offset = 0
    for name, code in session.layout.fields:
        member = getattr(record, name)
        size = ctypes.sizeof(dict(record._fields_)[name])
        assert (name, member.offset, member.size) == (name, offset, size)
        offset += size
        assert size == ctypes.sizeof(ctypes.c_char) * _size(code)


def _size(code: str) -> int:
    count, kind = int(code[:-1]), code[-1]
    return count * {"s": 1, "B": 1, "H": 2, "I": 4, "Q": 8}[kind]


def test_record_as_it_arrives(session: Session, lab: Lab) -> None:
    """Records out of the perf buffer are whole, of this machine's clock, and of our namespaces."""
    session._reader.read(0)
    knock(lab, 8080)
    raw = []
    lab.wait_for(lambda: len(raw.extend(session._reader.read(20)) or raw) >= 5, "records")
    assert {len(one) for one in raw} == {session.layout.size}
    seen = [session.layout.unpack(one) for one in raw]
    ours = [one for one in seen if one["netns"] in lab.netns.values()]
    kinds = {session.layout.numbers[f"KIND_{hook.upper()}"] for hook in session.kernel.hooks}
    assert len(ours) >= 5
    assert {one["kind"] for one in ours} <= kinds
    assert all(session.started_ns < one["time_ns"] for one in ours)
    assert all(one["cpu"] < (os.cpu_count() or 1) for one in ours)
