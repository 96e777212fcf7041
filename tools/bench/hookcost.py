"""What the kernel itself says each hook costs: run count and run time of BPF programs.

BPF_ENABLE_STATS (Linux 5.8) holds as long as its file descriptor is open: there is no sysctl
to put back. The times include about 20 ns of the measurement itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from procs import CHECKOUT

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_ENABLE_STATS = 13, 15, 32
ATTR_BYTES = 128
NAME_AT, NAME_BYTES, INFO_BYTES = 64, 16, 256  # struct bpf_prog_info

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Runs:
    """How often a program ran, and for how long in all."""

    count: int
    ns: int


def _bpf(command: int, attributes: bytes) -> int:
    number = SYS_BPF.get(platform.machine())
    if number is None:
        raise OSError(f"the number of bpf(2) on {platform.machine()} is not known")
    attr = ctypes.create_string_buffer(attributes, ATTR_BYTES)
    found: int = _libc.syscall(number, command, attr, ATTR_BYTES)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


@contextlib.contextmanager
def statistics_on() -> Iterator[None]:
    """The kernel takes the time of every BPF program while the body runs."""
    fd = _bpf(BPF_ENABLE_STATS, struct.pack("=I", 0))
    try:
        yield
    finally:
        os.close(fd)


def _name(program: int) -> str:
    fd = _bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("=I", program))
    try:
        info = ctypes.create_string_buffer(INFO_BYTES)
        _bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, INFO_BYTES, ctypes.addressof(info)))
        name = info.raw[NAME_AT : NAME_AT + NAME_BYTES].split(b"\0")[0].decode()
    finally:
        os.close(fd)
    # the kernel keeps 15 bytes of a name; the hooks are files of bpf/
    hooks = (path.stem for path in (CHECKOUT / "bpf").glob("*.c"))
    return next((hook for hook in hooks if hook[: NAME_BYTES - 1] == name), name)


def runs_of(pid: int) -> Mapping[str, Runs]:
    """The BPF programs that a process holds, by name."""
    found = {}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = path.read_text().splitlines()
        except OSError:  # closed meanwhile
            continue
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if "run_cnt" in fields:
            name = _name(int(fields["prog_id"]))
            found[name] = Runs(int(fields["run_cnt"]), int(fields["run_time_ns"]))
    return found


def between(before: Mapping[str, Runs], after: Mapping[str, Runs]) -> dict[str, Runs]:
    """What ran between two looks; programs that did not run are left out."""
    zero = Runs(0, 0)
    return {
        name: Runs(now.count - was.count, now.ns - was.ns)
        for name, now in after.items()
        if (was := before.get(name, zero)).count < now.count
    }
