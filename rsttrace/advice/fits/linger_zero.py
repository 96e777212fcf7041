"""What the abort threw away, and where the option is set."""

from __future__ import annotations

from rsttrace.advice.commands import live, strace, sysctl
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import CLIENT, Case, count_of
from rsttrace.enrich.place import Place
from rsttrace.explain import role_of_local_end

CAUSE = "linger-zero"
WANTS = ()
REUSE = "net.ipv4.tcp_tw_reuse"
REUSE_WORDS = {0: "off", 2: "on for loopback only"}


def fit(case: Case, place: Place) -> Fit | None:
    """tcp_tw_reuse is what a client may use in place of it."""
    sock, process = case.sock, live(case)
    evidence = []
    if sock and sock.unacked:
        evidence.append(f"{count_of(sock.unacked, 'byte')} not acknowledged were thrown away")
    decided = case.reset.decided
    if process is None or (decided and decided.task.kernel_thread):
        return Fit((), tuple(evidence))
    found = [
        f"remove SO_LINGER {{1,0}} from {process.name}, or from a library of it; a plain close() "
        "then sends the rest and FIN",
        strace(process, "setsockopt,close", "shows which sockets get SO_LINGER"),
    ]
    settles, reuse = ["remove SO_LINGER {1,0}"], place.number(REUSE)
    if role_of_local_end(case) == CLIENT and reuse is not None:
        settles.append("set to save ports")
        if reuse != 1:
            now = REUSE_WORDS.get(reuse, reuse)
            why = f"is {now}: in place of SO_LINGER, if that is to save ports"
            found.append(sysctl(case, REUSE, 1, why))
    return Fit(tuple(found), tuple(evidence), settles=tuple(settles), in_code=True)
