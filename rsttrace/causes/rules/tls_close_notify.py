"""The everyday harmless case of data-after-close: a TLS alert arrives after close()."""

from __future__ import annotations

from rsttrace.causes.case import CERTAIN, Case, Finding
from rsttrace.causes.rules.data_after_close import (
    closed_evidence,
    closer_of,
    data_met_closed_reader,
)

CAUSE = "tls-close-notify"
# one alert record, or two: close_notify after a warning
MAX_ALERT_BYTES = 140


def rule(case: Case) -> Finding | None:
    """The payload is a TLS alert record and nothing more (RFC 8446 6.1)."""
    data = data_met_closed_reader(case)
    if data is None or data.payload_kind != "tls-alert":
        return None
    if not _only_alerts(data.payload, data.length):
        return None
    return Finding(
        CERTAIN,
        f"The peer's TLS goodbye (close_notify alert) came after {closer_of(case)} had closed "
        "the socket: no data was lost.",
        (
            f"payload {data.payload[:5].hex(' ')}: one TLS alert record of {data.length} bytes",
            *closed_evidence(case),
        ),
    )


def _only_alerts(payload: bytes, length: int) -> bool:
    """Is the whole payload made of alert records, as far as it was captured?"""
    place = 0
    while place < length:
        head = payload[place : place + 5]
        if len(head) < 5:
            return place > 0 and length <= MAX_ALERT_BYTES
        if head[0] != 0x15:
            return False
        place += 5 + int.from_bytes(head[3:5], "big")
    return place == length
