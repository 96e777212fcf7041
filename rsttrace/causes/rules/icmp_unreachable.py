"""connect() ended by an ICMP message, without any RST (chapter 3.2, last row)."""

from __future__ import annotations

import errno

from rsttrace.causes.case import CERTAIN, LIKELY, QUIET, STACK, Case, Finding, duration

CAUSE = "icmp-unreachable"
WHEN = (QUIET,)
NEEDS = (STACK,)
AFTER = ()

_FUNCTIONS = ("tcp_v4_err", "tcp_v6_err")
# icmp_err_convert[], icmpv6_err_convert(): what the errno says of the message
_MEANING = {
    errno.ECONNREFUSED: "port unreachable: a firewall's REJECT looks like that",
    errno.EHOSTUNREACH: "host unreachable, forbidden by a filter, or lost on the way",
    errno.ENETUNREACH: "network unreachable: a router has no route",
    errno.EACCES: "forbidden by a filter or policy",
    errno.ENOPROTOOPT: "the host does not speak TCP",
}


def rule(case: Case) -> Finding | None:
    """inet_sk_error_report below tcp_v4_err() or tcp_v6_err(), while the connection was opened.

    Later such an error is only noted (sk_err_soft), or reported (IP_RECVERR) without an end.
    """
    error, before = case.reset.error, case.reset.state_before
    if error is None or not error.in_stack(*_FUNCTIONS):
        return None
    if before not in ("SYN_SENT", "SYN_RECV", None):
        return None
    name = errno.errorcode.get(error.errno, str(error.errno))
    history = case.history
    waited: tuple[str, ...] = ()
    if history and history.open_ns and not history.closed:
        waited = (f"{duration(case.seconds_since(history.open_ns))} after the connection began",)
    mptcp = bool(case.sock and case.sock.is_mptcp)
    path = " (one path of an MPTCP connection)" if mptcp else ""
    return Finding(
        CERTAIN if before else LIKELY,
        f"An ICMP message, not a reset, ended the attempt of {case.who} to connect to "
        f"{case.remote}{path}: {name}.",
        (
            f"{name}: {_MEANING.get(error.errno, 'an ICMP error')}",
            f"state {before or 'not known'}",
            *waited,
            case.stack_evidence(*_FUNCTIONS),
        ),
        sees=f"{name}, unless another path works" if mptcp else f"connect() fails with {name}",
        missing="" if before else "the state before",
    )
