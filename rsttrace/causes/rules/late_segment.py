"""The echo of a connection that this host ended moments ago (row P1, chapter 5.3)."""

from __future__ import annotations

from rsttrace.causes.case import (
    CERTAIN,
    LIKELY,
    PASSIVE,
    TRIGGER,
    Case,
    Finding,
    count_of,
    duration,
)
from rsttrace.causes.rules._handshake import met_no_connection, syn_left_ns, timed_out
from rsttrace.packet import ACK, SYN
from rsttrace.records import History

CAUSE = "late-segment"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ("data-after-close", "closed-port", "bad-ack-in-handshake")
# longer than a segment is under way, shorter than the first retransmissions give up
ON_ITS_WAY_S = 1.0


def rule(case: Case) -> Finding | None:
    """No connection any more, but one with this tuple ended within the last minute.

    Not if it ended here without a RST: the peer was not told, so its segment is no echo.
    """
    recent, trigger = case.recent, case.trigger
    if not recent or timed_out(recent) or not trigger or not met_no_connection(case):
        return None
    if not trigger.has(ACK) or (trigger.has(SYN) and not _repeated(case, recent)):
        return None
    ago = duration(case.seconds_since(recent.change_ns))
    if recent.sent_reset:
        how = f"this host had reset it {ago} before"
    elif recent.got_reset:
        how = f"a reset from the peer had ended it {ago} before"
    else:
        how = f"it had ended in {recent.old_state} {ago} before"
    what = f"{trigger.flag_text} with {count_of(trigger.length, 'byte')} met no connection"
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


def _repeated(case: Case, recent: History) -> bool:
    """A SYN+ACK of that very connection, which the peer repeats because our ACK was lost."""
    return recent.old_state != "SYN_SENT" and syn_left_ns(case) <= recent.change_ns
