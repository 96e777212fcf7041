"""What doctor says a missing piece costs, held against the recorded labs without that piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from rsttrace.causes import kinds
from rsttrace.causes.rules import rules, rules_for
from rsttrace.decode import Names
from rsttrace.doctor import costs
from rsttrace.doctor.members import empty_fields
from rsttrace.doctor.reads import read_by
from rsttrace.doctor.stories import Fields, MadeUpNames, pack, stories
from rsttrace.kernel.features import HOOKS, used_members
from rsttrace.kernel.loader import NEEDED, read_sources
from rsttrace.pipeline import Pipeline
from rsttrace.recording import Recording

LABS = Path(__file__).resolve().parents[1] / "data" / "labs"
CAUSES = {rule.cause for rule in rules()}


# -- the recorded labs, with something taken away


@dataclass(frozen=True)
class Told:
    """Names of a recording's kernel that keeps some of them to itself."""

    recording: Recording
    symbols: bool = True
    without_enum: str = ""

    def symbol(self, address: int) -> str | None:
        return self.recording.symbol(address) if self.symbols else None

    def enum(self, name: str) -> Mapping[int, str]:
        return {} if name == self.without_enum else self.recording.enum(name)


def replayed(
    recording: Recording, left: Callable[[Fields], Fields | None], names: Names
) -> dict[object, tuple[str, str]]:
    """Cause and confidence of each reset, by its flow and direction."""
    layout = recording.layout
    since = recording.host.get("started_ns")
    pipeline = Pipeline(layout, names, recording.context, recording.listeners, since)
    for batch in recording.batches:
        found = (left(layout.unpack(raw)) for raw in batch)
        pipeline.feed(pack(layout, fields) for fields in found if fields)
    return {
        (e.reset.flow, e.reset.direction): (e.verdict.cause, e.verdict.confidence)
        for e in pipeline.flush()
    }


def whole(record: Fields) -> Fields:
    return record


@cache
def recordings() -> tuple[Recording, ...]:
    """One family is enough: the rules do not differ."""
    found = tuple(Recording(path) for path in sorted(LABS.glob("*-v4.rec")))
    assert len(found) > 100
    return found


def truth(
    left: Callable[[Fields], Fields | None] = whole, symbols: bool = True, without_enum: str = ""
) -> dict[str, set[str]]:
    """What becomes of each cause: ``same``, ``less`` sure, or ``other``."""
    became: dict[str, set[str]] = defaultdict(set)
    for recording in recordings():
        before = replayed(recording, whole, Told(recording))
        after = replayed(recording, left, Told(recording, symbols, without_enum))
        for key, (cause, confidence) in before.items():
            now = after.get(key, ("", ""))
            became[cause].add(
                "same" if now == (cause, confidence) else "less" if now[0] == cause else "other"
            )
    return became


def check(cost: costs.Cost, became: dict[str, set[str]]) -> None:
    """Nothing is called lost that is told, and nothing that suffers is called fine.

    A receiver's verdict may suffer with the one of the sender on this host.
    """
    suffering = {cause for cause, ways in became.items() if ways & {"less", "other"}}
    told = {*cost.unseen, *cost.unknown, *cost.unsure, *cost.evidence}
    with_sender = {cause for cause in CAUSES if told and costs.OTHER_END in read_by(cause)}
    assert suffering <= told | with_sender | {"unknown", "insufficient-data"}
    for cause in cost.lost:
        assert became.get(cause, {"other"}) == {"other"}, cause


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in NEEDED])
def test_a_hook_costs_what_the_labs_lose(hook: str) -> None:
    check(costs.without_hook(hook), truth(lambda record: costs.left_of(record, hook)))


@pytest.mark.parametrize("hook", NEEDED)
def test_a_hook_that_is_needed_costs_more_than_others(hook: str) -> None:
    """Why a trace does not start without it. Its own cost is never shown."""
    became = truth(lambda record: costs.left_of(record, hook))
    assert sum(ways != {"same"} for ways in became.values()) > 7
    assert len(costs.without_hook(hook).lost) >= 3


def test_symbols_cost_what_the_labs_lose() -> None:
    cost, became = costs.without_symbols(), truth(symbols=False)
    check(cost, became)
    lost = {cause for cause, ways in became.items() if ways == {"other"}}
    assert lost == set(cost.lost)  # here nothing is missed either
    assert {"linger-zero", "listener-closed", "firewall-reject"} <= lost


@pytest.mark.parametrize("enum", ["sk_rst_reason", "skb_drop_reason"])
def test_reasons_cost_what_the_labs_lose(enum: str) -> None:
    check(costs.without_enum(enum), truth(without_enum=enum))


