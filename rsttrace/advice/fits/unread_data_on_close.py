"""How much of what came was read, and how to see where the application stops."""

from __future__ import annotations

from rsttrace.advice.commands import live, strace
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case, count_of
from rsttrace.enrich.place import Place

CAUSE = "unread-data-on-close"
WANTS = ()
CALLS = "read,readv,recvfrom,recvmsg,shutdown,close"


def fit(case: Case, _place: Place) -> Fit | None:
    """The general remedies hold; what is added is which bytes, and where."""
    sock, process = case.sock, live(case)
    evidence: tuple[str, ...] = ()
    if sock and sock.unread and sock.bytes_received >= sock.unread:
        read = sock.bytes_received - sock.unread
        evidence = (
            f"of {count_of(sock.bytes_received, 'received byte')} the application had read "
            f"{read:,}" + ("" if read else ": it never looked at what came"),
        )
    remedies = _first(case)
    if process:
        remedies = (*remedies, strace(process, CALLS, "shows what it reads before close()"))
    settles = ("read to EOF before close()",) if _first(case) else ()
    return Fit(remedies, evidence, settles=settles, in_code=True)


def _first(case: Case) -> tuple[str, ...]:
    sock = case.sock
    if not sock or not sock.unread:
        return ()
    return (
        f"let {case.who} shutdown(SHUT_WR), read to end of file (more than is unread now may still "
        "come), then close()",
    )
