"""The peer had closed, we wrote on, and our data met a closed socket (chapter 3.1)."""

from __future__ import annotations

from rsttrace.causes.case import ACCEPTED, CERTAIN, JUDGEMENT, Case, Finding
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    packet_evidence,
    sender_evidence,
)

CAUSE = "peer-closed-first"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """tcp_receive_reset in CLOSE_WAIT: sk_err becomes EPIPE."""
    if not accepted_in(case, "CLOSE_WAIT"):
        return None
    sender = known_sender(case)
    why = f" ({sender.words})" if sender else ""
    return Finding(
        CERTAIN,
        f"{case.remote} had closed its end; {case.who} had not, and then the peer reset "
        f"what was left{why}.",
        (
            "state CLOSE_WAIT: the peer's FIN had come",
            *packet_evidence(case),
            *sender_evidence(case),
        ),
    )
