"""What a missing piece costs in verdicts: found out, not written down.

The stories (stories.py) go through decoding, joining and the rules' own NEEDS, once whole and once
without the piece. So a new rule, a new need or a new hook is counted without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from rsttrace.advice import wants
from rsttrace.causes import catalogue, kinds
from rsttrace.causes.case import Case
from rsttrace.causes.rules import rules, rules_for
from rsttrace.decode import Decoder
from rsttrace.doctor.reads import read_by
from rsttrace.doctor.stories import ENUMS, Fields, MadeUpNames, pack, stories
from rsttrace.join import Joiner
from rsttrace.kernel.features import NOT_IN_EVENTS
from rsttrace.kernel.loader import bpf_dir
from rsttrace.layout import Layout
from rsttrace.model import Reset

FINE, EVIDENCE, UNSURE, UNKNOWN, UNSEEN = range(5)
# hooks that do not only send records, but note facts that other hooks' records carry
NOTED = {
    "inet_sock_set_state": ("h_",),
    "net_dev_queue": ("syn_tx",),
    "netif_receive_skb": ("syn_rx",),
}
HISTORY = ("HAVE_HISTORY", "HAVE_CLOSED")
# what is read through members of structs
OF_TYPES = ("HAVE_SOCK", "HAVE_TIMEWAIT", "HAVE_PACKET", "HAVE_SYN")
OF_TASK_STRUCT = ("task_flags", "task_exit_code", "h_close_flags", "h_close_exit_code")
# when both ends are on this host, the receiver's rules look at the sender's verdict; that it has
# less evidence is told of the sender's cause only
SENT_HERE, OTHER_END = (kinds.ACTIVE, kinds.PASSIVE, kinds.OUTSIDE), "sender"


@dataclass(frozen=True)
class Cost:
    """Causes, by what becomes of them; each is in one list, the worst.

    ``unseen``: resets of this cause do not show up. ``unknown``: they are ``insufficient-data``.
    ``unsure``: at most ``likely``. ``evidence``: the rule looks at something that is not there.
    ``advice``, of its own: what is advised cannot be fitted to the host.
    """

    unseen: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def lost(self) -> tuple[str, ...]:
        """Causes that are never told."""
        return tuple(sorted({*self.unseen, *self.unknown}))

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


@cache
def layout() -> Layout:
    """The records' layout."""
    return Layout.parse((bpf_dir() / "record.h").read_text())


def without_hook(hook: str) -> Cost:
    """If this kernel does not have the hook."""
    return _cost(lambda record: left_of(record, hook), MadeUpNames())


def left_of(record: Fields, hook: str) -> Fields | None:
    """What comes of a record without the hook: None if it was that hook's own."""
    numbers = layout().numbers
    if record["kind"] == numbers.get(f"KIND_{hook.upper()}"):
        return None
    noted = NOTED.get(hook)
    if not noted:
        return record
    bits = sum(numbers[name] for name in HISTORY) if "h_" in noted else 0
    empty = {name: type(value)() for name, value in record.items() if name.startswith(noted)}
    return {**record, **empty, "have": record["have"] & ~bits}


def without_fields(names: Iterable[str]) -> Cost:
    """If these fields of record.h cannot be filled, for want of a struct member."""
    empty = dict.fromkeys(names, 0)
    return _cost(lambda record: {**record, **empty}, MadeUpNames())


def without_btf() -> Cost:
    """If this kernel does not describe its types."""
    return _cost(left_without_btf, MadeUpNames())


def left_without_btf(record: Fields) -> Fields | None:
    """What comes of a record where the programs in bpf/nobtf make it: no socket, no packet."""
    numbers = layout().numbers
    if record["kind"] in (numbers[f"KIND_{hook.upper()}"] for hook in NOT_IN_EVENTS):
        return None
    bits = sum(numbers[name] for name in OF_TYPES)
    return {**record, **dict.fromkeys(OF_TASK_STRUCT, 0), "have": record["have"] & ~bits}


def without_enum(name: str) -> Cost:
    """If this kernel gives no such reasons."""
    return _cost(_same, MadeUpNames(enums={k: v for k, v in ENUMS.items() if k != name}))


def without_symbols() -> Cost:
    """If the kernel hides its addresses."""
    return _cost(_same, MadeUpNames(symbols=False))