@pytest.mark.parametrize("field", ["tcp_linger2", "sk_flags", "tcp_copied_seq", "has_socket"])
def test_members_cost_what_the_labs_lose(field: str) -> None:
    became = truth(lambda record: {**record, field: 0})
    check(costs.without_fields([field]), became)


# -- the stories


@pytest.mark.parametrize("kind", stories(costs.layout().numbers))
def test_story_has_every_fact(kind: str) -> None:
    """Nothing is missing that a rule of this kind needs: else it would seem to cost nothing."""
    reset = costs._reset(kind, stories(costs.layout().numbers)[kind], MadeUpNames())
    assert reset is not None
    for rule in rules_for(kind):
        assert not [fact.text for fact in rule.needs if fact.lacks(reset)], rule.cause


def test_every_kind_has_a_story() -> None:
    wanted = {kind for rule in rules() for kind in rule.when}
    assert set(stories(costs.layout().numbers)) == wanted
    assert kinds.QUIET in wanted


def test_every_hook_is_in_a_story_or_notes_something() -> None:
    numbers = costs.layout().numbers
    used = {record["kind"] for records in stories(numbers).values() for record in records}
    for hook in HOOKS:
        noted = hook in costs.NOTED
        assert noted or numbers[f"KIND_{hook.upper()}"] in used or not costs.without_hook(hook)


def test_nothing_missing_costs_nothing() -> None:
    assert not costs.without_fields([])
    assert not costs.without_hook("no_such_hook")
    assert not costs.Cost()


def test_costs_of_two_pieces() -> None:
    """Of each cause the worst."""
    first = costs.Cost(unknown=("a",), evidence=("b", "c"))
    second = costs.Cost(unseen=("a",), unsure=("c",), evidence=("d",))
    found = costs.together([first, second])
    assert found == costs.Cost(unseen=("a",), unsure=("c",), evidence=("b", "d"))
    assert found.lost == ("a",)


def test_each_cause_is_in_one_list() -> None:
    for cost in (costs.without_symbols(), *map(costs.without_hook, HOOKS)):
        named = [*cost.unseen, *cost.unknown, *cost.unsure, *cost.evidence]
        assert len(named) == len(set(named))
        assert set(named) <= CAUSES


def test_advice_needs_sources() -> None:
    everything = costs.without_sources(())
    only_settings = costs.without_sources(("settings",))
    assert set(only_settings.advice) < set(everything.advice)
    assert "accept-queue-overflow" in only_settings.advice  # it asks for the listener's queue
    assert not costs.without_sources(("settings", "sockets", "path", "peer", "conntrack"))


# -- what a rule reads


def test_names_that_a_rule_reads() -> None:
    """Its own code, helpers out of other modules, and methods of what it is given."""
    assert {"unread", "reason", "dead"} <= read_by("unread-data-on-close")
    assert "unread" in read_by("process-exit-unread-data")  # by closed_unread()
    assert "frames" in read_by("linger-zero")  # by Reset.in_stack()
    assert "linger2" not in read_by("linger-zero")


# -- struct members

SOURCE = """
/* READ(&r->comment, sk, no, member) */
static int a(struct record *r, u64 sk)
{
	u64 place = 0, other = 0;

	READ(&r->direct, sk, sock, one);
	READ(&place, sk, sock, two);
	r->by_local = place != 0;
	if (OFF(sock, three) >= 0)
		READ(&r->either, sk, sock, three);
	else
		READ(&r->either, sk, sock, four);
}

static int b(struct record *r, u64 place)
{
	r->untouched = place;
}
"""


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        (["sock.one"], {"sock.one": ("direct",)}),
        (["sock.two"], {"sock.two": ("by_local",)}),
        (["sock.three"], {"sock.three": ()}),
        (["sock.three", "sock.four"], {"sock.three": ("either",), "sock.four": ("either",)}),
        (["no.member"], {"no.member": ()}),
        ([], {}),
    ],
)
def test_fields_without_a_member(missing: list[str], lost: dict[str, tuple[str, ...]]) -> None:
    assert empty_fields(SOURCE, missing) == lost


def test_fields_of_the_real_sources() -> None:
    source = read_sources()
    names = [f"{struct}.{member}" for struct, member in used_members(source)]
    fields = {name for name, _ in costs.layout().fields}
    for name in names:
        assert set(empty_fields(source, [name])[name]) <= fields
    for member, field in (
        ("tcp_sock.linger2", "tcp_linger2"),
        ("sock.sk_lingertime", "sk_linger_ms"),
        ("sock.sk_socket", "has_socket"),
        ("cgroup.kn", "cgroup"),
    ):
        assert field in empty_fields(source, [member])[member]
    assert empty_fields(source, ["sock.sk_ino"]) == {"sock.sk_ino": ()}  # i_ino gives the same
