"""Give back what the compiler needed: LLVM's heap and its pages of code."""

from __future__ import annotations

import contextlib
import ctypes

from rsttrace.kernel.loader import Kernel


def release_compiler_memory(kernel: Kernel) -> None:
    """After loading: drop bcc's compiler pages, then free heap to the system (glibc)."""
    free = getattr(kernel.bpf, "free_bcc_memory", None)
    if free:
        free()
    with contextlib.suppress(OSError, AttributeError):  # no glibc, no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def private_bytes() -> int:
    """Private memory of this process (smaps_rollup), in bytes."""
    total = 0
    with open("/proc/self/smaps_rollup") as file:
        for line in file:
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1]) * 1024
    return total
