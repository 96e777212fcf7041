"""What argv asked for, as one object; and the same in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rsttrace.diagnose.target import Target
from rsttrace.kernel.filters import Filter

DEFAULT_SECONDS = 30.0
EXIT_FOUND = 10  # --fail-on: there was such a reset
THIS_HOST = "this host"

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Request:
    """``seconds``: None: not said. ``netns``: inode numbers. ``container``: as typed. ``command``
    or ``target``: at most one of them. ``fail_on``: harmful, any, or ids of causes.
    """

    seconds: float | None = None
    packets: Filter = field(default_factory=Filter)
    netns: tuple[int, ...] = ()
    pids: tuple[int, ...] = ()
    container: str | None = None
    command: tuple[str, ...] = ()
    as_root: bool = False
    target: Target | None = None
    tls: bool = False
    timeout_s: float = 5.0
    wait_s: float = 2.0
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False
    colour: str = "auto"
    fail_on: tuple[str, ...] = ()
    strict: bool = False
    record: Path | None = None
    ready_file: Path | None = None

    @property
    def scoped(self) -> bool:
        """Are only some of this host's resets asked for?"""
        narrowed = self.netns or self.pids or self.container or self.command or self.target
        return bool(narrowed) or self.filtered

    @property
    def filtered(self) -> bool:
        """Does the kernel leave some packets out?"""
        return self.packets != Filter()


def words_of(packets: Filter) -> list[str]:
    """``port 443``, ``address 10.0.0.7``, ``IPv4 only``."""
    found = [
        f"{name} {_ranges(ranges)}"
        for name, ranges in (
            ("port", packets.ports),
            ("local port", packets.local_ports),
            ("remote port", packets.remote_ports),
        )
        if ranges
    ]
    if packets.addresses:
        found.append(f"address {' or '.join(packets.addresses)}")
    if packets.family:
        found.append(f"IPv{packets.family} only")
    return found


def _ranges(ranges: Ranges) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def what_of(subject: str, container: str, netns: list[str], packets: Filter) -> str:
    """All of it in a few words for a sentence."""
    parts = [subject, container, *words_of(packets)]
    parts += [f"namespace {' or '.join(netns)}"] if netns else []
    return ", ".join(part for part in parts if part) or THIS_HOST
