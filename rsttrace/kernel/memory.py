"""Give back what the compiler needed: LLVM's heap, and its pages of code and tables.

After loading nothing of LLVM runs again, but its 75 MB of touched code would count as this
process's own memory for as long as it traces.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

COMPILER_LIBRARIES = ("libLLVM", "libclang", "libbcc", "libz3")
MADV_DONTNEED = 4


def release_compiler_memory() -> None:
    """Free heap to the system (glibc), drop the compiler's code pages.

    Only executable mappings: they are never written, so the kernel reads them from the file
    again if they are needed. Read-only data may hold relocations and stays.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):  # another C library has no malloc_trim
        libc.malloc_trim(0)
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != "r-xp":
            continue
        if Path(fields[5]).name.startswith(COMPILER_LIBRARIES):
            start, end = (int(x, 16) for x in fields[0].split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)


def private_bytes() -> int:
    """Private memory of this process (smaps_rollup), in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(x.split()[1]) for x in lines if x.startswith("Private_")) * 1024
