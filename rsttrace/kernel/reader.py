"""Takes raw records out of the perf buffer. The callback only copies bytes: bcc swallows
exceptions raised inside it, so decoding happens in the caller's loop."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

from rsttrace.kernel.loader import Kernel

PAGES_PER_CPU = 256  # of 4 KiB, a power of two: about 1,000 records


class Reader:
    """The perf buffer of loaded programs as a queue of bytes."""

    def __init__(self, kernel: Kernel, pages: int = PAGES_PER_CPU) -> None:
        self._kernel = kernel
        self._queue: deque[bytes] = deque()
        append, copy = self._queue.append, ctypes.string_at

        def on_record(_cpu: int, data: Any, size: int) -> None:
            append(copy(data, size))

        def on_lost(_count: int) -> None:
            """The programs count what they lose, by hook: see ``lost``."""

        kernel.events.open_perf_buffer(on_record, page_cnt=pages, lost_cb=on_lost)

    def read(self, timeout_ms: int) -> list[bytes]:
        """Wait for records, at most ``timeout_ms``; all that are there, in order per CPU."""
        self._kernel.bpf.perf_buffer_poll(timeout_ms)
        records = list(self._queue)
        self._queue.clear()
        return records
