"""From what people type or paste to a word of words.toml. Pure."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from rsttrace.causes import Word, words

# what a kernel or nstat puts before a name
_PREFIXES = ("SKB_DROP_REASON_", "SK_RST_REASON_", "MPTcpExt", "TcpExt", "Tcp", "SKB_")
_PREFIX = re.compile(rf"\b(?:{'|'.join(_PREFIXES)})(?=\w)")
_ERRNO = re.compile(r"\b(?:errno|os error)\W{0,3}(\d+)\b", re.IGNORECASE)
SHORTEST = 4  # a shorter piece within a text means nothing


def find_word(what: str) -> Word | None:
    """A word as it stands: its name, another spelling, an errno's number or text."""
    typed = errno_name(what.strip()).lower()
    spelled: dict[str, Word] = {}
    for word in words().values():
        for spelling in (word.name, *word.says):
            spelled.setdefault(spelling.lower(), word)
    return next((spelled[c] for c in _without_prefixes(typed) if c in spelled), None)


def find_in_text(text: str) -> Word | None:
    """The word that a piece of a pasted message means.

    A message of an application says more than the errno in it; then the longest piece wins.
    """
    if not re.search(r"\s", text.strip()):
        return None  # one word is meant as it stands, or is a file
    text = _PREFIX.sub("", text)
    found = [
        (word.kind == "message", len(piece), word)
        for word in words().values()
        for piece, flags in _pieces(word)
        if len(piece) >= SHORTEST
        and re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", text, flags=flags)
    ]
    if found:
        return max(found, key=lambda hit: hit[:2])[2]
    number = _ERRNO.search(text)
    return words().get(errno_name(number[1])) if number else None


def errno_name(what: str) -> str:
    """``Connection reset by peer`` and ``104`` are ECONNRESET; other text stays as it is."""
    if what.isascii() and what.isdigit():
        return errno.errorcode.get(int(what), what)
    texts = {os.strerror(number).lower(): name for number, name in errno.errorcode.items()}
    return texts.get(what.lower(), what)


def _without_prefixes(typed: str) -> Iterator[str]:
    """The name as typed, then without what stands before it (SKB_DROP_REASON_SKB_CSUM has two)."""
    yield typed
    for prefix in _PREFIXES:
        if typed.startswith(prefix.lower()):
            yield from _without_prefixes(typed.removeprefix(prefix.lower()))


def _pieces(word: Word) -> Iterator[tuple[str, re.RegexFlag]]:
    """What stands for this word within a text.

    A name that is an ordinary English word as well (ERROR, incomplete) is not one of them.
    """
    for piece in word.says:
        yield piece, re.IGNORECASE
    name = word.name
    if word.kind == "message":
        yield name, re.IGNORECASE
    elif word.kind == "errno" or not name.isalpha() or not (name.isupper() or name.islower()):
        yield name, re.RegexFlag(0)
