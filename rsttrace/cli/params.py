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
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            help="Colour on a terminal; NO_COLOR is respected.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
