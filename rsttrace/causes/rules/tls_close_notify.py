"""The everyday harmless case of data-after-close: a TLS alert arrives after close()."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, LIKELY, PASSIVE, TRIGGER, Case, Finding, count_of
from rsttrace.causes.rules.data_after_close import (
    MAX_ALERT_BYTES,
    closed_evidence,
    closer_of,
    data_met_closed_reader,
)
from rsttrace.packet import TLS_ALERT, payload_kind

CAUSE = "tls-close-notify"
WHEN = (PASSIVE,)
NEEDS = (TRIGGER,)
AFTER = ()


def rule(case: Case) -> Finding | None:
    """The payload is a TLS alert record and nothing more (RFC 8446 5.1, 6.1)."""
    data = data_met_closed_reader(case)
    if data is None:
        return None
    if _only_alerts(data.payload, data.length):
        confidence, what = CERTAIN, f"one TLS alert record of {data.length} bytes"
    elif _encrypted_alert(data.payload, data.length):
        confidence, what = LIKELY, "a TLS 1.3 record of just the size of an alert"
    else:
        return None
    # a FIN counts one; tcp_reset() of row P7 has thrown away what was not acknowledged
    judged = case.reset.unread_judgement
    lost = max(0, judged.sock.unacked - 1) if judged and judged.sock else 0
    if lost:
        return Finding(
            confidence,
            f"The peer's TLS goodbye (close_notify alert) came after {closer_of(case)} had closed "
            f"the socket, while {count_of(lost, 'byte')} of ours were not acknowledged: lost.",
            (f"payload {data.payload[:5].hex(' ')}: {what}", *closed_evidence(case)),
            benign=False,
        )
    return Finding(
        confidence,
        f"The peer's TLS goodbye (close_notify alert) came after {closer_of(case)} had closed "
        "the socket: no data was lost.",
        (f"payload {data.payload[:5].hex(' ')}: {what}", *closed_evidence(case)),
    )


def _only_alerts(payload: bytes, length: int) -> bool:
    """Is the whole payload made of alert records, as far as it was captured?

    In the clear (two bytes: level and description) only close_notify, 0, is a goodbye.
    """
    if payload_kind(payload) != "tls-alert":
        return False
    place = 0
    while place < length:
        head = payload[place : place + 5]
        if len(head) < 5:
            return place > 0 and length <= MAX_ALERT_BYTES
        size = int.from_bytes(head[3:5], "big")
        if head[0] != TLS_ALERT or (size == 2 and payload[place + 6 : place + 7] > b"\0"):
            return False
        place += 5 + size
    return place == length


def _encrypted_alert(payload: bytes, length: int) -> bool:
    """TLS 1.3 hides the record type: level, description, type, 16 bytes of tag (5.2)."""
    return length == 24 and payload[:5] == b"\x17\x03\x03\x00\x13"
