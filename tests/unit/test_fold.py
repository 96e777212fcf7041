"""Echoes of an abort: told once, counted, and related to what they are echoes of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsttrace.explain import Explained
from rsttrace.fold import ECHOES, FOLLOWERS, HOLD_NS, REMEMBER, REPEAT_NS, REPEATED, Fold

from .build import FLOW, MS, SECOND, T
from .told import related, told

ABORT = told("linger-zero", 1)
OTHER_FLOW = replace(FLOW, rport=1)
GONE = told("retransmit-timeout", 1, direction="none")


def echo(number: int, after_ns: int = MS, cause: str = "late-segment", **changes: Any) -> Explained:
    return told(cause, number, T + after_ns, **{"benign": True, **changes})


def all_of(*explained: Explained) -> list[Explained]:
    """Everything through one fold, in this order."""
    fold = Fold()
    return [*fold.feed(explained), *fold.advance(None)]


def counts(explained: list[Explained]) -> list[tuple[int, int]]:
    return [(one.reset.id, one.count) for one in explained]


def ids(explained: list[Explained]) -> list[int]:
    return [one.reset.id for one in explained]


# -- what is folded --------------------------------------------------------------------------------


def test_echoes_are_folded_and_counted() -> None:
    first, echoes = all_of(ABORT, echo(2), echo(3), echo(4))
    assert first == ABORT
    assert echoes.count == 3
    assert echoes.related == related(ABORT)
    assert echoes.reset.id == 2  # the first of them speaks for all


@pytest.mark.parametrize("cause", ["late-segment", "reset-no-socket"])
def test_every_kind_of_echo_is_folded(cause: str) -> None:
    found = all_of(ABORT, echo(2, cause=cause), echo(3, cause=cause))
    assert counts(found) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("cause", ["stale-connection", "unexpected-syn-ack", "data-after-close"])
def test_consequences_are_related_but_told_one_by_one(cause: str) -> None:
    fold = Fold()
    found = fold.feed([GONE, echo(2, cause=cause)])
    assert counts(found) == [(1, 1), (2, 1)]
    assert found[1].related == related(GONE)
    assert not fold.busy


def test_what_is_no_echo_is_neither_related_nor_held() -> None:
    again = told("linger-zero", 2, T + MS)
    fold = Fold()
    assert fold.feed([ABORT, again]) == [ABORT, again]
    assert not fold.busy


def test_a_connection_that_the_peer_uses_after_it_timed_out() -> None:
    """The abort sent no RST (direction none); the RST of later is its consequence, at any time."""
    late = told("stale-connection", 2, T + 3600 * SECOND)
    _, found = all_of(GONE, late)
    assert found == replace(late, related=related(GONE))


def test_what_follows_a_consequence_is_related_to_it() -> None:
    """Each RST answers one segment: the chain leads back to the abort."""
    stale = told("stale-connection", 2, T + SECOND)
    _, found, last = all_of(GONE, stale, echo(3, 2 * SECOND))
    assert last.related == related(found)


def test_an_echo_of_nothing_known_is_told_at_once() -> None:
    """The abort was before the trace; what follows belongs to this one then."""
    fold = Fold()
    alone = echo(1)
    assert fold.feed([alone]) == [alone]
    assert fold.feed([echo(2, 2 * MS)]) == []
    (held,) = fold.advance(None)
    assert held.related == related(alone)


def test_an_echo_of_another_connection_is_none() -> None:
    for flow in (OTHER_FLOW, replace(FLOW, netns=1), replace(FLOW, lport=1)):
        stranger = echo(2, flow=flow)
        assert all_of(ABORT, stranger) == [ABORT, stranger]


def test_related_to_the_last_abort_of_the_tuple() -> None:
    again = told("unread-data-on-close", 2, T + SECOND)
    *_, found = all_of(ABORT, again, echo(3, SECOND + MS))
    assert found.related == related(again)


@pytest.mark.parametrize("cause", FOLLOWERS)
def test_a_reset_that_passes_is_never_the_first(cause: str) -> None:
    """A router forwards it: whoever had the connection is elsewhere."""
    passing = told("forwarded-reset", 5, direction="forwarded")
    alone = echo(2, cause=cause)
    assert all_of(passing, alone) == [passing, alone]
    assert all_of(ABORT, passing, alone)[-1].related == related(ABORT)


@pytest.mark.parametrize("cause", FOLLOWERS)
def test_never_related_to_something_later(cause: str) -> None:
    """A reset that waited for a part of it comes out after one that happened later."""
    early = [echo(2, -MS, cause), echo(3, -MS, cause)]
    assert all_of(ABORT, *early) == [ABORT, *early]
    # at the same moment it may well be the first one's
    assert all_of(ABORT, echo(2, 0, cause))[-1].related == related(ABORT)


def test_an_early_one_is_not_counted_among_the_echoes() -> None:
    found = all_of(ABORT, echo(2), echo(3, -MS), echo(4))
    assert counts(found) == [(1, 1), (3, 1), (2, 2)]
    assert [one.related and one.related.id for one in found] == [None, None, 1]


# -- repetitions -----------------------------------------------------------------------------------

ATTACK = told("out-of-window-reset", 1, direction="rejected")


def again(number: int, after_ns: int = MS, **changes: Any) -> Explained:
    one = told("out-of-window-reset", number, T + after_ns, direction="rejected")
    return replace(one, reset=replace(one.reset, **changes))


@pytest.mark.parametrize("cause", REPEATED)
def test_what_is_forged_is_told_once_and_then_counted(cause: str) -> None:
    found = all_of(*(told(cause, n, T + n * MS) for n in range(1, 5)))
    assert counts(found) == [(1, 1), (2, 3)]
    assert [one.related for one in found] == [None, related(found[0])]


def test_a_series_is_counted_as_long_as_it_may_be_one() -> None:
    fold = Fold()
    fold.feed([ATTACK])
    for n in range(2, 5):
        assert fold.feed([again(n, n * SECOND)]) == []
        assert counts(fold.advance(T + n * SECOND + HOLD_NS)) == [(n, 1)]
    assert fold.feed([again(5, REPEAT_NS)]) == []
    (fresh,) = fold.feed([again(6, REPEAT_NS + 1)])  # told at once, and the first of its own
    assert fresh.related is None
    assert fold.feed([again(7, REPEAT_NS + 2)]) == []
    *_, last = fold.advance(None)
    assert last.related == related(fresh)


@pytest.mark.parametrize(
    "changes", [{"flow": OTHER_FLOW}, {"direction": "sent"}], ids=["flow", "direction"]
)
def test_series_are_kept_apart(changes: dict[str, Any]) -> None:
    other = again(2, **changes)
    assert all_of(ATTACK, other) == [ATTACK, other]
    cause = told("blind-reset-rejected", 2, T + MS, direction="rejected")
    assert all_of(ATTACK, cause) == [ATTACK, cause]


def test_an_abort_in_between_does_not_end_a_series() -> None:
    *_, last = all_of(ATTACK, told("linger-zero", 2, T + MS), again(3, 2 * MS))
    assert last.related == related(ATTACK)


# -- groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"cause": "reset-no-socket"},
        {"direction": "suppressed"},
        {"confidence": "likely"},
        {"benign": False},
    ],
    ids=str,
)
def test_groups_are_kept_apart(changes: dict[str, Any]) -> None:
    """Each group is told with what is true for all of it."""
    found = all_of(
        ABORT, echo(2), echo(3, 2 * MS, **changes), echo(4), echo(5, 4 * MS, **changes), echo(6)
    )
    assert counts(found) == [(1, 1), (2, 3), (3, 2)]


def test_echoes_of_two_aborts_are_kept_apart() -> None:
    other = told("linger-zero", 2, flow=OTHER_FLOW)
    found = all_of(
        ABORT, other, echo(3), echo(4, flow=OTHER_FLOW), echo(5), echo(6, flow=OTHER_FLOW)
    )
    assert counts(found) == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert [one.related and one.related.id for one in found] == [None, None, 1, 2]


def test_both_ends_of_one_abort_are_kept_apart() -> None:
    """Loopback: the echo that leaves one end arrives at the other."""
    there = replace(FLOW, local=FLOW.remote, lport=FLOW.rport, remote=FLOW.local, rport=FLOW.lport)
    got = told("peer-reset", 2, direction="received", flow=there)
    arrived = echo(4, cause="reset-no-socket", direction="rejected", flow=there)
    found = all_of(ABORT, got, echo(3), arrived)
    assert [one.related and one.related.id for one in found] == [None, None, 1, 2]


# -- time ------------------------------------------------------------------------------------------


def test_an_echo_is_held_until_no_more_is_to_be_expected() -> None:
    fold = Fold()
    fold.feed([ABORT, echo(2)])
    assert fold.busy
    assert fold.advance(T + MS + HOLD_NS - 1) == []
    fold.feed([echo(3, HOLD_NS - MS)])
    assert counts(fold.advance(T + MS + HOLD_NS)) == [(2, 2)]  # since the first of them
    assert not fold.busy
    assert fold.advance(None) == []


def test_an_echo_after_that_begins_a_new_group() -> None:
    fold = Fold()
    fold.feed([ABORT, echo(2)])
    fold.advance(T + SECOND)
    fold.feed([echo(3, SECOND), echo(4, SECOND)])
    assert counts(fold.advance(T + 2 * SECOND)) == [(3, 2)]


def test_at_the_end_all_are_told_in_order_of_time() -> None:
    aborts = [told("linger-zero", i, flow=replace(FLOW, rport=i)) for i in range(5)]
    order = (3, 0, 4, 1, 2)
    fold = Fold()
    fold.feed(aborts)
    fold.feed(echo(10 + n, n * MS, flow=replace(FLOW, rport=i)) for n, i in enumerate(order))
    assert ids(fold.advance(T + 2 * MS + HOLD_NS)) == [10, 11, 12]
    assert ids(fold.advance(None)) == [13, 14]


def test_nothing_is_held_back_but_echoes() -> None:
    fold = Fold()
    assert not fold.busy
    for n, cause in enumerate(("peer-reset", "closed-port", "unknown", "stale-connection")):
        assert len(fold.feed([told(cause, n, T + n)])) == 1
    assert not fold.busy


# -- memory ----------------------------------------------------------------------------------------


def test_memory_is_bounded() -> None:
    """A scan from many ports: the oldest connections are forgotten first."""
    fold = Fold()
    flows = [replace(FLOW, rport=i % 65536, remote=f"10.1.0.{i // 65536}") for i in range(20_000)]
    fold.feed(told("closed-port", i, T + i, flow=flow) for i, flow in enumerate(flows))
    assert len(fold._first) == REMEMBER < len(flows)
    fold.feed(replace(ATTACK, reset=replace(ATTACK.reset, flow=flow)) for flow in flows)
    assert len(fold._repeated) == len(fold._first) == REMEMBER
    (oldest,) = fold.feed([echo(30_000, SECOND, flow=flows[0])])
    assert oldest.related is None
    assert fold.feed([echo(30_001, SECOND, flow=flows[-1])]) == []


def test_a_connection_that_speaks_again_is_not_the_oldest() -> None:
    fold = Fold()
    fold.feed([ABORT])
    fold.feed(
        told("closed-port", i, T + i, flow=replace(FLOW, netns=i)) for i in range(1, REMEMBER)
    )
    fold.feed([told("linger-zero", 50_000, T + SECOND)])
    fold.feed([told("closed-port", 50_001, T + SECOND, flow=OTHER_FLOW)])
    fold.feed([echo(50_002, 2 * SECOND)])
    (held,) = fold.advance(None)
    assert held.related
    assert held.related.id == 50_000


def test_nothing_is_held_once_it_is_told() -> None:
    fold = Fold()
    for n in range(100):
        fold.feed([told("linger-zero", n, T + n * SECOND), echo(1000 + n, n * SECOND + 1)])
        fold.advance(T + n * SECOND + HOLD_NS + 1)
        assert not fold._held


# -- any order -------------------------------------------------------------------------------------

# few values of each: what matters is how they meet
resets = st.builds(
    told,
    st.sampled_from(("linger-zero", *ECHOES, *FOLLOWERS, REPEATED[0])),
    time_ns=st.sampled_from([T + n * HOLD_NS // 3 for n in range(6)]),
    direction=st.sampled_from(("sent", "sent", "rejected", "none", "forwarded")),
    flow=st.sampled_from((FLOW, FLOW, OTHER_FLOW)),
    benign=st.booleans(),
)


@settings(max_examples=400)
@given(st.lists(resets, max_size=40), st.booleans(), st.data())
def test_nothing_is_lost_and_nothing_invented(
    given_: list[Explained], in_order: bool, data: st.DataObject
) -> None:
    numbered = [replace(one, reset=replace(one.reset, id=n)) for n, one in enumerate(given_, 1)]
    if in_order:
        numbered.sort(key=lambda one: one.reset.time_ns)
    fold, out = Fold(), []
    for one in numbered:
        step = data.draw(st.sampled_from(("together", "advance", "later")))
        if step != "together":
            out += fold.advance(one.reset.time_ns + (HOLD_NS if step == "later" else 0))
        out += fold.feed([one])
    out += fold.advance(None)

    assert not fold.busy
    assert sum(one.count for one in out) == len(numbered)
    assert len(set(ids(out))) == len(out)
    known = {one.reset.id: one for one in numbered}
    for one in out:
        plain = known[one.reset.id]
        assert replace(one, count=1, related=None) == plain
        assert one.count == 1 or one.verdict.cause in (*ECHOES, *REPEATED)
        if one.related:
            first = known[one.related.id]
            assert one.related == related(first)
            assert first.reset.flow == one.reset.flow
            assert first.reset.direction != "forwarded"
            assert first.reset.time_ns <= one.reset.time_ns
            assert first.reset.id != one.reset.id
        else:
            assert one.count == 1
