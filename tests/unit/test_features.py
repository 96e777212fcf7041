"""What the C sources use, and what the loader makes of what a kernel has."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rsttrace.errors import EXIT_CANNOT_TRACE, CannotTrace
from rsttrace.kernel import loader
from rsttrace.kernel.features import HOOKS, Features, short_names, used_members
from rsttrace.kernel.tracefs import fields, mounted, symbols

from .build import LAYOUT


def test_used_members() -> None:
    source = """
    /* READ(&x, sk, not_code, at_all) and OFF(neither, this) */
    #define OFF(s, m) OFF_##s##__##m
    READ(&r->uid, sk, sock, sk_uid);
    if (OFF(sock, sk_lock) >= 0)
        READ(&owned, sk + OFF(sock, sk_lock),
             socket_lock_t, owned);
    x = SKB_AT(p->block, u16, protocol);
    """
    assert used_members(source) == {
        ("sock", "sk_uid"),
        ("sock", "sk_lock"),
        ("socket_lock_t", "owned"),
        ("sk_buff", "protocol"),
    }


def test_used_members_of_the_real_sources() -> None:
    found = used_members(loader.read_sources())
    assert {
        ("tcp_sock", "rcv_nxt"),
        ("tcp_sock", "copied_seq"),
        ("sock_common", "skc_flags"),
    } <= found
    assert {("sk_buff", "head"), ("sk_buff", "data")} <= found
    assert all(re.fullmatch(r"\w{2,}", s) and re.fullmatch(r"\w+", m) for s, m in found)


def test_every_hook_has_a_source_and_a_kind() -> None:
    kinds = {name.removeprefix("KIND_").lower() for name in LAYOUT.numbers if "KIND_" in name}
    assert kinds - {"count"} == set(HOOKS)
    for hook in HOOKS:
        assert f"RAW_TRACEPOINT_PROBE({hook})" in loader.read_sources((hook,))


def test_short_names() -> None:
    enum = {1: "SKB_DROP_REASON_NO_SOCKET", 2: "SKB_CONSUMED", 3: "OTHER"}
    assert short_names(enum, "SKB_DROP_REASON_", "SKB_") == {
        1: "NO_SOCKET",
        2: "CONSUMED",
        3: "OTHER",
    }


FEATURES = Features(
    args={"tcp_send_reset": 3},
    offsets={("sock", "sk_uid"): 12, ("sock", "gone"): None},
    enums={"sk_rst_reason": {}, "skb_drop_reason": {9: "NETFILTER_DROP"}},
    page_struct_size=64,
)


def test_compile_flags() -> None:
    flags = loader.compile_flags(FEATURES, "(r)->lport == 80")
    assert "-DOFF_sock__sk_uid=12" in flags
    assert "-DOFF_sock__gone=-1" in flags
    assert "-DNARGS_tcp_send_reset=3" in flags
    assert "-DNETFILTER_DROP=9" in flags
    assert "-DKEEP(r)=((r)->lport == 80)" in flags
    assert FEATURES.missing_members == ["sock.gone"]


def test_kernel_without_drop_reasons() -> None:
    old = Features(FEATURES.args, FEATURES.offsets, {"skb_drop_reason": {}}, 64)
    assert "-DNETFILTER_DROP=-1" in loader.compile_flags(old, "1")


def test_unrelated_bcc_of_pypi(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("bcc")
    other.__file__ = "/somewhere/bcc.py"
    monkeypatch.setitem(sys.modules, "bcc", other)
    with pytest.raises(CannotTrace, match="is not BCC") as caught:
        loader.import_bcc()
    assert "pip uninstall bcc" in caught.value.hint
    assert caught.value.exit_code == EXIT_CANNOT_TRACE


def test_no_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    with pytest.raises(CannotTrace, match="bcc is missing") as caught:
        loader.import_bcc()
    assert "python3-bpfcc" in caught.value.hint


@pytest.mark.parametrize(
    ("capabilities", "enough"),
    [(0, False), (1 << 21, True), (1 << 38 | 1 << 39, True), (1 << 39, False), (1 << 38, False)],
)
def test_rights(monkeypatch: pytest.MonkeyPatch, capabilities: int, enough: bool) -> None:
    """CAP_SYS_ADMIN, or both CAP_PERFMON and CAP_BPF."""
    monkeypatch.setattr(loader, "_effective_capabilities", lambda: capabilities)
    if enough:
        loader.check_rights()
    else:
        with pytest.raises(CannotTrace, match="needs root"):
            loader.check_rights()


# -- tracefs ---------------------------------------------------------------------------------------

FORMAT = """\
name: tcp_send_reset
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:const void * skaddr;	offset:16;	size:8;	signed:0;
	field:__u8 saddr[28];	offset:32;	size:28;	signed:0;

print fmt: "%s", __print_symbolic(REC->state, { 1, "TCP_ESTABLISHED" }), \
__print_symbolic(REC->reason, { 0, "NOT_SPECIFIED" }, { 3, "NO_SOCKET" })
"""


def test_tracefs_format() -> None:
    assert fields(FORMAT) == {"common_type": 0, "skaddr": 16, "saddr": 32}
    assert symbols(FORMAT) == {0: "NOT_SPECIFIED", 3: "NO_SOCKET"}
    assert symbols("") == {}


def test_tracefs_mounted(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    assert mounted(mounts) is None
    mounts.write_text("proc /proc proc rw 0 0\n\n")
    assert mounted(mounts) is None
    mounts.write_text("tracefs /sys/kernel/tracing tracefs rw 0 0\n")
    assert mounted(mounts) == Path("/sys/kernel/tracing")
