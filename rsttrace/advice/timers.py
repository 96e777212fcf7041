"""How long TCP waits with the settings of a namespace. Documentation/networking/ip-sysctl.rst."""

from __future__ import annotations

from dataclasses import dataclass

from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

RTO_MIN_S, RTO_MAX_S = 0.2, 120.0  # TCP_RTO_MIN, TCP_RTO_MAX
TOLERANCE = 0.1
RTO_MAX = "net.ipv4.tcp_rto_max_ms"  # 6.15
SYN_RTO_S = 1.0  # TCP_TIMEOUT_INIT
TIME, INTERVAL, PROBES = (f"net.ipv4.tcp_keepalive_{name}" for name in ("time", "intvl", "probes"))


@dataclass(frozen=True)
class Keepalive:
    """The namespace's defaults, in s; a socket may have its own (TCP_KEEPIDLE ...)."""

    idle: int
    interval: int
    probes: int

    @property
    def total(self) -> int:
        """Until the connection is given up."""
        return self.idle + self.interval * self.probes

    @property
    def words(self) -> str:
        """``7200 s idle + 9 probes every 75 s = 7875 s``."""
        return f"{self.idle} s idle + {self.probes} probes every {self.interval} s = {self.total} s"


def keepalive(place: Place) -> Keepalive | None:
    """None if one of the three is not known."""
    found = [place.number(name) for name in (TIME, INTERVAL, PROBES)]
    known = [number for number in found if number is not None]
    return Keepalive(*known) if len(known) == len(found) else None


def own_values(case: Case, default: Keepalive) -> bool:
    """Did it take another time, or other probes, than these? Then the socket has its own."""
    sock = case.sock
    if sock is None or sock.heard_ms is None:
        return False
    longer = abs(sock.heard_ms / 1000 / max(1, default.total) - 1) > TOLERANCE
    return longer or sock.probes_out != default.probes


def give_up_s(place: Place, retries: int, first_s: float = RTO_MIN_S) -> float:
    """Seconds of silence after which this many retransmissions are over: each wait is twice the
    one before, up to a limit. ``first_s``: the first wait; a long round trip makes it longer.
    """
    most_ms = place.number(RTO_MAX)
    most_s = most_ms / 1000 if most_ms else RTO_MAX_S
    # never more than 255 of them
    return sum(min(first_s * 2.0**n, most_s) for n in range(min(retries, 255) + 1))


def connect_s(place: Place) -> tuple[int, float] | None:
    """(net.ipv4.tcp_syn_retries, seconds until connect() fails); None if not known.

    tcp_syn_linear_timeouts (6.5) come on top, one second each.
    """
    retries = place.number("net.ipv4.tcp_syn_retries")
    if retries is None:
        return None
    linear = place.number("net.ipv4.tcp_syn_linear_timeouts") or 0
    return retries, give_up_s(place, retries, SYN_RTO_S) + linear * SYN_RTO_S