def without_sources(left: Iterable[str]) -> Cost:
    """If only these sources of a Place can be asked (enrich/sources)."""
    known = set(left)
    return Cost(advice=tuple(cause for cause in sorted(catalogue()) if {*wants(cause)} - known))


def together(costs: Iterable[Cost]) -> Cost:
    """Several pieces at once: of each cause the worst. Without the advice."""
    worst: dict[str, int] = {}
    for cost in costs:
        for severity, causes in enumerate((cost.evidence, cost.unsure, cost.unknown, cost.unseen)):
            for cause in causes:
                worst[cause] = max(worst.get(cause, FINE), EVIDENCE + severity)
    return _sorted(worst)


def _sorted(severity: Mapping[str, int]) -> Cost:
    lists = (
        tuple(sorted(cause for cause, found in severity.items() if found == wanted))
        for wanted in (UNSEEN, UNKNOWN, UNSURE, EVIDENCE)
    )
    return Cost(*lists)


def _same(record: Fields) -> Fields:
    return record


def _cost(left: Callable[[Fields], Fields | None], names: MadeUpNames) -> Cost:
    by_kind: dict[str, Mapping[str, int]] = {}
    also: set[str] = set()
    told = stories(layout().numbers)
    for kind in (*SENT_HERE, *(k for k in told if k not in SENT_HERE)):
        whole = _reset(kind, told[kind], MadeUpNames())
        assert whole is not None
        remaining = [record for record in map(left, told[kind]) if record is not None]
        by_kind[kind] = _severities(kind, whole, _reset(kind, remaining, names), also)
        if kind in SENT_HERE and max(by_kind[kind].values()) >= UNSURE:
            also = {OTHER_END}
    return _sorted({rule.cause: _of_all(rule.cause, rule.when, by_kind) for rule in rules()})


def _of_all(cause: str, when: tuple[str, ...], by_kind: Mapping[str, Mapping[str, int]]) -> int:
    """A cause that one kind of reset can still have is not lost, but less sure."""
    found = [by_kind[kind][cause] for kind in when]
    return min(found) if min(found) >= UNKNOWN else min(max(found), UNSURE)


def _reset(kind: str, records: Iterable[Fields], names: MadeUpNames) -> Reset | None:
    """What the records are joined to; None if it is nothing of this kind."""
    decoder, joiner = Decoder(layout(), names), Joiner()
    for record in records:
        joiner.feed(decoder.decode(pack(layout(), record)))
    return next((r for r in joiner.flush() if kinds.kind_of(r) == kind), None)


def _severities(kind: str, whole: Reset, left: Reset | None, also: set[str]) -> dict[str, int]:
    """What becomes of each cause that this kind of reset can have.

    ``also``: facts that have gone, but not from the reset itself.
    """
    if left is None:
        return {rule.cause: UNSEEN for rule in rules_for(kind)}
    gone = _gone(whole, left) | also
    # as explain.ask() and _left(): the first rule may have fitted better, and did it leave?
    unsure = kind in (kinds.ACTIVE, kinds.PASSIVE) and left.wire is None
    found = {}
    for rule in rules_for(kind):
        if any(fact.lacks(left) for fact in rule.needs):
            found[rule.cause] = UNKNOWN
            unsure = True
        elif unsure:
            found[rule.cause] = UNSURE
        else:
            found[rule.cause] = EVIDENCE if gone & read_by(rule.cause) else FINE
    return found


def _gone(whole: Reset, left: Reset) -> set[str]:
    """Names of the facts that are not what they were."""
    before, after = _facts(Case(whole)), _facts(Case(left))
    return {name for name, value in before.items() if after.get(name) != value}


def _facts(case: Case) -> dict[str, Any]:
    """Every attribute of the case and of what is in it; of something bigger only that it is there.

    One name may be that of several facts: then all of them.
    """
    found: dict[str, Any] = {}
    reset = case.reset
    parts = [case, reset, reset.sock, reset.history, reset.handshake, reset.packet, reset.trigger]
    for part in (*parts, *reset.records):
        for name, value in _attributes(part):
            plain = value is None or isinstance(value, (str, int, bytes))
            frames = isinstance(value, tuple)
            known = value if plain or frames else type(value).__name__
            found[name] = (*found.get(name, ()), known)
    return found


def _attributes(part: object) -> Iterator[tuple[str, Any]]:
    """Fields and properties."""
    if not is_dataclass(part):
        return
    for name in dir(part):
        if not name.startswith("_") and not callable(value := getattr(part, name)):
            yield name, value
