"""What the loader finds out for itself."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from rsttrace.kernel.loader import kernel_hz

CONFIG = Path("/proc/config.gz")


class FakeSocket:
    """A socket of a kernel with so many jiffies per second, and its sums in integers."""

    hz = 250

    def __init__(self, *kind: int) -> None:
        self.jiffies = 0

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """sock_set_timeout()"""
        seconds, us = struct.unpack("@ll", value)
        self.jiffies = seconds * self.hz + -(-us // (1_000_000 // self.hz))

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        """sock_get_timeout()"""
        seconds, rest = divmod(self.jiffies, self.hz)
        value = struct.pack("@ll", seconds, rest * 1_000_000 // self.hz)
        assert size == len(value)
        return value


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
def test_kernel_hz(hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = type("Kind", (FakeSocket,), {"hz": hz})
    monkeypatch.setattr("socket.socket", kind)
    assert kernel_hz() == hz


def test_kernel_that_does_not_round_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that keeps the timeout as it is, or none: no division by zero."""
    kind: Any = type("Kind", (FakeSocket,), {"setsockopt": lambda *_: None})
    monkeypatch.setattr("socket.socket", kind)
    assert kernel_hz() == 1_000_000


def test_hz_of_the_running_kernel() -> None:
    assert kernel_hz() in (100, 250, 300, 1000)


@pytest.mark.skipif(not CONFIG.exists(), reason="this kernel does not show its configuration")
def test_hz_is_what_the_kernel_was_built_with() -> None:
    found = re.search(r"^CONFIG_HZ=(\d+)$", gzip.decompress(CONFIG.read_bytes()).decode(), re.M)
    assert found
    assert kernel_hz() == int(found[1])
