"""Commands for the firewall rule that was found: show it, go before it, delete it. Pure.

A rule of nftables is named by its handle, one of iptables by its text, or by its number where the
text is not whole.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from rsttrace.advice.commands import inside, line
from rsttrace.causes.case import Case
from rsttrace.causes.netfilter import Blame
from rsttrace.enrich.firewall import LEGACY, Rule

_NFT = re.compile(r"table (\S+) (\S+), chain (\S+?)(?:, handle (\d+))?")
_ESCAPE = re.compile(r"\\(.)")
_XTABLES = re.compile(r"table (\S+), chain (\S+?)(?:, rule (\d+))?")


@dataclass(frozen=True)
class Commands:
    """Each without its namespace; empty: there is no such command (a chain's policy)."""

    show: str
    before: str = ""
    delete: str = ""


def blamed(case: Case, blame: Blame) -> Rule | None:
    """The one rule that the verdict names; None if it may have been another one."""
    firewall = case.facts.firewall
    if firewall is None or not blame.evidence:
        return None
    return next((r for r in firewall.rules if f"rule: {r.name}" == blame.evidence[0]), None)


def commands(rule: Rule, nft: str, xtables: str) -> Commands | None:
    """``nft``, ``xtables``: what to put before it, in either tool's words; empty: nothing."""
    if rule.tool == "nft":
        return _nft(rule, nft)
    return _xtables(rule, xtables)


def _nft(rule: Rule, words: str) -> Commands | None:
    found = _NFT.fullmatch(rule.place)
    if not found:
        return None
    *where, handle = found.groups()
    show = line("nft", "-a", "list", "chain", *where)
    if not handle:
        return Commands(show, f"{line('nft', 'add', 'rule', *where)} {words}" if words else "")
    insert = line("nft", "insert", "rule", *where, "handle", handle)
    before = f"{insert} {words}" if words else ""
    return Commands(show, before, line("nft", "delete", "rule", *where, "handle", handle))


def _xtables(rule: Rule, words: str) -> Commands | None:
    found = _XTABLES.fullmatch(rule.place)
    if not found:
        return None
    # `iptables` may stand for either; the two backends have names of their own
    tool = rule.tool if rule.tool.endswith(LEGACY) else f"{rule.tool}-nft"
    table, chain, number = found.groups()
    base = (tool, "-t", table)
    if not number:
        show = line(*base, "-S", chain)
        return Commands(show, f"{line(*base, '-A', chain)} {words} -j ACCEPT" if words else "")
    return Commands(
        line(*base, "-S", chain, number),
        f"{line(*base, '-I', chain, number)} {words} -j ACCEPT" if words else "",
        _delete(base, chain, number, rule.text),
    )


def _delete(base: tuple[str, ...], chain: str, number: str, text: str) -> str:
    """By its text it can be pasted twice without harm to the next rule."""
    if not text.endswith(" ..."):
        try:
            return line(*base, "-D", chain, *shlex.split(_ESCAPE.sub(_unescaped, text)))
        except ValueError:
            pass
    return line(*base, "-D", chain, number)


def _unescaped(found: re.Match[str]) -> str:
    """iptables-save puts a backslash before an apostrophe, too; a shell would keep it."""
    return found[1] if found[1] == "'" else found[0]


def remedies(case: Case, rule: Rule, found: Commands, allow: str, costs: str) -> tuple[str, ...]:
    """``allow``: what goes past the rule then; ``costs``: what deleting it opens."""
    said = (
        (found.show, f"the rule: {rule.text}"),
        (found.before, allow),
        (found.delete, costs),
    )
    return tuple(inside(case, command, why) for command, why in said if command)
