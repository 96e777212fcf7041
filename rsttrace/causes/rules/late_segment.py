"""The echo of a connection that this host ended moments ago (row P1, chapter 5.3)."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, LIKELY, PASSIVE, TRIGGER, Case, Finding, duration
from rsttrace.packet import SYN

CAUSE = "late-segment"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("data-after-close", "closed-port")
# longer than a segment is under way, shorter than the first retransmissions give up
ON_ITS_WAY_S = 1.0


def rule(case: Case) -> Finding | None:
    """No connection any more, but one with this tuple ended within the last minute."""
    recent, trigger = case.recent, case.trigger
    listener = (
        case.passive and case.reset.state == "LISTEN" and not case.reset.in_stack("tcp_check_req")
    )
    if not recent or not (case.socketless or listener) or not trigger or trigger.has(SYN):
        return None
    ago = duration(case.seconds_since(recent.change_ns))
    if recent.sent_reset:
        how = f"this host had reset it {ago} before"
    elif recent.got_reset:
        how = f"a reset from the peer had ended it {ago} before"
    else:
        how = f"it had ended in {recent.old_state} {ago} before"
    what = f"{trigger.flag_text} with {trigger.length} bytes met no connection"
    if case.seconds_since(recent.change_ns) > ON_ITS_WAY_S:
        return Finding(
            LIKELY,
            f"{case.remote} goes on with a connection that is over ({how}): it seems not to "
            "know, because that was lost or filtered on its way.",
            (how, what, "too late to have been on its way then"),
            benign=False,
        )
    known = recent.sent_reset or recent.got_reset
    return Finding(
        CERTAIN if known else LIKELY,
        f"{trigger.flag_text} from {case.remote} was still on its way when the connection "
        f"was over: {how}.",
        (how, what),
    )
