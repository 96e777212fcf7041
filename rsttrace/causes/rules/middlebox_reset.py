"""A device between the two ends made the RST up, in the name of the peer (chapter 5.4)."""

from __future__ import annotations

from rsttrace.causes.case import (
    ACCEPTED,
    CERTAIN,
    JUDGEMENT,
    LIKELY,
    LOCAL_FIREWALL,
    MIDDLEBOX,
    Case,
    Finding,
    Sender,
)
from rsttrace.causes.features import SYNCHRONIZED, independent, oddities
from rsttrace.causes.rules._received import (
    accepted_in,
    known_sender,
    packet_evidence,
)

CAUSE = "middlebox-reset"
WHEN = (ACCEPTED,)
NEEDS = (JUDGEMENT,)
AFTER = ()
_FORWARD = ("ip_forward", "ip6_forward")
_OUTPUT = ("__ip_local_out", "__ip6_local_out", "ip6_xmit", "ip_output", "__ip_queue_xmit")


def rule(case: Case) -> Finding | None:
    """The sender's record, if that is on this host; else at least two independent features."""
    if not accepted_in(case, *SYNCHRONIZED):
        return None
    sender = known_sender(case)
    if sender and sender.cause == "injected-by-local-tool":
        return _injected(case, sender)
    if sender and sender.cause == "firewall-reject":
        return _rejected(case, sender)
    odd = oddities(case)
    if independent(odd) < 2:
        return None
    return Finding(
        LIKELY,
        f"A device between the two ends, not {case.remote} itself, seems to have made this reset: "
        f"{'; '.join(one.text for one in odd)}.",
        (
            f"state {case.reset.state}",
            *packet_evidence(case),
            *(f"does not fit the peer: {one.text}" for one in odd),
        ),
        initiator=MIDDLEBOX,
        missing="who made the RST",
    )


def _injected(case: Case, sender: Sender) -> Finding:
    """A raw socket speaks for nobody's TCP. A packet socket may be the network card of one."""
    made, who = case.reset.peer, sender.process or "A program"
    sure = bool(made and made.maker == "raw-socket")
    doubt = "a user-space network stack (gVisor) sends through a packet socket, too"
    return Finding(
        CERTAIN if sure else LIKELY,
        f"{who}, on this host, made the reset that ended the connection of {case.who} with "
        f"{case.remote}; the kernel's TCP of {case.remote} did not.",
        (
            f"state {case.reset.state}",
            *packet_evidence(case),
            f"made on this host: {sender.cause}: {sender.summary}",
            *(() if sure else (doubt,)),
        ),
        initiator=MIDDLEBOX,
    )


def _rejected(case: Case, sender: Sender) -> Finding | None:
    """A firewall rule between the two ends. One at the peer's own input speaks for the peer."""
    made = case.reset.peer
    if made is None:
        return None
    below = _below_the_firewall(made.frames)
    router = any(f in _FORWARD or f.lstrip("_").startswith("br_") for f in below)
    own = made.flow.netns == case.reset.flow.netns and any(f in _OUTPUT for f in below)
    if not router and not own:
        return None
    where = "This host's own firewall" if own else "The firewall of a router or bridge on this host"
    return Finding(
        CERTAIN,
        f"{where} reset the connection of {case.who} with {case.remote}; "
        f"{case.remote} itself did not.",
        (
            f"state {case.reset.state}",
            *packet_evidence(case),
            f"made on this host: {sender.cause}: {sender.summary}",
        ),
        initiator=LOCAL_FIREWALL,
    )


def _below_the_firewall(frames: tuple[str, ...]) -> tuple[str, ...]:
    """Where the rejected segment was: the RST's own way out is above nf_hook_slow()."""
    if "nf_hook_slow" not in frames:
        return frames
    return frames[frames.index("nf_hook_slow") :]
