"""Takes raw records out of the perf buffer. The callback only copies bytes: bcc swallows
exceptions raised inside it, so decoding happens in the caller's loop."""

from __future__ import annotations

import ctypes
import os
import time
from collections import deque
from typing import Any

from rsttrace.kernel.loader import Kernel

BUDGET = 32 << 20  # bytes for all CPUs: a burst of some 10,000 resets on a small host
LEAST, MOST = 64, 2048  # pages for each CPU
PAGE = 4096
WAITING = 200_000  # records that were drained and not yet read; more stay in the perf buffer
BREATH_S = 0.005


class Reader:
    """The perf buffer of loaded programs as a queue of bytes."""

    def __init__(self, kernel: Kernel, record_size: int, pages: int | None = None) -> None:
        """``record_size``: bytes of a whole record. ``pages`` per CPU, a power of two."""
        self._kernel = kernel
        self._size = record_size
        self._queue: deque[bytes] = deque()
        self._drained = 0.0
        append, copy = self._queue.append, ctypes.string_at

        def on_record(_cpu: int, data: Any, size: int) -> None:
            append(copy(data, size))

        def on_lost(_count: int) -> None:
            """The programs count what they lose, by hook: see ``lost``."""

        kernel.events.open_perf_buffer(
            on_record, page_cnt=pages or pages_per_cpu(os.cpu_count() or 1), lost_cb=on_lost
        )

    def drain(self) -> None:
        """Make room in the perf buffer in the middle of other work; cheap if it was done just now.

        What comes out is kept for the next ``read``.
        """
        now = time.monotonic()
        if now - self._drained >= BREATH_S and len(self._queue) < WAITING:
            self._drained = now
            self._kernel.bpf.perf_buffer_poll(0)

    def read(self, timeout_ms: int) -> list[bytes]:
        """Wait for records, at most ``timeout_ms``; all that are there, in order per CPU.

        Records are sent without their empty end, and perf pads them: all come out whole.
        """
        self._kernel.bpf.perf_buffer_poll(0 if self._queue else timeout_ms)
        self._drained = time.monotonic()
        size = self._size
        records = [raw[:size].ljust(size, b"\0") for raw in self._queue]
        self._queue.clear()
        return records


def pages_per_cpu(cpus: int) -> int:
    """A power of two of pages that keeps all CPUs within BUDGET."""
    share = max(LEAST, min(MOST, BUDGET // PAGE // cpus))
    return 1 << (share.bit_length() - 1)
