"""The helper process of a trace: it keeps the rights to look into network namespaces.

A trace gives up root once it is attached (privileges.py), but the rules of a firewall can only
be read inside its namespace. So asking.Broker starts this file before, as a program of its own,
with a socket as standard input. It answers two questions and nothing else; a question is one
number of eight bytes:

- the inode number of a network namespace: the firewall rules there that can make or drop a RST
- 0: TcpOutRsts of every network namespace that can be entered

An answer is that number and JSON, in one message. Each question gets a child of its own, which
has ANSWER_SECONDS and is then killed with everything it started. The process ends when the other
side closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

QUESTION = struct.Struct("=Q")
OUT_RSTS = 0
ANSWER_SECONDS = 1.0
COMMAND_SECONDS = 0.9
CHILDREN = 4
CHILD_MEMORY = 512 << 20  # bytes of address space: a huge ruleset must not fill the host
HIGHEST_FILE = 4096  # the compiler's library leaves files open for us that are not ours
PLACES = ("/run/netns", "/run/docker/netns")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
    "LC_ALL": "C",
}
CLONE_NEWNET = 0x40000000
# to enter a namespace, to read its rules (the legacy tables over a raw socket), and to find it in
# /proc/PID/ns of any process
CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 12, 13, 19, 21
NEEDED_LATER = ("subprocess", "resource", "rsttrace.enrich.nftables", "rsttrace.enrich.xtables")
KEPT = (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN)


def main() -> None:
    """Answer what comes in on standard input until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the trace, not before
    os.chdir("/")
    os.closerange(3, HIGHEST_FILE)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from rsttrace.privileges import limit_capabilities

    limit_capabilities(KEPT)
    for name in NEEDED_LATER:  # once, not in each child
        importlib.import_module(name)
    serve(0)


def serve(channel: int) -> None:
    """Read questions, fork for each; kill what still runs at the end."""
    children: set[int] = set()
    while len(raw := os.read(channel, QUESTION.size)) == QUESTION.size:
        children = {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0] == 0}
        (question,) = QUESTION.unpack(raw)
        if len(children) < CHILDREN:
            pid = os.fork()
            if pid == 0:
                _answer(channel, question)
            children.add(pid)
    for pid in children:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            _kill_group(pid)


def _kill_group(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def _answer(channel: int, question: int) -> NoReturn:
    """A child's whole life. Whatever goes wrong: no answer, which the other side can bear."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, lambda *_: _kill_group(0))
        signal.setitimer(signal.ITIMER_REAL, ANSWER_SECONDS)
        value = out_rsts() if question == OUT_RSTS else rules_of(question)
        os.write(channel, QUESTION.pack(question) + json.dumps(value).encode())
    finally:
        os._exit(0)


def namespaces() -> Iterator[tuple[int, str]]:
    """Inode number and a path of every network namespace that has a name or a process."""
    kind = os.stat("/proc/self/ns/net").st_dev
    seen: set[int] = set()
    for path in _paths():
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if status.st_dev == kind and status.st_ino not in seen:
                seen.add(status.st_ino)
                yield status.st_ino, path


def _paths() -> Iterator[str]:
    for place in PLACES:
        with contextlib.suppress(OSError):
            yield from (f"{place}/{name}" for name in os.listdir(place))
    yield from (f"/proc/{name}/ns/net" for name in os.listdir("/proc") if name.isdigit())


def enter(path: str, inode: int) -> None:
    """Move this process into the namespace; OSError if it is another one by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_ino != inode:
            raise FileNotFoundError(path)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def out_rsts() -> dict[str, dict[str, int]]:
    """TcpOutRsts by namespace, each with the time at which it was read (CLOCK_MONOTONIC)."""
    found = {}
    for inode, path in namespaces():
        with contextlib.suppress(OSError, ValueError):
            enter(path, inode)
            count = snmp_value(Path("/proc/self/net/snmp").read_text(), "Tcp:", "OutRsts")
            found[str(inode)] = {"OutRsts": count, "time_ns": time.monotonic_ns()}
    return found


def snmp_value(text: str, group: str, name: str) -> int:
    """One number of /proc/net/snmp; ValueError if it is not there."""
    rows = [line.split() for line in text.splitlines() if line.startswith(group)]
    if len(rows) != 2:
        raise ValueError(group)
    return int(rows[1][rows[0].index(name)])


def rules_of(inode: int) -> dict[str, Any]:
    """The firewall of one namespace (enrich.firewall.to_json)."""
    from rsttrace.enrich.firewall import Firewall, to_json
    from rsttrace.enrich.rulesets import collect

    path = next((path for other, path in namespaces() if other == inode), None)
    if path is None:
        return to_json(Firewall(problem="the network namespace is gone"))
    try:
        enter(path, inode)
    except OSError as err:
        return to_json(Firewall(problem=f"the network namespace cannot be entered: {err.strerror}"))
    _limit_memory()
    legacy = {"ip": _has_legacy("ip_tables_names"), "ip6": _has_legacy("ip6_tables_names")}
    try:
        return to_json(collect(_run, has_nf_tables(), legacy))
    except MemoryError:
        return to_json(Firewall(problem="the ruleset is too large"))


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY, CHILD_MEMORY))


def _has_legacy(name: str) -> bool:
    try:
        return bool(Path("/proc/self/net", name).read_text().strip())
    except OSError:
        return False


def has_nf_tables(modules: str = "/lib/modules") -> bool:
    """Asking nft loads the kernel's nf_tables; where it is not loaded there are no rules."""
    if os.path.exists("/sys/module/nf_tables"):
        return True
    try:
        built_in = Path(modules, os.uname().release, "modules.builtin").read_text()
    except OSError:
        return True  # no modules at all
    return "/nf_tables.ko" in built_in


def _run(argv: Sequence[str]) -> str:
    """The output of a command that shows rules; no shell, no input, a known environment."""
    import subprocess

    from rsttrace.enrich.rulesets import CommandFailed

    try:
        done = subprocess.run(
            argv,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except FileNotFoundError as err:
        raise CommandFailed(f"{argv[0]} is not installed") from err
    except subprocess.TimeoutExpired as err:
        raise CommandFailed(f"{argv[0]} took too long") from err
    except OSError as err:
        raise CommandFailed(f"{argv[0]}: {err.strerror}") from err
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise CommandFailed(f"{argv[0]}: {words[0] if words else 'failed'}")
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    main()
