"""A namespace's firewall: which commands show it, and the rules in it that bear on a RST.

Pure but for ``run``, which the caller gives. Runs in the helper process (broker.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rsttrace.enrich.firewall import DROP, RESET, Firewall, Match, Rule

JUMP, GOTO, OTHER = "jump", "goto", "other"
# a RST of this host's own passes these; elsewhere a drop has nothing to do with it
WAY_OUT = ("output", "postrouting", "egress")
MAX_RULES = 200
MAX_STEPS = 50_000
MAX_DEPTH = 16  # NFT_JUMP_STACK_SIZE
MAX_TEXT = 160


class CommandFailed(Exception):
    """A command that shows rules could not do it; the text says why."""


Run = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Statement:
    """A rule, or one way through a verdict map: what it asks for and what it does then."""

    verdict: str
    place: str
    text: str
    matches: tuple[Match, ...] = ()
    exact: bool = False
    target: str = ""


@dataclass(slots=True)
class Chain:
    """A chain. ``hook``: empty if it is only jumped to. ``policy``: DROP or OTHER."""

    tool: str
    family: str
    table: str
    name: str
    hook: str = ""
    devices: tuple[str, ...] = ()
    policy: str = OTHER
    place: str = ""
    statements: list[Statement] = field(default_factory=list)


Chains = dict[tuple[str, str, str, str], Chain]  # tool, family, table, name
Table = tuple[str, str]  # family, name


def collect(run: Run, nft: bool, legacy: Mapping[str, bool]) -> Firewall:
    """Ask for all rules of the namespace this process is in.

    ``run`` gives the output of a command or raises CommandFailed. ``nft``: the kernel has
    nf_tables; ``legacy``: are there legacy tables of the families ip and ip6?
    """
    from rsttrace.enrich import nftables, xtables

    chains: Chains = {}
    problems: list[str] = []

    def attempt(read: Callable[..., Chains], *what: object) -> None:
        try:
            chains.update(read(run, *what))
        except CommandFailed as err:
            problems.append(str(err))
        except (LookupError, TypeError, ValueError, AttributeError):
            problems.append(f"the rules of {read.__module__.rpartition('.')[2]} are not understood")

    by_iptables: set[Table] = set()
    if nft:
        attempt(nftables.read, by_iptables)
    for family in sorted({family for family, _ in by_iptables}):
        attempt(xtables.read, family, {table for f, table in by_iptables if f == family})
    for family, there in legacy.items():
        if there:
            attempt(xtables.read_legacy, family)
    return relevant(chains, "; ".join(problems))


def relevant(chains: Chains, problem: str = "") -> Firewall:
    """The rules that can make or drop a RST, as the kernel asks them from each hook."""
    walk = _Walk(chains)
    for chain in chains.values():
        if chain.hook:
            walk.base(chain)
    return Firewall(tuple(walk.found), walk.complete, problem)


class _Walk:
    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._leading: dict[tuple[tuple[str, ...], bool], bool] = {}
        self._steps = 0
        self._entered = 0
        self.found: list[Rule] = []
        self.complete = True

    def base(self, chain: Chain) -> None:
        """One chain that a hook calls."""
        what = "oif" if chain.hook == "egress" else "iif"
        way = (Match(what, chain.devices),) if chain.devices else ()
        number = self._entered + 1
        self._enter(chain, chain.hook, way, ())
        if chain.policy == DROP and chain.hook in WAY_OUT:
            policy = Statement(DROP, chain.place, "policy drop", exact=True)
            self._add(policy, chain, chain.hook, way, (number,))

    def _enter(
        self, chain: Chain, hook: str, way: tuple[Match, ...], before: tuple[int, ...]
    ) -> None:
        self._entered += 1
        chains = (*before, self._entered)
        for statement in chain.statements:
            self._steps += 1
            if self._steps > MAX_STEPS:
                self.complete = False
                return
            if statement.verdict in (JUMP, GOTO):
                target = self._target(chain, statement)
                if target and len(chains) < MAX_DEPTH and self._leads(target, hook in WAY_OUT):
                    self._enter(target, hook, (*way, *statement.matches), chains)
            elif _bears(statement, hook in WAY_OUT):
                self._add(statement, chain, hook, way, chains)

    def _target(self, chain: Chain, statement: Statement) -> Chain | None:
        return self._chains.get((chain.tool, chain.family, chain.table, statement.target))

    def _leads(self, chain: Chain, out: bool) -> bool:
        """Is there a rule of interest in this chain or where it jumps to?"""
        key = ((chain.tool, chain.family, chain.table, chain.name), out)
        if key not in self._leading:
            self._leading[key] = False  # the kernel allows no loops
            self._leading[key] = any(_bears(s, out) for s in chain.statements) or any(
                self._leads(target, out) for target in self._targets(chain)
            )
        return self._leading[key]

    def _targets(self, chain: Chain) -> Iterator[Chain]:
        for statement in chain.statements:
            if statement.verdict in (JUMP, GOTO) and (target := self._target(chain, statement)):
                yield target

    def _add(
        self,
        statement: Statement,
        chain: Chain,
        hook: str,
        way: tuple[Match, ...],
        chains: tuple[int, ...],
    ) -> None:
        if len(self.found) >= MAX_RULES:
            self.complete = False
            return
        self.found.append(
            Rule(
                statement.verdict,
                chain.tool,
                chain.family,
                hook,
                statement.place,
                shortened(statement.text),
                statement.matches,
                way,
                statement.exact,
                chains,
            )
        )


def _bears(statement: Statement, out: bool) -> bool:
    return statement.verdict == RESET or (out and statement.verdict == DROP)


def shortened(text: str) -> str:
    """One line of a length that can be read."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 4] + " ..."
