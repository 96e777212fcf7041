"""rsttrace explain WORD: every name of this kernel that touches a reset, and pasted texts."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from rsttrace.causes import catalogue, words
from rsttrace.causes.lookup import find_in_text, find_word
from rsttrace.cli import run
from rsttrace.errors import EXIT_OK, EXIT_USAGE
from rsttrace.kernel.btf import VMLINUX
from rsttrace.kernel.features import probe
from rsttrace.kernel.names import kernel_name

# of these a segment that provokes a RST, or a RST in or out, can be dropped
TOUCHES_A_RESET = re.compile(
    r"(TCP|NETFILTER|SOCKET_(FILTER|BACKLOG)|XFRM|IP|NEIGH|QDISC|FQ|CAKE|BPF|SECURITY|PSP|TC"
    r"|MPTCP|TAP|VXLAN)_|NO_SOCKET$|NOT_SPECIFIED$|XDP$|PROTO_MEM$|CPU_BACKLOG$|OTHERHOST$"
)
# ... but not of these: protocols without reset
CANNOT = re.compile(r"IP_NOPROTO$")

needs_btf = pytest.mark.skipif(not VMLINUX.exists(), reason=f"no {VMLINUX}")


def kernel_enum(name: str) -> Iterable[str]:
    return probe("").enums[name].values()


# -- names of the running kernel -------------------------------------------------------------------


@needs_btf
def test_every_reset_reason_of_this_kernel_has_an_entry() -> None:
    """A kernel before 6.10 has no such enum; the list is then empty."""
    assert set(kernel_enum("sk_rst_reason")) - set(words()) == set()


@needs_btf
def test_every_drop_reason_of_this_kernel_that_touches_a_reset_has_an_entry() -> None:
    names = {n for n in kernel_enum("skb_drop_reason") if TOUCHES_A_RESET.match(n)}
    assert len(names) > 20
    assert {n for n in names if not CANNOT.match(n)} - set(words()) == set()


@needs_btf
@pytest.mark.parametrize("enum", ["sk_rst_reason", "skb_drop_reason"])
def test_every_name_of_this_kernel_gets_an_answer(enum: str) -> None:
    prefix = {"sk_rst_reason": "SK_RST_REASON_", "skb_drop_reason": "SKB_DROP_REASON_"}[enum]
    for name in kernel_enum(enum):
        for typed in (name, name.lower(), f"{prefix}{name}"):
            word = find_word(typed)
            other = None if word else kernel_name(typed)
            assert (word or other) is not None, typed
            assert name in {word.name if word else None, other.name if other else None}, typed


def test_kinds_of_the_names_that_are_two_things() -> None:
    """A name in both enums says so in its text."""
    both = [w for w in words().values() if w.kind == "reset-reason" and "drop reason" in w.text]
    assert {w.name for w in both} == {
        "NOT_SPECIFIED",
        "NO_SOCKET",
        "TCP_INVALID_ACK_SEQUENCE",
        "TCP_RFC7323_PAWS",
        "TCP_TOO_OLD_ACK",
        "TCP_ACK_UNSENT_DATA",
        "TCP_FLAGS",
        "TCP_OLD_ACK",
        "TCP_ABORT_ON_DATA",
        "MAX",
    }


@needs_btf
def test_names_in_both_enums_of_this_kernel_say_so() -> None:
    resets, drops = set(kernel_enum("sk_rst_reason")), set(kernel_enum("skb_drop_reason"))
    for name in resets & drops:
        assert "drop reason" in words()[name].text, name


# -- names that no reset depends on ----------------------------------------------------------------


@needs_btf
@pytest.mark.parametrize("name", ["UDP_CSUM", "skb_drop_reason_udp_csum"])
def test_a_reason_without_a_reset(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", name]) == EXIT_OK
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("UDP_CSUM (drop-reason)")
    assert "running kernel's enum skb_drop_reason" in text
    assert text.endswith("No reset is known to depend on it.")


def test_drop_reason_of_a_module(tmp_path: Path) -> None:
    name = "OVS_DROP_METER"
    absent = kernel_name(name, tmp_path / "vmlinux", tmp_path)
    assert absent
    assert absent.kind == "drop-reason"
    assert "does not have it now (module openvswitch)" in absent.text
    (tmp_path / "openvswitch").write_bytes(b"x\0OVS_DROP_METER\0y")
    present = kernel_name(name.lower(), tmp_path / "vmlinux", tmp_path)
    assert present
    assert present.name == name
    assert "the running kernel has it." in present.text


def test_counter_without_a_reset(tmp_path: Path) -> None:
    (tmp_path / "netstat").write_text("TcpExt: TCPHPHits TCPTimeouts\nTcpExt: 1 2\n")
    for typed in ("TCPHPHits", "TcpExtTCPHPHits", "tcphphits"):
        found = kernel_name(typed, tmp_path / "no-btf", tmp_path)
        assert found
        assert (found.name, found.kind) == ("TCPHPHits", "counter")
        assert "nstat -az TcpExtTCPHPHits" in found.text
    assert kernel_name("TCPHP", tmp_path / "no-btf", tmp_path) is None


def test_nothing_to_look_in(tmp_path: Path) -> None:
    assert kernel_name("UDP_CSUM", tmp_path / "no-btf", tmp_path) is None
    (tmp_path / "broken").write_bytes(b"\x9f\xeb")
    assert kernel_name("UDP_CSUM", tmp_path / "broken", tmp_path) is None


@pytest.mark.parametrize("typed", ["EAGAIN", "11", "Resource temporarily unavailable"])
def test_errno_without_a_reset(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", typed]) == EXIT_OK
    text = capsys.readouterr().out
    assert text.startswith("EAGAIN (errno)")
    assert "No reset" in text


@pytest.mark.parametrize(
    "typed", ["TCP_ABORT_ON_XX", "errorcode", "x y z", "/", "a" * 5000, "a\0b"]
)
def test_what_nobody_knows(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    if typed == "/":
        assert run(["explain", typed]) != EXIT_OK  # a directory, no recording
    else:
        assert run(["explain", typed]) == EXIT_USAGE
    assert capsys.readouterr().out == ""


# -- counters --------------------------------------------------------------------------------------


def test_counters_of_the_catalogue_have_entries() -> None:
    named = {counter for cause in catalogue().values() for counter in cause.counters}
    assert {name for name in named if not find_word(name)} == set()


def test_counters_people_ask_for() -> None:
    asked = """
        TcpOutRsts TcpEstabResets TcpAttemptFails TcpRetransSegs TCPAbortOnData TCPAbortOnClose
        TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPTimeouts TCPKeepAlive
        ListenOverflows ListenDrops EmbryonicRsts TCPChallengeACK TCPSYNChallenge
        TCPACKSkippedSynRecv TCPACKSkippedPAWS TCPACKSkippedSeq TCPACKSkippedFinWait2
        TCPACKSkippedTimeWait TCPACKSkippedChallenge TCPSynCookiesFailed SyncookiesFailed
        TCPTimeWaitOverflow TWKilled TCPMigrateReqSuccess TCPMigrateReqFailure PAWSActive PAWSEstab
        PAWSOldAck PAWSTimewait MPTcpExtMPRstTx MPTcpExtMPRstRx MPTcpExtMPFastcloseTx
        MPTcpExtMPFastcloseRx MPTcpExtMPJoinNoTokenFound TcpExtBeyondWindow
    """
    for name in asked.split():
        word = find_word(name)
        assert word, name
        assert word.kind == "counter", name


def test_counters_with_entries_exist() -> None:
    """None is misspelt in words.toml: a kernel that has the latest of them has them all."""
    here = set()
    for file in ("netstat", "snmp"):
        for line in Path("/proc/net", file).read_text().splitlines()[::2]:
            here |= set(line.split()[1:])
    if not here >= {"PAWSTimewait", "TCPAOBad", "FallbackFailed"}:
        pytest.skip("an older kernel, or one without TCP-AO or MPTCP")
    assert {w.name for w in words().values() if w.kind == "counter"} - here == set()


# -- spellings and pasted texts --------------------------------------------------------------------


def test_no_spelling_means_two_words() -> None:
    seen: dict[str, str] = {}
    for word in words().values():
        assert len(set(word.says)) == len(word.says), word.name
        for spelling in (word.name, *word.says):
            assert spelling == spelling.strip()
            assert spelling.lower() not in seen, f"{spelling}: {word.name}, {seen.get(spelling)}"
            seen[spelling.lower()] = word.name


def test_no_spelling_is_a_cause() -> None:
    """Causes are asked first; only insufficient-data is both."""
    assert {s for w in words().values() for s in (w.name, *w.says)} & {*catalogue()} == {
        "insufficient-data"
    }


@pytest.mark.parametrize("word", words())
def test_every_spelling_leads_to_its_word(word: str) -> None:
    for spelling in (word, *words()[word].says):
        for typed in (spelling, spelling.lower(), f" {spelling} "):
            found = find_word(typed)
            assert found, typed
            assert found.name == word, typed


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("Connection reset by peer", "ECONNRESET"),
        ("104", "ECONNRESET"),
        ("32", "EPIPE"),
        ("SK_RST_REASON_TCP_STATE", "TCP_STATE"),
        ("SKB_DROP_REASON_SKB_CSUM", "CSUM"),
        ("SKB_CSUM", "CSUM"),
        ("TcpExtTCPAbortOnClose", "TCPAbortOnClose"),
        ("MPTcpExtMPRstTx", "MPRstTx"),
        ("net::ERR_CONNECTION_RESET", "ERR_CONNECTION_RESET"),
        ("10054", "WSAECONNRESET"),
        ("499", "499"),
    ],
)
def test_spelled_by_people(typed: str, word: str) -> None:
    found = find_word(typed)
    assert found
    assert found.name == word


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("read tcp 10.0.0.1:1->10.0.0.2:80: read: connection reset by peer", "ECONNRESET"),
        ("recv() failed (104: Connection reset by peer) while reading upstream", "ECONNRESET"),
        ("[Errno 104] something localised", "ECONNRESET"),
        ("Os { code: 32, message: os error 32 }", "EPIPE"),
        ("send() failed (32: Broken pipe)", "EPIPE"),
        ("dial tcp 10.0.0.1:80: connect: connection refused", "ECONNREFUSED"),
        (
            "upstream prematurely closed connection while reading response header from upstream",
            "upstream prematurely closed connection",
        ),
        ("upstream timed out (110: Connection timed out) while connecting", "upstream timed out"),
        ("Error: socket hang up at connResetException", "socket hang up"),
        ("curl: (56) Recv failure: Connection reset by peer", "curl: (56)"),
        (
            "curl: (35) OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to x:443",
            "SSL_ERROR_SYSCALL",
        ),
        (
            "java.net.SocketException: Connection reset at java.base/sun.nio",
            "java.net.SocketException: Connection reset",
        ),
        (
            "An existing connection was forcibly closed by the remote host.",
            "WSAECONNRESET",
        ),
        ("kernel: TCP: too many orphaned sockets", "TCPAbortOnMemory"),
        ("TCP: request_sock_TCP: Possible SYN flooding on port 80.", "TCPReqQFullDoCookies"),
        ("    2116 connections reset due to unexpected data", "TCPAbortOnData"),
        ("TcpExtListenOverflows          12                 0.0", "ListenOverflows"),
        ("IP 10.0.0.1.80 > 10.0.0.2.99: Flags [R.], seq 0, ack 7, win 0", "Flags [R.]"),
        ("IP 10.0.0.1.80 > 10.0.0.2.99: Flags [R], seq 7, win 0", "Flags [R]"),
        ("nginx drop reason: SKB_DROP_REASON_TCP_RESET at tcp_validate_incoming", "TCP_RESET"),
        ("HTTP/1.1 502 Bad Gateway", "502"),
    ],
)
def test_pasted_lines(line: str, word: str) -> None:
    found = find_in_text(line)
    assert found
    assert found.name == word


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: something else",
        "took 1502 ms, max 499",
        "incomplete headers",
        "no idea",
        "xconnection refusedx",
        "ECONNRESETS many",
        "",
        "  ",
        "502.rec",
    ],
)
def test_lines_that_mean_nothing_here(line: str) -> None:
    assert find_in_text(line) is None


def test_a_file_is_a_file_and_not_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("connection refused yesterday").write_text("no recording")
    assert run(["explain", "connection refused yesterday"]) != EXIT_OK
    assert "is not a recording" in capsys.readouterr().err
    assert run(["explain", "connection refused today"]) == EXIT_OK
    assert capsys.readouterr().out.startswith("ECONNREFUSED (errno)")


def test_messages_say_whose_they_are_and_whether_a_reset_came() -> None:
    for word in words().values():
        if word.kind == "message":
            assert re.search(r"\bRSTs?\b|reset", word.text), word.name


def test_errno_entries_are_errnos() -> None:
    for word in words().values():
        if word.kind == "errno":
            assert word.name in errno.errorcode.values()
