"""Records out of the perf buffer, with a perf buffer that was made up."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from rsttrace.decode import Decoder
from rsttrace.kernel import reader as module
from rsttrace.kernel.reader import Reader, pages_per_cpu

from .build import LAYOUT, FakeNames, raw_record


class FakeKernel:
    """Hands its records to the callback when it is polled, as bcc does."""

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.pages = 0
        self.timeouts: list[int] = []
        self.callback: Any = None
        self.events = SimpleNamespace(open_perf_buffer=self.open)
        self.bpf = SimpleNamespace(perf_buffer_poll=self.poll)

    def open(self, callback: Any, page_cnt: int, lost_cb: Any) -> None:
        self.callback, self.pages = callback, page_cnt
        lost_cb(1)

    def poll(self, timeout_ms: int) -> None:
        self.timeouts.append(timeout_ms)
        for raw in self.pending:
            self.callback(0, ctypes.create_string_buffer(raw, len(raw)), len(raw))
        self.pending.clear()


def read(*pending: bytes) -> list[bytes]:
    kernel: Any = FakeKernel()
    reader = Reader(kernel, LAYOUT.size)
    kernel.pending += pending
    found = reader.read(0)
    assert reader.read(0) == []
    return found


def test_records_come_out_whole_and_in_order() -> None:
    records = [raw_record(time_ns=i, cpu=i) for i in range(5)]
    assert read(*records) == records


@pytest.mark.parametrize("junk", [b"\xff" * 4, b"\xff" * 8])
def test_what_perf_puts_behind_a_record_is_cut(junk: bytes) -> None:
    """Else a recording, which is cut by the record's size, could not be read again."""
    record = raw_record(time_ns=7, pid=5)
    assert read(record + junk) == [record]


def test_record_that_was_sent_without_its_empty_end() -> None:
    record = raw_record(time_ns=7, pid=5, kstack=(1, 2))
    short = record.rstrip(b"\0")
    assert len(short) < len(record)
    assert read(short) == [record]
    assert Decoder(LAYOUT, FakeNames()).decode(read(short)[0]).task.pid == 5


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64, 1024])
def test_size_of_the_buffer(cpus: int) -> None:
    pages = pages_per_cpu(cpus)
    assert pages & (pages - 1) == 0  # the kernel takes powers of two only
    assert 64 <= pages <= 2048
    assert pages == 64 or pages * 4096 * cpus <= 32 << 20
    kernel: Any = FakeKernel()
    Reader(kernel, LAYOUT.size, 8)
    assert kernel.pages == 8


# -- making room in the middle of other work -------------------------------------------------------

ONE, TWO, THREE = (raw_record(time_ns=i) for i in range(3))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "BREATH_S", 0.0)
    return FakeKernel()


def test_what_was_drained_is_read_first_and_at_once(kernel: Any) -> None:
    reader = Reader(kernel, LAYOUT.size)
    for record in (ONE, TWO):
        kernel.pending.append(record)
        reader.drain()
        assert kernel.pending == []
    kernel.pending.append(THREE)
    assert reader.read(500) == [ONE, TWO, THREE]
    assert kernel.timeouts == [0, 0, 0]  # there was something to read: nobody waits for more
    assert reader.read(500) == []
    assert kernel.timeouts[-1] == 500


def test_draining_again_and_again_costs_nothing(
    kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BREATH_S", 1000.0)
    reader = Reader(kernel, LAYOUT.size)
    reader.read(0)
    for _ in range(5):
        reader.drain()
    assert kernel.timeouts == [0]


def test_no_more_is_drained_than_can_be_kept(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest stays in the perf buffer, where the kernel counts what it loses."""
    monkeypatch.setattr(module, "WAITING", 2)
    reader = Reader(kernel, LAYOUT.size)
    for record in (ONE, TWO, THREE):
        kernel.pending.append(record)
        reader.drain()
    assert kernel.pending == [THREE]
    assert reader.read(0) == [ONE, TWO, THREE]
