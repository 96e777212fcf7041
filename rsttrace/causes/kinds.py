"""What a rule can be asked about, and which facts it may need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rsttrace.model import FORWARDED, NONE, RECEIVED, REJECTED, Reset

ACTIVE = "active"  # tcp_send_active_reset()
PASSIVE = "passive"  # TCP's answer to a segment
OUTSIDE = "outside"  # made on this host, but not by TCP
PASSING = "passing"  # made elsewhere, forwarded here
ACCEPTED = "accepted"  # received, and not refused as far as is known
REFUSED = "refused"  # received, not believed
QUIET = "quiet"  # an abort without any RST

_BY_DIRECTION = {FORWARDED: PASSING, RECEIVED: ACCEPTED, REJECTED: REFUSED, NONE: QUIET}
_BY_MAKER = {"tcp-active": ACTIVE, "tcp-passive": PASSIVE}


def kind_of(reset: Reset) -> str:
    """One of the kinds above. A suppressed reset counts as if it had left."""
    found = _BY_DIRECTION.get(reset.direction)
    return found or _BY_MAKER.get(reset.maker or "", OUTSIDE)


@dataclass(frozen=True)
class Fact:
    """Something a rule cannot do without; ``lacks`` tells whether this reset misses it.

    A fact that does not apply is not missing: a closed port has no socket to look at.
    """

    text: str
    lacks: Callable[[Reset], bool]


def _no_decision(reset: Reset) -> bool:
    return reset.decided is None


def _no_stack(reset: Reset) -> bool:
    """Also with symbols hidden: bare addresses tell nothing."""
    return all(frame.startswith("0x") for frame in reset.frames)


def _no_socket(reset: Reset) -> bool:
    if reset.sock:
        return False
    record = reset.decided or reset.judged or reset.error
    if record is None:
        # without a decision the packet's own stack may show that no socket was involved
        return reset.in_stack("tcp_v4_do_rcv", "tcp_v6_do_rcv") or _no_stack(reset)
    return bool(record.sk) and record.state not in ("TIME_WAIT", "NEW_SYN_RECV")


def _no_trigger(reset: Reset) -> bool:
    return reset.trigger is None


def _no_packet(reset: Reset) -> bool:
    return reset.packet is None


def _no_judgement(reset: Reset) -> bool:
    return reset.judged is None


def _no_age(reset: Reset) -> bool:
    """Of an established connection; one that carried data is not asked for its age."""
    judged, sock, history = reset.judged, reset.sock, reset.history
    if judged is None or judged.state != "ESTABLISHED" or (sock and sock.spoke):
        return False
    return sock is None or history is None or history.closed


DECISION = Fact("the decision (no tcp_send_reset record came for this RST)", _no_decision)
STACK = Fact("the kernel stack (symbols are hidden, see: rsttrace doctor)", _no_stack)
SOCKET = Fact("the state of the socket", _no_socket)
TRIGGER = Fact("the segment that provoked the RST", _no_trigger)
PACKET = Fact("the RST itself", _no_packet)
JUDGEMENT = Fact(
    "what TCP did with this RST (neither accepted nor dropped was seen)", _no_judgement
)
AGE = Fact("the age of the connection", _no_age)
