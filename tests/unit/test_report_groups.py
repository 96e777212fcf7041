"""Many resets to few groups: what is one incident, what is part of another, what is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.enrich import Facts, Process
from rsttrace.explain import Explained
from rsttrace.records import Flow
from rsttrace.report.group import Group
from rsttrace.report.groups import MAX_GROUPS, MAX_SERVICES, REMEMBER, WAITING, Groups

from .build import (
    CURL,
    FLOW,
    MS,
    NETNS,
    NGINX,
    SECOND,
    THEIRS,
    T,
    decided,
    judged,
    left,
    reset,
    sock,
)
from .told import related, told

ACCEPTED = Facts(owner=NGINX)
BUCKETS = ("count", "received", "forwarded", "echoes", "effects", "ends")


def client(number: int, address: str = "10.0.0.9") -> Flow:
    """Another client of our server, with a port of its own."""
    return Flow(FLOW.local, FLOW.lport, address, 40000 + number, NETNS)


def grouped(*told: Explained) -> list[Group]:
    groups = Groups()
    for one in told:
        groups.add(one)
    return groups.groups()


def unread(number: int, **changes: Any) -> Explained:
    """nginx closes with data unread."""
    flow = changes.pop("flow", client(number))
    plain = {"facts": ACCEPTED, "flow": flow, "decided": decided(flow=flow)}
    return told("unread-data-on-close", number, T + number * MS, **{**plain, **changes})


def other_end(number: int, sender: Explained, **changes: Any) -> Explained:
    """The same RST at the client, on this host."""
    plain = {
        "direction": "received",
        "flow": THEIRS,
        "facts": Facts(owner=CURL),
        "peer": sender.reset,
        "judged": judged("ESTABLISHED", flow=THEIRS),
    }
    return told("peer-reset", number, sender.reset.time_ns + 1, **{**plain, **changes})


def everything(groups: Groups) -> int:
    found = groups.groups()
    return groups.rest.count + sum(getattr(group, name) for group in found for name in BUCKETS)


# -- what is equal ---------------------------------------------------------------------------------


def test_ports_of_clients_do_not_split_a_group() -> None:
    (group,) = grouped(*(unread(n, flow=client(n, f"10.0.0.{n % 3}")) for n in range(1, 31)))
    assert group.count == 30
    assert group.remotes.how_many == "3"
    assert (group.first_ns, group.last_ns) == (T + MS, T + 30 * MS)
    assert group.owners.only == "nginx[1432]"


def test_worker_processes_do_not_split_a_group() -> None:
    workers = [Facts(owner=replace(NGINX, pid=pid)) for pid in (11, 12, 13)]
    (group,) = grouped(*(unread(n, facts=facts) for n, facts in enumerate(workers, 1)))
    assert group.owners.how_many == "3"


@pytest.mark.parametrize(
    "change",
    [
        {"facts": Facts(owner=CURL)},
        {"flow": replace(client(2), lport=8081)},
        {"flow": replace(client(2), netns=1)},
        {"benign": True},
        {"direction": "none"},
    ],
)
def test_what_splits_a_group(change: dict[str, Any]) -> None:
    assert len(grouped(unread(1), unread(2, **change))) == 2


def test_another_cause_is_another_group() -> None:
    assert len(grouped(unread(1), told("linger-zero", 2, facts=ACCEPTED))) == 2


def test_a_socket_without_owner_belongs_to_who_has_that_service() -> None:
    (group,) = grouped(unread(1), unread(2, facts=Facts()), unread(3))
    assert group.count == 3
    assert group.owners.most() == [("nginx[1432]", 2)]
    # two programs have it: nobody knows whose it was
    mixed = grouped(unread(1), unread(2, facts=Facts()), unread(3, facts=Facts(owner=CURL)))
    assert [one.count for one in mixed] == [1, 1, 1]


def test_count_of_equal_ones_counts() -> None:
    (group,) = grouped(unread(1, count=5), unread(2))
    assert group.count == 6
    assert group.confidences == {"certain": 6}


# -- one RST is one incident -----------------------------------------------------------------------


def test_both_ends_are_one_incident_in_any_order() -> None:
    sender = unread(1)
    receiver = other_end(2, sender)
    for order in ((sender, receiver), (receiver, sender)):
        (group,) = grouped(*order)
        assert (group.cause, group.count, group.received) == ("unread-data-on-close", 1, 1)
        assert group.receivers.only == "curl[2001]"


def test_a_received_one_stands_for_itself_if_the_sender_is_out_of_scope() -> None:
    (group,) = grouped(other_end(2, unread(1)))
    assert (group.cause, group.count, group.received) == ("peer-reset", 1, 0)


def test_a_forwarded_one_is_no_incident_of_its_own() -> None:
    sender = unread(1)
    passed = told("forwarded-reset", 3, direction="forwarded", origin=sender.reset, wire=left())
    (group,) = grouped(passed, sender)
    assert (group.count, group.forwarded) == (1, 1)
    (alone,) = grouped(told("forwarded-reset", 3, direction="forwarded", wire=left()))
    assert (alone.cause, alone.count) == ("forwarded-reset", 1)


def test_echoes_belong_to_the_reset_they_follow() -> None:
    first = unread(1, flow=FLOW)
    echo = told("late-segment", 3, T + 2 * MS, benign=True, related=related(first), count=4)
    their = other_end(4, echo, benign=True)
    (group,) = grouped(first, other_end(2, first), their, echo)
    assert (group.count, group.received, group.echoes, group.ends) == (1, 1, 4, 1)


def test_the_other_end_of_a_folded_echo_is_no_incident() -> None:
    """Of three late segments one is told, with its number: two other ends have no sender here."""
    first = unread(1, flow=FLOW)
    folded = told("late-segment", 5, T + 3 * MS, benign=True)
    (group,) = grouped(first, other_end(6, folded))
    assert (group.count, group.ends) == (1, 1)


def test_a_series_of_forged_resets_is_counted() -> None:
    first = told("injected-by-local-tool", 1, facts=Facts(actor=CURL))
    more = told(
        "injected-by-local-tool", 3, facts=Facts(actor=CURL), related=related(first), count=7
    )
    (group,) = grouped(first, more)
    assert (group.count, group.echoes) == (8, 0)


def test_what_follows_a_time_out_is_its_consequence() -> None:
    quiet = told("retransmit-timeout", 1, direction="none", flow=FLOW, facts=ACCEPTED)
    later = told("stale-connection", 2, T + SECOND, related=related(quiet))
    (group,) = grouped(quiet, later)
    assert (group.cause, group.count, group.effects) == ("retransmit-timeout", 1, 1)


def test_a_dropped_reset_explains_the_silence_at_the_other_end() -> None:
    dropped = told("reset-suppressed", 1, direction="suppressed", flow=FLOW, facts=ACCEPTED)
    silence = told("retransmit-timeout", 2, T + SECOND, direction="none", flow=THEIRS)
    (group,) = grouped(dropped, silence)
    assert (group.cause, group.effects) == ("reset-suppressed", 1)
    # not of another connection, and not what was before
    elsewhere = replace(THEIRS, lport=1)
    assert (
        len(grouped(dropped, told("retransmit-timeout", 2, direction="none", flow=elsewhere))) == 2
    )
    early = told("retransmit-timeout", 2, T - 1, direction="none", flow=THEIRS)
    assert len(grouped(dropped, early)) == 2


def test_a_harmful_one_does_not_hide_behind_a_harmless_one() -> None:
    first = unread(1, benign=True, flow=FLOW)
    later = told("stale-connection", 2, T + SECOND, related=related(first))
    assert [group.benign for group in grouped(first, later)] == [True, False]


# -- what is kept ----------------------------------------------------------------------------------


def test_the_best_example_is_sure_complete_and_early() -> None:
    unsure = unread(1, confidence="likely", wire=left())
    bare = told("unread-data-on-close", 2, T + 2 * MS, facts=ACCEPTED, flow=client(2))
    good, equal = unread(3, wire=left()), unread(4, wire=left())
    (group,) = grouped(unsure, bare, equal, good)
    assert group.example is good
    assert group.confidence == "likely"
    assert group.usual_confidence == "certain"


def test_numbers_have_a_range() -> None:
    held = [sock(rcv_nxt=1000 + n, snd_una=5000 - n, retransmits=n) for n in (12, 3, 700)]
    (group,) = grouped(
        *(unread(n, decided=decided(flow=client(n), sock=s)) for n, s in enumerate(held, 1))
    )
    found = {name: (r.low, r.high) for name, r in group.numbers.items()}
    assert found["unread_bytes"] == (3, 700)
    assert found["unacked_bytes"] == (3, 700)
    assert found["retransmits"] == (3, 700)
    assert found["age_s"] == (pytest.approx(2.001), pytest.approx(2.003))


def test_accept_queue_over_its_limit() -> None:
    def full(number: int, used: int) -> Explained:
        listening = sock(ack_backlog=used, max_ack_backlog=128)
        record = decided(flow=client(number), state="LISTEN", sock=listening)
        one = reset(id=number, direction="sent", flow=client(number), decided=record)
        return replace(told("accept-queue-overflow", facts=ACCEPTED), reset=one)

    (group,) = grouped(full(1, 129), full(2, 128), full(3, 130))
    assert (group.numbers["queue_used"].low, group.numbers["queue_used"].high) == (128, 130)
    assert group.queue_over == 2
    assert "unread_bytes" not in group.numbers


def test_remedies_by_frequency_and_alike_ones_once() -> None:
    often, rare = "raise the limit of 128: 129 waited", "restart it"
    (group,) = grouped(
        unread(1, remedies=(rare, often)),
        unread(2, remedies=("raise the limit of 128: 140 waited",)),
        unread(3, remedies=("raise the limit of 128: 131 waited",)),
    )
    assert group.remedies == (often, rare)


def test_ports_of_a_scan_are_one_group() -> None:
    many = [told("closed-port", n, flow=replace(client(1), lport=n)) for n in range(1, 400)]
    (group,) = grouped(*many)
    assert (group.count, group.service) == (399, None)
    few = many[:MAX_SERVICES]
    assert len(grouped(*few)) == MAX_SERVICES


def test_memory_is_bounded_and_nothing_is_forgotten() -> None:
    groups = Groups()
    for n in range(1, 3 * MAX_GROUPS):
        facts = Facts(owner=Process(n, f"program-{n}"))
        groups.add(unread(2 * n, facts=facts, benign=n % 2 == 0, remedies=(f"change {n}",)))
        groups.add(other_end(2 * n + 1, unread(10**6 + n)))  # whose sender never comes
    assert len(groups.groups()) <= MAX_GROUPS
    assert groups.rest.count > groups.rest.benign > 0
    assert everything(groups) == 2 * (3 * MAX_GROUPS - 1)
    assert groups.harmful


def test_tables_of_a_long_watch_are_bounded() -> None:
    groups = Groups()
    for n in range(1, REMEMBER + 500):
        sender = unread(n)
        groups.add(sender)
        groups.add(other_end(10**6 + n, unread(10**7 + n)))
    assert max(len(groups._homes), len(groups._flows)) <= REMEMBER
    assert len(groups._waiting) <= WAITING
    assert len(groups._awaited) <= WAITING
    assert everything(groups) == 2 * (REMEMBER + 499)


def test_asking_twice_gives_the_same() -> None:
    groups = Groups()
    for one in (unread(1), other_end(3, unread(9)), unread(2, facts=Facts())):
        groups.add(one)
    first = [(group.cause, group.count) for group in groups.groups()]
    assert [(group.cause, group.count) for group in groups.groups()] == first
    groups.add(unread(4, facts=Facts()))
    assert sum(group.count for group in groups.groups()) == 4
