"""HOST:PORT as people type it. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from rsttrace.records import at

SCHEMES = {"http": (80, False), "https": (443, True), "ws": (80, False), "wss": (443, True)}
_IN_BRACKETS = re.compile(r"\[([^][]+)\]:([0-9]+)")
_PLAIN = re.compile(r"([^][:/\s]+):([0-9]+)")
EXAMPLES = "10.0.0.7:443, example.org:443, [fd00::7]:443 or https://example.org/"


@dataclass(frozen=True)
class Target:
    """``tls``: implied by the URL."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return at(self.host, self.port)

    @property
    def is_address(self) -> bool:
        """Is there no name to look up?"""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_target(text: str) -> Target:
    """ValueError with one sentence for people if it is none."""
    if "://" in text:
        return _of_url(text)
    match = _IN_BRACKETS.fullmatch(text) or _PLAIN.fullmatch(text)
    if match:
        if text.startswith("["):
            _check_v6(match[1])
        return Target(match[1], _checked_port(match[2]))
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise ValueError(f"{text!r} is no HOST:PORT: write {EXAMPLES}") from None
    raise ValueError(f"{text!r} has no port: write {at(text.strip('[]'), 443)}")


def _of_url(text: str) -> Target:
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise ValueError(f"{text!r} is no URL that rsttrace understands") from None
    if url.scheme not in SCHEMES:
        raise ValueError(f"{url.scheme!r} has no port that rsttrace knows: write HOST:PORT")
    if not host:
        raise ValueError(f"{text!r} names no host")
    usual, tls = SCHEMES[url.scheme]
    return Target(host, usual if port is None else _checked_port(str(port)), tls)


def _checked_port(text: str) -> int:
    if len(text) > 5 or not 1 <= int(text) <= 65535:
        raise ValueError(f"port {text} is not within 1-65535")
    return int(text)


def _check_v6(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv6 address") from None
