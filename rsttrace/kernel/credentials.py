"""Credentials of one thread, by raw system calls (the C library would change all threads)."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

from rsttrace.privileges import NOBODY

SETRESUID = {"x86_64": 117, "aarch64": 147}
PR_GET_SECUREBITS, PR_SET_SECUREBITS = 27, 28
SECBIT_NO_SETUID_FIXUP = 4  # a change of uid keeps the capabilities


@contextlib.contextmanager
def not_uid_zero() -> Iterator[None]:
    """Run the body with another effective uid but all capabilities, if that can be done.

    bcc reads all of /proc/kallsyms into a table at every compile, which the programs here do
    not need and which takes 0.1 s; it leaves that out when geteuid() is not 0.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    number = SETRESUID.get(platform.machine())
    bits = libc.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)
    changed = (
        number is not None
        and bits >= 0
        and libc.prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0
        and libc.syscall(number, -1, NOBODY, -1) == 0
    )
    try:
        yield
    finally:
        if changed:
            libc.syscall(number, -1, 0, -1)
            libc.prctl(PR_SET_SECUREBITS, bits, 0, 0, 0)
