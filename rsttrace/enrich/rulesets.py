"""A namespace's firewall: which commands show it, and the rules in it that bear on a RST.

Pure but for ``run``, which the caller gives. Runs in the helper process (broker.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rsttrace.enrich.firewall import DROP, RESET, Firewall, Match, Rule

JUMP, GOTO, RETURN, OTHER = "jump", "goto", "return", "other"
MAX_RULES = 200  # of each verdict
MAX_STEPS = 50_000
MAX_DEPTH = 16  # NFT_JUMP_STACK_SIZE
MAX_TEXT = 160


class CommandFailed(Exception):
    """A command that shows rules could not do it; the text says why."""


Run = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Statement:
    """A rule, or one way through a verdict map: what it asks for and what it does then."""

    verdict: str
    place: str
    text: str
    matches: tuple[Match, ...] = ()
    exact: bool = False
    target: str = ""


@dataclass
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
    return Firewall(tuple(walk.found), tuple(sorted(walk.more)), problem)


@dataclass(frozen=True)
class _Here:
    """Where the walk is: the hook, the matches of the jumps so far, the chains entered."""

    hook: str
    way: tuple[Match, ...] = ()
    chains: tuple[int, ...] = ()
    reached: bool = True


class _Walk:
    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._leading: dict[int, bool] = {}
        self._left = {RESET: MAX_RULES, DROP: MAX_RULES}
        self._steps = 0
        self._entered = 0
        self.found: list[Rule] = []
        self.more: set[str] = set()

    def base(self, chain: Chain) -> None:
        """One chain that a hook calls."""
        what = "oif" if chain.hook == "egress" else "iif"
        way = (Match(what, chain.devices),) if chain.devices else ()
        here = self._enter(chain, _Here(chain.hook, way))
        if chain.policy == DROP:
            self._add(Statement(DROP, chain.place, "policy drop", exact=True), chain, here)

    def _enter(self, chain: Chain, before: _Here) -> _Here:
        self._entered += 1
        here = replace(before, chains=(*before.chains, self._entered))
        for statement in chain.statements:
            self._steps += 1
            if self._steps > MAX_STEPS:
                self.more.update(self._left)
                break
            if statement.verdict in (RESET, DROP):
                self._add(statement, chain, here)
            target = self._target(chain, statement)
            if target and len(here.chains) < MAX_DEPTH and self._leads(target):
                way = (*here.way, *statement.matches)
                reached = here.reached and statement.exact
                self._enter(target, replace(here, way=way, reached=reached))
            # what leaves this chain is asked further rules of the one before
            if before.chains and statement.verdict in (GOTO, RETURN):
                here = replace(here, reached=False)
        return here

    def _target(self, chain: Chain, statement: Statement) -> Chain | None:
        if statement.verdict not in (JUMP, GOTO):
            return None
        return self._chains.get((chain.tool, chain.family, chain.table, statement.target))

    def _leads(self, chain: Chain) -> bool:
        """Is there a rule of interest in this chain or where it jumps to?"""
        if id(chain) not in self._leading:
            self._leading[id(chain)] = False  # the kernel allows no loops
            self._leading[id(chain)] = any(
                statement.verdict in (RESET, DROP)
                or ((target := self._target(chain, statement)) and self._leads(target))
                for statement in chain.statements
            )
        return self._leading[id(chain)]

    def _add(self, statement: Statement, chain: Chain, here: _Here) -> None:
        self._left[statement.verdict] -= 1
        if self._left[statement.verdict] < 0:
            self.more.add(statement.verdict)
            return
        self.found.append(
            Rule(
                statement.verdict,
                chain.tool,
                chain.family,
                here.hook,
                statement.place,
                shortened(statement.text),
                statement.matches,
                here.way,
                statement.exact,
                here.reached,
                here.chains,
            )
        )


def shortened(text: str) -> str:
    """One line of a length that can be read."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 4] + " ..."
