"""``nft --debug=netlink -a list ruleset``: the words of rules, and what its JSON does not tell."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "?"


@dataclass
class Told:
    """Of one rule: its words, and the family it asks for (4, 6, empty: none, UNKNOWN)."""

    text: str = ""
    family: str = UNKNOWN


class Listing:
    """``nft --debug=netlink -a list ruleset``."""

    _BYTECODE = re.compile(r"(\w+) (\S+) (\S+) (\d+)(?: \d+)? *")
    _ASKS_FAMILY = re.compile(r"  \[ meta load (nfproto|protocol) => reg \d+ \]")
    _COMPARES = re.compile(r"  \[ cmp eq reg \d+ (0x[0-9a-f]+) \]")
    _TABLE = re.compile(r"table (\S+) (.+?) \{")
    _CHAIN = re.compile(r"\tchain (.+?) \{")
    _HOOK = re.compile(r"\t\ttype \S+ hook \S+ (?:device|devices =) (.+?) priority ")
    _ABOUT = re.compile(r"\t\t(type|comment) ")
    _RULE = re.compile(r"(.*\S) # handle (\d+)")
    # numbers as this machine's kernel keeps them: NFPROTO_, ETH_P_ in network order
    _NUMBERS: Mapping[int, str] = {
        2: "4",
        10: "6",
        int.from_bytes(b"\x08\x00", sys.byteorder): "4",
        int.from_bytes(b"\x86\xdd", sys.byteorder): "6",
    }

    def __init__(self, text: str) -> None:
        self._told: dict[tuple[str, ...], Told] = {}
        self.devices: dict[tuple[str, ...], tuple[str, ...]] = {}
        lines = text.splitlines()
        start = next((i for i, line in enumerate(lines) if self._TABLE.match(line)), 0)
        self._read_bytecode(lines[:start])
        self._read_words(lines[start:])

    def rule(self, key: tuple[str, str, str, int]) -> Told:
        """By family, table, chain and handle."""
        return self._told.get(tuple(map(str, key)), Told())

    def _read_bytecode(self, lines: list[str]) -> None:
        told, asked = Told(), False
        for line in lines:
            if found := self._BYTECODE.fullmatch(line):
                told = self._told.setdefault(found.groups(), Told(family=""))
                asked = False
            elif asked:
                compared = self._COMPARES.fullmatch(line)
                number = int(compared[1], 16) if compared else -1
                told.family, asked = self._NUMBERS.get(number, UNKNOWN), False
            else:
                asked = bool(self._ASKS_FAMILY.fullmatch(line))

    def _read_words(self, lines: list[str]) -> None:
        family = table = chain = words = ""
        for line in lines:
            if found := self._TABLE.match(line):
                family, table = found.groups()
            elif found := self._CHAIN.match(line):
                chain, words = found[1], ""
            elif found := self._HOOK.match(line):
                names = re.findall(r'[^\s{},"]+', found[1])
                self.devices[family, table, chain] = tuple(names)
            elif line.startswith("\t\t") and not self._ABOUT.match(line):
                words = f"{words} {line.strip()}".strip()  # a long set goes over several lines
                if found := self._RULE.fullmatch(words):
                    self._told.setdefault((family, table, chain, found[2]), Told()).text = found[1]
                    words = ""
