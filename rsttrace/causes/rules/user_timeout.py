"""TCP_USER_TIMEOUT ran out while keepalive probes were unanswered (row A8)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACTIVE,
    CERTAIN,
    SOCKET,
    STACK,
    Case,
    Finding,
    count_of,
    duration,
)
from rsttrace.causes.rules.keepalive_timeout import silence, silence_evidence, silent_sock

CAUSE = "user-timeout"
WHEN = (ACTIVE,)
NEEDS = (STACK, SOCKET)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """With that option tcp_keepalive_timer() looks at the silence, not at the number of probes."""
    sock = silent_sock(case)
    if sock is None or not sock.user_timeout:
        return None
    limit = duration(sock.user_timeout / 1000)
    probes = count_of(sock.probes_out, "keepalive probe")
    return Finding(
        CERTAIN,
        f"{case.remote} was silent{silence(sock)} and did not answer {probes}; {case.who} allows "
        f"{limit} of silence (TCP_USER_TIMEOUT).",
        (f"TCP_USER_TIMEOUT is {sock.user_timeout} ms", *silence_evidence(case, sock)),
    )
