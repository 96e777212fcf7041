"""Which limit ended the wait, in seconds, and what is wrong with the way to the peer."""

from __future__ import annotations

from rsttrace.advice.commands import line
from rsttrace.advice.fit import Fit
from rsttrace.advice.timers import connect_s, give_up_s
from rsttrace.advice.way import way
from rsttrace.causes.case import Case, duration
from rsttrace.enrich.place import Place

CAUSE = "retransmit-timeout"
WANTS = ("path",)
RETRIES, ORPHANS = "net.ipv4.tcp_retries2", "net.ipv4.tcp_orphan_retries"


def fit(case: Case, place: Place) -> Fit | None:
    """The way first; it is asked only after minutes of silence, so it may have changed."""
    found, settles = way(case, place), _does_not_apply(case)
    remedies = [*found.remedies]
    if case.reset.state_before == "SYN_SENT":
        remedies.append(_arrives(case))
    return Fit(tuple(remedies), (*_limit(case, place), *found.evidence), settles=settles)


def _arrives(case: Case) -> str:
    flow = case.reset.flow
    # tcp[] is for IPv4 only, see pcap-filter(7); these are the flags behind a plain header
    syn = "ip6[53] & 2 != 0" if flow.family == 6 else "tcp[tcpflags] & tcp-syn != 0"
    look = line("tcpdump", "-nn", "-i", "any", f"tcp port {flow.rport} and {syn}")
    why = "does a SYN arrive (NAT may change its source)? if not: a firewall on the way"
    return f"on {flow.remote}: {look}  # {why}"


def _does_not_apply(case: Case) -> tuple[str, ...]:
    """By what was waited for: an answer to the SYN, an acknowledgement, or an open window."""
    large, window = "only large transfers hang", "a window that stays closed"
    if case.reset.state_before in ("SYN_SENT", "SYN_RECV"):
        return (large, window, "to notice sooner")
    sock = case.sock
    if sock is None:
        return ()
    return (window,) if sock.retransmits else (large,)


def _limit(case: Case, place: Place) -> tuple[str, ...]:
    """The setting in seconds; TCP_USER_TIMEOUT, if the socket has it, stands in the verdict."""
    sock, before = case.sock, case.reset.state_before
    if sock and sock.user_timeout:
        return ()
    if before == "SYN_SENT":
        found = connect_s(place)
        if found is None:
            return ()
        tries, seconds = found
        return (
            f"net.ipv4.tcp_syn_retries is {tries} there: connect() fails after about "
            f"{seconds:.0f} s, unless the socket has its own limit (TCP_SYNCNT)",
        )
    if before == "SYN_RECV":
        return ()
    orphan = bool(sock and sock.dead)
    name = ORPHANS if orphan else RETRIES
    retries = place.number(name)
    if retries is None:
        return ()
    if orphan and not retries:
        return (f"{name} is 0 there, which means 8: at least {duration(give_up_s(place, 8))}",)
    return (f"{name} is {retries} there: takes at least {duration(give_up_s(place, retries))}",)
