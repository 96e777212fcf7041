"""A RST met an entry in TIME_WAIT (chapter 3.2, RFC 1337)."""

from __future__ import annotations

from rsttrace.causes.case import ACCEPTED, CERTAIN, JUDGEMENT, LIKELY, REFUSED, Case, Finding
from rsttrace.causes.rules._refused import (
    STILL_THERE,
    maker_words,
    offset_evidence,
    refused_evidence,
    refused_reset,
    told_by_kernel,
    unnamed,
)
from rsttrace.model import RECEIVED
from rsttrace.packet import Packet

CAUSE = "timewait-assassination"
WHEN = (ACCEPTED, REFUSED)
NEEDS = (JUDGEMENT,)
AFTER = ()

TIMESTAMPS = 8  # option kind, RFC 7323 3.2


def rule(case: Case) -> Finding | None:
    """kfree_skb with a timewait socket that is in TIME_WAIT proper, not in FIN_WAIT2."""
    judged = refused_reset(case)
    if judged is None or judged.tw_substate != "TIME_WAIT" or not unnamed(judged):
        return None
    packet = judged.packet
    evidence = (
        "state TIME_WAIT: both ends had closed",
        *offset_evidence(packet, judged.tw_rcv_nxt),
        *refused_evidence(case, judged),
    )
    if case.reset.direction == RECEIVED:
        return _killed(case, packet, evidence)
    sure = told_by_kernel(judged)
    if judged.tw_rcv_nxt is None:
        why = ""
    elif packet and packet.seq == judged.tw_rcv_nxt:
        why = " (net.ipv4.tcp_rfc1337=1)" if judged.rfc1337 else ""
    else:
        why = " (not the number that it waits for)"
    return Finding(
        CERTAIN if sure else LIKELY,
        f"A reset in the name of {case.remote}{maker_words(case)} met the finished connection in "
        f"TIME_WAIT and was ignored{why}.",
        evidence,
        missing="" if sure else STILL_THERE,
    )


def _killed(case: Case, packet: Packet | None, evidence: tuple[str, ...]) -> Finding:
    # PAWS looks at the timestamp of a RST here; whether it was too old is not seen
    stamped = bool(packet and TIMESTAMPS in packet.option_kinds)
    judged = case.reset.judged
    missing = "" if judged and told_by_kernel(judged) else STILL_THERE
    if stamped:
        missing = "whether the RST's timestamp was recent"
    return Finding(
        LIKELY if missing else CERTAIN,
        f"A reset from {case.remote}{maker_words(case)} removed the finished connection from "
        "TIME_WAIT before its time; the application had closed it already.",
        evidence,
        missing=missing,
    )
