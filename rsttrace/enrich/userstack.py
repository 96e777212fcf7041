"""The functions of a process that led to a reset: its own stack, by name.

Most programs keep no frame pointers, so the kernel's walk of a user stack ends with its first
entry, or leaves callers out. Where the kernel gave the top of the stack itself (``user_words``),
the frame sizes that compilers write down (enrich/unwind.py) lead from one return address to the
next: exactly, as far as the words reach. What frame pointers know beyond follows after ``GAP``.

The helper process looks addresses up (answers/symbols.py). A process resets at few places, so what
was said of an address is remembered, and the next reset from there asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

GAP = "..."
WORD = 8  # bytes
REMEMBERED = 8192  # addresses


@dataclass(frozen=True)
class Frame:
    """A return address. ``name``: ``close (libc.so.6)``, empty: it is none. ``size``: bytes from
    the stack pointer there to the end of the frame, 0: not known.
    """

    name: str = ""
    size: int = 0


def walk(
    addresses: Sequence[int], words: Sequence[int], frame_at: Callable[[int], Frame]
) -> tuple[str, ...]:
    """Names, innermost first. ``addresses`` by frame pointers, ``words`` from the stack's top on.

    GAP: callers may be left out there. Empty if the first address is not known.
    """
    if not addresses or not frame_at(addresses[0]).name:
        return ()
    chain, top = [addresses[0]], 0
    while size := frame_at(chain[-1]).size:
        top += size
        place = top // WORD - 1
        if place >= len(words) or not words[place] or not frame_at(words[place]).name:
            break
        chain.append(words[place])
    met = max(i for i, address in enumerate(addresses) if address in chain)
    further = takewhile(bool, (frame_at(address).name for address in addresses[met + 1 :]))
    gap = met == 0 or chain[-1] != addresses[met]
    names, more = [frame_at(address).name for address in chain], list(further)
    return (*names, *([GAP] if gap and more else []), *more)


class UserStacks:
    """Names for stacks. ``ask([pid, addresses, words])`` answers as answers/symbols.py, or None;
    ``noted`` is told what was learnt of each address.
    """

    def __init__(
        self,
        ask: Callable[[Any], Any] = lambda _about: None,
        noted: Callable[[str, str, object], None] = lambda _kind, _key, _value: None,
    ) -> None:
        self._ask = ask
        self._noted = noted
        self._known: dict[tuple[int, int], Frame] = {}

    def names(
        self, pid: int, addresses: Sequence[int], words: Sequence[int] = ()
    ) -> tuple[str, ...]:
        """Names of a process's own stack, innermost first; () if they are not known."""
        try:
            return self._walk(pid, addresses, words)
        except KeyError:
            value = self._ask([pid, list(addresses), list(words)])
        if not isinstance(value, list):
            return ()
        try:
            for address, name, size in value:
                self.learn(f"{pid}:{address:x}", [name, size])
                self._noted("user_frame", f"{pid}:{address:x}", [name, size])
        except (ValueError, TypeError):  # it came out of files that anybody may have made
            return ()
        for address in addresses:  # of a process that is gone nothing is known, next time neither
            self._known.setdefault((pid, address), Frame())
        try:
            return self._walk(pid, addresses, words)
        except KeyError:
            return ()

    def _walk(self, pid: int, addresses: Sequence[int], words: Sequence[int]) -> tuple[str, ...]:
        return walk(addresses, words, lambda address: self._known[pid, address])

    def learn(self, key: str, value: Any) -> None:
        """What a recording has of an address; ValueError if it is damaged."""
        pid, _, address = key.partition(":")
        name, size = value
        if not isinstance(name, str) or type(size) is not int or not 0 <= size < 1 << 32:
            raise ValueError("a user frame")
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[int(pid), int(address, 16)] = Frame(name, size)
