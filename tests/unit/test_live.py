"""Answers from a /proc that was made for the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsttrace.enrich import listening, live, owners
from rsttrace.enrich.live import LiveContext, read_process
from rsttrace.enrich.owners import everyone
from rsttrace.enrich.recorded import RecordedContext

from .fakeproc import FakeProc

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def test_read_process(proc: FakeProc) -> None:
    proc.process(1432)
    found = read_process(1432)
    assert found
    assert (found.pid, found.comm, found.exe) == (1432, "nginx", "/usr/sbin/nginx")
    assert found.cmdline == "nginx -g daemon off;"
    assert found.cgroup == "/system.slice/nginx.service"
    assert read_process(5) is None


def test_process_without_exe_or_cgroup(proc: FakeProc) -> None:
    """Kernel threads, and processes that may not be looked into."""
    base = proc.process(2)
    (base / "exe").unlink()
    (base / "cgroup").unlink()
    found = read_process(2)
    assert found
    assert (found.exe, found.cgroup) == ("", "")


@pytest.mark.parametrize("odd", [b"a\nb", b"\x1b[31m", b"\xff\xfe", "\u2028".encode()])
def test_names_are_safe_to_print_and_to_encode(proc: FakeProc, odd: bytes) -> None:
    base = proc.process(3, odd)
    proc.link(base / "exe", b"/tmp/" + odd)
    found = read_process(3)
    assert found
    for text in (found.comm, found.exe, found.cmdline):
        assert text.isprintable()
        text.encode()


def test_socket_owner(proc: FakeProc) -> None:
    proc.process(4, sockets=(777,))
    noted: list[Any] = []
    context = LiveContext(lambda *what: noted.append(what))
    assert context.socket_owner(777) == 4
    assert ("owner", "777", 4) in noted
    assert context.socket_owner(1) is None


def test_process_that_died_keeps_its_name(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    base = proc.process(4)
    noted: list[Any] = []
    context = LiveContext(lambda *what: noted.append(what))
    first = context.process(4)
    (base / "comm").unlink()
    monkeypatch.setattr(live, "CACHE_SECONDS", -1.0)
    assert context.process(4) == first
    assert len(noted) == 1
    assert context.process(6) is None


def test_process_that_renamed_itself_is_told_again(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.process(4)
    noted: list[Any] = []
    context = LiveContext(lambda *what: noted.append(what))
    context.process(4)
    proc.process(4, b"other")
    monkeypatch.setattr(live, "CACHE_SECONDS", -1.0)
    found = context.process(4)
    assert found
    assert found.comm == "other"
    assert len(noted) == 2


def test_netns_name(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "host", lambda: (4026531840, "/proc/1/ns/net"))
    (proc.place / "netns").mkdir()
    blue = proc.place / "netns" / "blue"
    blue.write_text("")
    context = LiveContext()
    assert context.netns_name(blue.stat().st_ino) == "blue"
    assert context.netns_name(4026531840) == "host"
    assert context.netns_name(1) is None


def test_listening(proc: FakeProc) -> None:
    base = proc.process(1432, sockets=(777, 778))
    (base / "ns" / "net").write_text("")
    row = "   0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000 33 0 {} 1\n"
    (base / "net" / "tcp").write_text(
        HEADER
        + row.format("0500000A:1F90", "0A", 777)
        + row.format("00000000:0050", "0A", 5)
        + row.format("0500000A:1F91", "01", 9)  # a connection: the listeners come first
        + row.format("0500000A:1F92", "0A", 9)
    )
    six = row.replace("00000000:0000", f"{'0' * 32}:0000")
    (base / "net" / "tcp6").write_text(
        HEADER
        + six.format("0000000000000000FFFF00000500000A:1F90", "0A", 778)
        + six.format("000080FE000000000000000001000000:01BB", "0A", 6)
    )
    netns = (base / "ns" / "net").stat().st_ino
    found = {
        (x.address, x.port, x.inode, x.pid, x.comm, x.netns)
        for x in listening.listening(everyone())
    }
    assert found == {
        ("10.0.0.5", 8080, 777, 1432, "nginx", netns),
        ("0.0.0.0", 80, 5, 0, "", netns),
        ("10.0.0.5", 8080, 778, 1432, "nginx", netns),
        ("fe80::1", 443, 6, 0, "", netns),
    }


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "\n", HEADER + "0: x 0 0A\n", "junk\n" * 3])
def test_tables_that_are_odd(proc: FakeProc, text: str) -> None:
    base = proc.process(1)
    (base / "ns" / "net").write_text("")
    (base / "net" / "tcp").write_text(text)
    assert listening.listening(everyone()) == []


def test_no_proc_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (live, listening, owners):
        monkeypatch.setattr(module, "PROC", tmp_path / "none")
    monkeypatch.setattr(live, "RUN_NETNS", tmp_path / "none")
    context = LiveContext()
    assert context.process(1) is None
    assert context.socket_owner(1) is None
    assert context.netns_name(1) is None
    assert listening.listening(everyone()) == []


def test_names_of_threads(proc: FakeProc) -> None:
    """A thread that acts is told by its own name; it is that process all the same."""
    base = proc.process(1432, comm=b"java")
    for number, name in ((1432, b"java"), (1433, b"http-nio-8080-e"), (1434, b"\x1b[31m")):
        (base / "task" / str(number)).mkdir(parents=True)
        (base / "task" / str(number) / "comm").write_bytes(name + b"\n")
    found = read_process(1432)
    assert found
    assert found.threads == ("\\x1b[31m", "http-nio-8080-e")
    noted: list[Any] = []
    LiveContext(lambda *what: noted.append(what)).process(1432)
    recorded = RecordedContext()
    recorded.learn(*noted[0])
    assert recorded.process(1432) == found
