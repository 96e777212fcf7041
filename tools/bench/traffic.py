"""Traffic inside a new network namespace: ``traffic.py bulk|ping|refused AMOUNT [PROCESSES]``.

Makes the namespace, prints its inode number, waits for a line on stdin, sends, prints the
result as one JSON object. Loopback only. Repeats from the wait until stdin ends. Both ends of
bulk and ping share one CPU, so that neither their placement nor other work on the machine
decides: ``per_cpu_s`` is the amount for each second of CPU time of both.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
CHUNK = 256 * 1024
HOST = "127.0.0.1"
CLOSED_PORT = 9
BATCH = 64

_libc = ctypes.CDLL(None, use_errno=True)


def enter_new_namespace() -> int:
    """A network namespace that ends with this process; its inode number."""
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return os.stat("/proc/self/ns/net").st_ino


def child(function: Callable[[], None]) -> int:
    """Fork a process that dies with this one."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        function()
        status = 0
    finally:
        os._exit(status)


def cpu_seconds() -> float:
    """CPU time of this process and of the children that ended."""
    usages = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usages)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server((HOST, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def bulk(seconds: float, _processes: int) -> dict[str, float]:
    """MB from one process to another."""
    used = cpu_seconds()
    client, server = pair()

    def swallow() -> None:
        client.close()
        buffer = bytearray(CHUNK)
        while server.recv_into(buffer):
            pass
        server.sendall(b"!")

    reader = child(swallow)
    server.close()
    data, sent = bytes(CHUNK), 0
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        client.sendall(data)
        sent += len(data)
    client.shutdown(socket.SHUT_WR)
    client.recv(1)
    took = time.monotonic() - start
    os.waitpid(reader, 0)
    client.close()
    return {"rate": sent / took / 1e6, "per_cpu_s": sent / (cpu_seconds() - used) / 1e6}


def ping(seconds: float, _processes: int) -> dict[str, float]:
    """Request/response pairs of one byte."""
    used = cpu_seconds()
    client, server = pair()

    def echo() -> None:
        client.close()
        while data := server.recv(16):
            server.send(data)

    other = child(echo)
    server.close()
    count = 0
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        for _ in range(BATCH):
            client.send(b"?")
            client.recv(16)
        count += BATCH
    took = time.monotonic() - start
    client.close()
    os.waitpid(other, 0)
    return {"rate": count / took, "per_cpu_s": count / (cpu_seconds() - used)}


def _connect_in_vain(count: int) -> None:
    for _ in range(count):
        with socket.socket() as one:
            one.connect_ex((HOST, CLOSED_PORT))


def out_rsts() -> int:
    """TcpOutRsts of this namespace."""
    for line in Path("/proc/self/net/snmp").read_text().splitlines():
        fields = line.split()
        if fields[0] == "Tcp:" and fields[1].isdigit():
            return int(fields[14])
    return 0


def refused(amount: float, processes: int) -> dict[str, float]:
    """Connects to a closed port, as fast as they go: one reset each, sent and received."""
    before, start = out_rsts(), time.monotonic()
    share = int(amount) // processes
    workers = [child(lambda: _connect_in_vain(share)) for _ in range(processes)]
    for worker in workers:
        os.waitpid(worker, 0)
    took = time.monotonic() - start
    made = out_rsts() - before
    return {"rate": made / took, "resets": made, "seconds": took}


def main() -> None:
    """One result for each line of input."""
    kinds = {"bulk": bulk, "ping": ping, "refused": refused}
    run, amount = kinds[sys.argv[1]], float(sys.argv[2])
    processes = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    if run is not refused:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(enter_new_namespace(), flush=True)
    while sys.stdin.readline():
        print(json.dumps(run(amount, processes)), flush=True)


if __name__ == "__main__":
    main()
