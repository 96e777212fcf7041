"""What a RST carries besides its header: text, or a diagnostic payload.

RFC 1122 4.2.2.12 and RFC 9293 3.5.3 allow data in a RST: "ASCII text that explains the cause".
draft-ietf-tcpm-rst-diagnostic-payload gives it a form: the bytes 33 AA, a reason code of two bytes
and a private enterprise number (PEN) of four. Its forerunner draft-boucadair-tcpm-... had a CBOR
sequence (RFC 8742): 12345, then a map of reason-code (1), pen (2) and reason-description (3).
Nothing here is believed: anybody can write it.
"""

from __future__ import annotations

import codecs
import struct
from typing import NamedTuple

from rsttrace.output import printable

MAGIC = 0x33AA
COOKIE = 12345  # the drafts' placeholder for an RFC number that never came
CODE, PEN, DESCRIPTION = 1, 2, 3
MAX_TEXT = 80
MAX_HEX = 16
MAX_DEPTH = 4

# the registry "TCP Failure Causes" as the draft fills it; PEN 0
REASONS = {
    1: "illegal option length",
    2: "desynchronized state",
    3: "new data received after close",
    4: "the application aborted",
    5: "unexpected ACK before the connection was established",
    6: "unexpected SYN in the window",
    7: "unexpected security compartment",
    8: "malformed message",
    9: "not authorized",
    10: "resource exceeded",
    11: "network failure",
    12: "reset received from the peer",
    13: "destination unreachable",
    14: "connection timeout",
    15: "too much outstanding data",
    16: "unacceptable performance",
    17: "middlebox interference",
}


def describe(payload: bytes, length: int) -> str | None:
    """What a RST says in its payload, as short safe text; None if it has no payload.

    ``length``: bytes of payload; ``payload``: the first of them, as far as they were captured.
    """
    if length <= 0:
        return None
    if not payload:
        return f"{length} bytes that could not be read"
    whole = len(payload) >= length
    return (
        (_diagnostic(payload) if whole and length == 8 else None)
        or _cbor(payload)
        or _text(payload, whole)
        or _hex(payload, length)
    )


def _diagnostic(payload: bytes) -> str | None:
    magic, code, pen = struct.unpack(">HHI", payload)
    if magic != MAGIC or not code:
        return None
    return _reason(code, pen, REASONS.get(code, "") if not pen else "")


def _reason(code: int, pen: int, meaning: str) -> str:
    owner = f" of enterprise {pen}" if pen else ""
    return f"reset reason {code}{owner}{': ' + meaning if meaning else ''} (diagnostic payload)"


def _text(payload: bytes, whole: bool) -> str | None:
    """Text if all of it is; a character that the capture cut in two is no objection."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(payload.rstrip(b"\0"), whole)
    except UnicodeDecodeError:
        return None
    words = " ".join(text.split())
    if not words or not words.isprintable():
        return None
    cut = not whole or len(words) > MAX_TEXT
    return f'"{printable(words[:MAX_TEXT])}{"..." if cut else ""}"'


def _hex(payload: bytes, length: int) -> str:
    shown = payload[:MAX_HEX]
    more = "..." if length > len(shown) else ""
    return f"{length} byte{'' if length == 1 else 's'}: {shown.hex()}{more}"


# -- CBOR (RFC 8949): unsigned numbers, texts, and maps and arrays of them ---------------------


class _Item(NamedTuple):
    value: object  # int, str, or None for what is only skipped
    end: int


class _NotCbor(Exception):
    pass


def _cbor(payload: bytes) -> str | None:
    try:
        return _read_reason(payload)
    except _NotCbor:
        return None


def _read_reason(data: bytes) -> str | None:
    start = 1 if data[:1] == b"\x82" else 0  # some wrap the sequence in an array of two
    cookie = _item(data, start)
    if cookie.value != COOKIE:
        return None
    major, count, at = _head(data, cookie.end)
    if major != 5:
        return None
    found: dict[object, object] = {}
    for _ in range(count):
        key = _item(data, at)
        value = _item(data, key.end)
        found.setdefault(key.value, value.value)
        at = value.end
    code, pen, text = found.get(CODE), found.get(PEN, 0), found.get(DESCRIPTION)
    words = f'"{printable(text[:MAX_TEXT])}"' if isinstance(text, str) else ""
    if isinstance(code, int) and isinstance(pen, int):
        # no names: the drafts with CBOR numbered the reasons differently
        return _reason(code, pen, words)
    return f"{words} (diagnostic payload)" if words else None


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument and where the rest begins; _NotCbor if cut off or indefinite."""
    if at >= len(data):
        raise _NotCbor
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:
        return major, info, at + 1
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
    if not size or at + 1 + size > len(data):
        raise _NotCbor
    return major, int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size


def _item(data: bytes, at: int, depth: int = 0) -> _Item:
    major, argument, at = _head(data, at)
    if major == 0:
        return _Item(argument, at)
    if major in (2, 3):
        end = at + argument
        if end > len(data):
            raise _NotCbor
        return _Item(_utf8(data[at:end]) if major == 3 else None, end)
    if major in (4, 5, 6):
        if depth >= MAX_DEPTH:
            raise _NotCbor
        for _ in range({4: argument, 5: 2 * argument, 6: 1}[major]):
            at = _item(data, at, depth + 1).end
        return _Item(None, at)
    return _Item(None, at)


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as err:
        raise _NotCbor from err
