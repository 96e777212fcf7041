"""The two limits with their values, and how to see what is used of them."""

from __future__ import annotations

from rsttrace.advice.commands import line
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "out-of-memory"
WANTS = ()
ORPHANS, MEMORY = "net.ipv4.tcp_max_orphans", "net.ipv4.tcp_mem"
ORPHAN_KB = 64  # what one may hold at worst, Documentation/networking/ip-sysctl.rst
PAGE_KB = 4
LOOK = (
    "cat /proc/net/sockstat  # TCP: orphan (limit: tcp_max_orphans), mem in pages (limit: the "
    "third value of tcp_mem)"
)


def fit(case: Case, place: Place) -> Fit | None:
    """Both limits are the whole host's, so the commands belong there, whatever the namespace."""
    orphans, pages = place.number(ORPHANS), _pages(place)
    evidence, remedies = [], [LOOK]
    if orphans is not None:
        evidence.append(f"{ORPHANS} is {orphans} (whole host)")
        cost = orphans * ORPHAN_KB // 1024
        remedies.append(
            f"{line('sysctl', '-w', f'{ORPHANS}={orphans * 2}')}  # is {orphans}; if that is too "
            f"few: may cost up to {cost} MB more"
        )
    if pages:
        evidence.append(f"{MEMORY} is {pages[2]} pages at most ({_mb(pages[2])})")
        more = " ".join(str(p * 2) for p in pages)
        remedies.append(
            f"{line('sysctl', '-w', f'{MEMORY}={more}')}  # if memory is what ran out: from "
            f"{_mb(pages[2])} to {_mb(pages[2] * 2)}"
        )
    sock = case.sock
    if sock and sock.unacked <= 1 and pages:
        remedies.pop()  # it held no data: the number of orphans decided
    both = len(remedies) > 1
    return Fit(tuple(remedies), tuple(evidence), settles=("raise net.ipv4",) if both else ())


def _pages(place: Place) -> tuple[int, ...]:
    """Low, pressure and high mark; nothing if they are not known."""
    parts = place.settings.get(MEMORY, "").split()
    known = len(parts) == 3 and all(part.isdigit() for part in parts)
    return tuple(map(int, parts)) if known else ()


def _mb(pages: int) -> str:
    return f"{pages * PAGE_KB // 1024} MB with pages of {PAGE_KB} kB"
