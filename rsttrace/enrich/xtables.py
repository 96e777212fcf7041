"""``iptables-save`` and ``ip6tables-save`` to chains (iptables-save(8), iptables-extensions(8))."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rsttrace.enrich.firewall import DROP, LEGACY, RESET, Match
from rsttrace.enrich.nftables import ALL_FLAGS, FLAGS
from rsttrace.enrich.rulesets import (
    GOTO,
    JUMP,
    OTHER,
    RETURN,
    Chain,
    Chains,
    CommandFailed,
    Run,
    Statement,
)

TOOLS = {"ip": "iptables", "ip6": "ip6tables"}
HOOKS = ("input", "forward", "output", "prerouting", "postrouting")
# extensions all of whose options are understood here, and what an option compares
KNOWN = ("tcp", "multiport", "comment")
OPTIONS = {
    "-s": "saddr",
    "-d": "daddr",
    "-i": "iif",
    "-o": "oif",
    "-p": "protocol",
    "--sport": "sport",
    "--dport": "dport",
    "--sports": "sport",
    "--dports": "dport",
}
ADDRESSES = ("saddr", "daddr")


def read(run: Run, family: str, tables: set[str]) -> Chains:
    """These tables, which iptables wrote into nf_tables."""
    tool = TOOLS[family]
    try:
        text = run((f"{tool}-nft-save",))
    except CommandFailed:
        text = run((f"{tool}-save",))
    chains = parse(text, tool, family)
    shown = {chain.table for chain in chains.values()}
    if missing := sorted(tables - shown):  # mixed with what only nft can write
        raise CommandFailed(f"{tool}-save does not show table {missing[0]}")
    return {key: chain for key, chain in chains.items() if chain.table in tables}


def read_legacy(run: Run, family: str) -> Chains:
    """The tables of the kernel's older firewall."""
    tool = TOOLS[family] + LEGACY
    return parse(run((f"{tool}-save",)), tool, family)


def parse(text: str, tool: str, family: str) -> Chains:
    """Chains by the tables' and their own names."""
    found: Chains = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chain = Chain(tool, family, table, name, place=f"table {table}, chain {name}")
            if policy != "-":
                chain.hook = name.lower() if name.lower() in HOOKS else ""
                chain.policy = DROP if policy == "DROP" else OTHER
            found[tool, family, table, name] = chain
        elif line.startswith("-A "):
            _, name, rest = line.split(" ", 2)
            statements = found[tool, family, table, name].statements
            place = f"table {table}, chain {name}, rule {len(statements) + 1}"
            statements.append(_statement(rest, place))
    return found


def _statement(rest: str, place: str) -> Statement:
    """The options of one rule. An option that is not known makes it inexact."""
    verdict, target, answer, exact = OTHER, "", "", True
    matches: list[Match] = []
    for option, values, negated in _options(shlex.split(rest)):
        if option in ("-j", "-g"):
            verdict, target = JUMP if option == "-j" else GOTO, values[0]
        elif option == "-m":
            exact = exact and values[0] in KNOWN
        elif option == "--reject-with":
            answer = values[0]
        elif match := _match(option, values, negated):
            matches.append(match)
        else:
            exact = exact and option == "--comment"
    if target == "REJECT":
        verdict = RESET if answer == "tcp-reset" else DROP
    elif target in ("DROP", "RETURN"):
        verdict = DROP if target == "DROP" else RETURN
    return Statement(verdict, place, rest, tuple(matches), exact, target)


def _options(words: list[str]) -> Iterator[tuple[str, list[str], bool]]:
    """Each option with its values, and whether ``!`` stands before it."""
    option, values, negated, before = "", [""], False, ""
    for word in words:
        text = option == "--comment" and not values  # a comment may look like an option
        if word.startswith("-") and not text:
            if option:
                yield option, values, negated
            option, values, negated = word, [], before == "!"
        elif word != "!" or text:
            values.append(word)
        before = word
    if option:
        yield option, values, negated


def _match(option: str, values: list[str], negated: bool) -> Match | None:
    if option == "--tcp-flags" and len(values) == 2:
        mask, wanted = (_bits(names) for names in values)
        return Match("flags", (f"{mask}/{wanted}",), negated)
    what = OPTIONS.get(option, "")
    if not what or not values:
        return None
    texts = values[0].split(",")
    if what.endswith("port"):
        texts = [text.replace(":", "-") for text in texts]
    elif what in ("iif", "oif"):
        texts = [f"{text[:-1]}*" if text.endswith("+") else text for text in texts]
    return Match(what, tuple(texts), negated)


def _bits(names: str) -> int:
    if names == "ALL":
        return ALL_FLAGS & 63
    return sum(FLAGS.get(name.lower(), 0) for name in names.split(","))
