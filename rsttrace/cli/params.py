"""Parameter types and option groups that several commands share."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_NUMBER = re.compile(r"[0-9]{1,10}")
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|)")
_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_SECONDS = 1000 * 3600
NS_GET_NSTYPE, CLONE_NEWNET = 0xB703, 0x40000000

F = TypeVar("F", bound=Callable[..., Any])


class Ports(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``80``, ``80,443`` or ``8000-8010,9000``: a tuple of (first, last)."""

    name = "ports"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        """Parse the list."""
        if isinstance(value, tuple):
            return value
        found = []
        for part in value.split(","):
            match = _RANGE.fullmatch(part.strip())
            if not match:
                self.fail(f"{part!r} is no port or range of ports", param, ctx)
            low, high = int(match[1]), int(match[2] or match[1])
            if not 1 <= low <= high <= 65535:
                self.fail(f"{part!r} is not within 1-65535", param, ctx)
            found.append((low, high))
        return tuple(found)


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``30``, ``30s``, ``500ms``, ``2m``, ``1h``: seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse it; nothing takes no time."""
        if isinstance(value, (int, float)):
            return float(value)
        match = _DURATION.fullmatch(value.strip())
        if not match:
            self.fail(f"{value!r} is no time: write 30, 30s, 500ms, 2m or 1h", param, ctx)
        seconds = float(match[1]) * _UNITS[match[2]]
        if not 0 < seconds <= LONGEST_SECONDS:
            self.fail(f"{value!r} is not between 1ms and {LONGEST_SECONDS // 3600}h", param, ctx)
        return seconds


class Pid(click.IntRange):
    """A process that exists."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Look for it; a thread's number is none."""
        pid = int(super().convert(value, param, ctx))
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            self.fail(f"there is no process {pid}", param, ctx)
        leader = next((x.split()[1] for x in status.splitlines() if x.startswith("Tgid:")), "")
        if leader != str(pid):
            self.fail(f"{pid} is a thread of process {leader}", param, ctx)
        return pid


class Address(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """An IPv4 or IPv6 address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Normalise the address."""
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            self.fail(f"{value!r} is no IP address", param, ctx)


class Netns(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A namespace by name, inode number, ``pid:N`` or path: its inode number."""

    name = "netns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Find the namespace."""
        if isinstance(value, int) or _NUMBER.fullmatch(value):
            return int(value)
        if value.startswith("pid:"):
            path = Path("/proc") / value[4:] / "ns" / "net"
        elif "/" in value:
            path = Path(value)
        else:
            path = Path("/run/netns") / value
        try:
            return _netns_inode(path)
        except OSError as err:
            why = err.strerror if err.errno != errno.ENOTTY else "is something else"
            self.fail(f"no network namespace {value!r}: {path}: {why}", param, ctx)


def _netns_inode(path: Path) -> int:
    """Inode number of a network namespace; OSError if it is none (ioctl_ns(2))."""
    with path.open("rb") as file:
        if fcntl.ioctl(file, NS_GET_NSTYPE) != CLONE_NEWNET:
            raise OSError(errno.ENOTTY, "not a network namespace")
        return os.fstat(file.fileno()).st_ino


def packet_options(function: F) -> F:
    """Options on which packets are watched: ``trace`` and ``diagnose`` have them."""
    options = (
        click.option("-4", "family", flag_value=4, type=int, help="IPv4 only."),
        click.option("-6", "family", flag_value=6, type=int, help="IPv6 only."),
        click.option(
            "-a", "--address", multiple=True, type=Address(), help="Address of either end."
        ),
        click.option(
            "-P", "--port", type=Ports(), default=(), help="Port of either end: 80,443,8000-8010."
        ),
        click.option(
            "-L", "--local-port", type=Ports(), default=(), help="Port of this host's end."
        ),
        click.option(
            "-D", "--remote-port", type=Ports(), default=(), help="Port of the other end."
        ),
        click.option(
            "-N",
            "--netns",
            multiple=True,
            type=Netns(),
            help="Namespace: name, inode, pid:N or path.",
        ),
    )
    return _with(options, function)


def file_options(function: F) -> F:
    """Options on files, and on what was lost: ``trace`` and ``diagnose`` have them."""
    options = (
        click.option("--record", type=click.Path(path_type=Path), help="Keep raw records in FILE."),
        click.option(
            "--ready-file", type=click.Path(path_type=Path), help="Create FILE once it traces."
        ),
        click.option("--strict", is_flag=True, help="Exit with 4 if records were lost."),
    )
    return _with(options, function)


def colour_option(function: F) -> F:
    """Of every command that may colour its output."""
    option = click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Colour on a terminal; NO_COLOR is respected.",
    )
    return option(function)


def output_options(function: F) -> F:
    """Options on how resets are shown: ``explain FILE`` and ``trace`` have them."""
    options = (
        click.option("-j", "--json", "as_json", is_flag=True, help="JSON Lines (docs/json.md)."),
        click.option("-1", "--oneline", is_flag=True, help="One table row for each reset."),
        click.option("-w", "--wide", is_flag=True, help="With -1: wide columns for IPv6."),
        click.option("-v", "--verbose", is_flag=True, help="Add evidence, packets and stacks."),
        click.option(
            "-t/-T",
            "--relative/--wall",
            default=False,
            help="Time: seconds since the start, or wall.",
        ),
    )
    return _with(options, colour_option(function))


def _with(options: tuple[Callable[[F], F], ...], function: F) -> F:
    """Decorate; the help shows options in the order in which they stand."""
    for option in reversed(options):
        function = option(function)
    return function
