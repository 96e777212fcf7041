"""Give up the rights that tracing no longer needs once everything is attached.

Kept: CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, to find the owner of a socket in
/proc/PID/fd of any process, and CAP_BPF, to read the loss counters. They are used for
nothing else. The user becomes the one who called sudo, else nobody. The helper process
(enrich/broker.py) stays root with other capabilities.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable, Mapping

CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_BPF = 2, 19, 39
KEPT = (CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_BPF)
NOBODY = 65534

PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 8, 24, 38
HIGHEST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522


def user_to_become(environ: Mapping[str, str]) -> tuple[int, int]:
    """uid and gid: of the caller of sudo, else nobody's."""
    try:
        uid, gid = int(environ["SUDO_UID"]), int(environ["SUDO_GID"])
    except (KeyError, ValueError):
        return NOBODY, NOBODY
    valid = range(1, 2**32 - 1)
    return (uid, gid) if uid in valid and gid in valid else (NOBODY, NOBODY)


def drop_privileges(environ: Mapping[str, str] = os.environ) -> bool:
    """Drop what is not in KEPT; False if this process is not root or may not do it."""
    if os.geteuid() != 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = user_to_become(environ)
    try:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError:
        return False
    finally:
        libc.prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0)
    _set_capabilities(libc, KEPT)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.chdir("/")
    return True


def limit_capabilities(kept: Iterable[int]) -> None:
    """For a process that stays root: of its capabilities only these, also in what it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    kept = [bit for bit in kept if _permitted() >> bit & 1]
    for bit in range(HIGHEST_CAPABILITY + 1):
        if bit not in kept:
            libc.prctl(PR_CAPBSET_DROP, bit, 0, 0, 0)
    _set_capabilities(libc, kept)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _permitted() -> int:
    """Capabilities this process may use, as a mask."""
    with open("/proc/self/status") as status:
        return next((int(x.split()[1], 16) for x in status if x.startswith("CapPrm:")), 0)


def _set_capabilities(libc: ctypes.CDLL, kept: Iterable[int]) -> None:
    """capset(2): effective and permitted, nothing inheritable."""
    mask = sum(1 << bit for bit in kept)
    words = [mask & 0xFFFFFFFF, mask >> 32]
    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(b"".join(struct.pack("III", w, w, 0) for w in words))
    if libc.capset(header, data) != 0:
        # fewer rights than root had: keep none
        empty = ctypes.create_string_buffer(b"\0" * 24)
        libc.capset(header, empty)
