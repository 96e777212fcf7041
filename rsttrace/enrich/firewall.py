"""Firewall rules that can make or drop a RST, and which of them fit a segment. Pure.

A rule is kept once for each way that leads to it from a hook, in the order in which the kernel
asks them. What a rule compares with a literal is a ``Match``; anything else it asks for (conntrack
state, named sets, limits) is not known here, so it neither proves nor excludes the rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rsttrace.output import printable

T = TypeVar("T")

RESET, DROP = "reset", "drop"
LEGACY = "-legacy"  # how the name of a tool ends whose rules are not in nf_tables


@dataclass(frozen=True)
class Match:
    """One comparison: is ``what`` of the segment among ``values``, or (``negated``) not?

    ``what``: saddr, daddr (address, ``a/length``, ``a-b``), sport, dport (number, ``a-b``), flags
    (``mask/value``, numbers), iif, oif (name, ``eth*``), family (4, 6), protocol.
    """

    what: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule with the verdict RESET (reject with a TCP reset) or DROP.

    ``tool`` shows it, ``family`` is its table's, ``place`` where it stands, ``text`` what it says.
    ``own`` are its matches, ``way`` those of the jumps that lead to it; ``exact``: ``own`` is all
    it asks for; ``reached``: the kernel comes here, or is done with the hook's chain before, if
    ``way`` fits. ``chains``: the chains that lead here and its own, one number for each time a
    chain is entered.
    """

    verdict: str
    tool: str
    family: str
    hook: str
    place: str
    text: str
    own: tuple[Match, ...] = ()
    way: tuple[Match, ...] = ()
    exact: bool = False
    reached: bool = False
    chains: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """``table inet filter, chain input, handle 7: tcp dport 443 reject with tcp reset``."""
        tool = "" if self.tool == "nft" else f"{self.tool} "
        return f"{tool}{self.place}: {self.text}"


@dataclass(frozen=True)
class Firewall:
    """The rules of one network namespace that can make or drop a RST, in order.

    ``problem``: why some or all of them are not known, empty if they are. ``more``: verdicts that
    more rules give than are kept here.
    """

    rules: tuple[Rule, ...] = ()
    more: tuple[str, ...] = ()
    problem: str = ""


def said_for(said: Iterable[tuple[int, T]], time_ns: int) -> T | None:
    """Of what was said and when: the first after this time."""
    return next((answer for when, answer in said if when >= time_ns), None)


@dataclass(frozen=True)
class Segment:
    """What a rule was asked about; None or an empty text: not known."""

    family: int
    saddr: str = ""
    daddr: str = ""
    sport: int | None = None
    dport: int | None = None
    flags: int | None = None
    iif: str = ""
    oif: str = ""


def fitting(rules: Iterable[Rule], segment: Segment) -> list[Rule]:
    """Those that do not contradict the segment, each once.

    Behind one that surely fits, none of the same chain can have been asked.
    """
    found: dict[str, Rule] = {}
    ended: set[int] = set()
    for rule in rules:
        if ended.intersection(rule.chains):
            continue
        if any(holds(match, segment) is False for match in (*rule.way, *rule.own)):
            continue
        found.setdefault(rule.name, rule)
        if rule.exact and all(holds(match, segment) for match in rule.own):
            ended.update(rule.chains[-1:])
            if rule.reached and all(holds(match, segment) for match in rule.way):
                ended.update(rule.chains[:1])
    return list(found.values())


def holds(match: Match, segment: Segment) -> bool | None:
    """Is it so for this segment? None: not known."""
    value = _value(match.what, segment)
    if value is None:
        return None
    contains = _CONTAINS.get(match.what, _same)
    try:
        inside = any(contains(text, value) for text in match.values)
    except ValueError:  # something this module does not know
        return None
    return inside != match.negated


def _value(what: str, segment: Segment) -> Any:
    if what == "protocol":
        return "tcp"
    if what not in Segment.__dataclass_fields__:
        return None
    value = getattr(segment, what)
    return None if value == "" else value


def _same(text: str, value: object) -> bool:
    return text == str(value)


def _protocol(text: str, _value: object) -> bool:
    return text in ("tcp", "6")


def _number(text: str, value: int) -> bool:
    first, _, last = text.partition("-")
    return int(first) <= value <= int(last or first)


def _address(text: str, value: str) -> bool:
    address = ipaddress.ip_address(value)
    if "/" in text:
        return address in ipaddress.ip_network(text, strict=False)
    ends = [ipaddress.ip_address(end) for end in text.split("-")]
    if ends[0].version != address.version:
        return False
    return int(ends[0]) <= int(address) <= int(ends[-1])


def _device(text: str, value: str) -> bool:
    return value.startswith(text[:-1]) if text.endswith("*") else value == text


def _flags(text: str, value: int) -> bool:
    mask, wanted = (int(number) for number in text.split("/"))
    return value & mask == wanted


_CONTAINS: Mapping[str, Any] = {
    "saddr": _address,
    "daddr": _address,
    "sport": _number,
    "dport": _number,
    "iif": _device,
    "oif": _device,
    "flags": _flags,
    "protocol": _protocol,
}


# -- as JSON, between processes and in recordings ----------------------------------------------


def to_json(firewall: Firewall) -> dict[str, Any]:
    """Lists and texts only."""
    return {
        "problem": firewall.problem,
        "more": list(firewall.more),
        "rules": [_rule_to_json(rule) for rule in firewall.rules],
    }


def _rule_to_json(rule: Rule) -> list[Any]:
    matches = [[[m.what, list(m.values), m.negated] for m in part] for part in (rule.own, rule.way)]
    texts = [rule.verdict, rule.tool, rule.family, rule.hook, rule.place, rule.text]
    return [*texts, *matches, rule.exact, rule.reached, list(rule.chains)]


def from_json(value: Any) -> Firewall:
    """The same back; ValueError for anything else, which may come from a foreign recording."""
    try:
        rules = tuple(_rule_from_json(*rule) for rule in value["rules"])
        problem = printable(_typed(value["problem"], str))
        more = tuple(_typed(verdict, str) for verdict in _typed(value["more"], list))
        return Firewall(rules, more, problem)
    except (KeyError, TypeError) as err:
        raise ValueError(f"no firewall: {err}") from err


def _rule_from_json(*parts: Any) -> Rule:
    *texts, own, way, exact, reached, chains = parts
    if len(texts) != 6:
        raise ValueError("no firewall rule")
    verdict, tool, family, hook, place, text = (printable(_typed(text, str)) for text in texts)
    numbers = tuple(_typed(number, int) for number in _typed(chains, list))
    matches = _matches_from_json(own), _matches_from_json(way)
    sure = _typed(exact, bool), _typed(reached, bool)
    return Rule(verdict, tool, family, hook, place, text, *matches, *sure, numbers)


def _matches_from_json(matches: Any) -> tuple[Match, ...]:
    return tuple(_match_from_json(*match) for match in _typed(matches, list))


def _match_from_json(what: Any, values: Any, negated: Any) -> Match:
    texts = tuple(_typed(text, str) for text in _typed(values, list))
    return Match(_typed(what, str), texts, _typed(negated, bool))


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r:.40} in place of {kind.__name__}")
    return value
