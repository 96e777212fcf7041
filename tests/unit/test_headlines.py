"""Every cause has a first line that says who did what to whom, whatever is known."""

from __future__ import annotations

import itertools
import re
from string import Formatter

import pytest

from rsttrace.causes import catalogue
from rsttrace.enrich import Facts, Process
from rsttrace.explain import Explained
from rsttrace.records import Flow
from rsttrace.report.groups import Groups
from rsttrace.report.headline import NOUNS, PROBE, SOMEBODY, headline, nouns

from .build import FLOW, FLOW6, NETNS, NGINX, THEIRS, T, decided, history, judged
from .told import told

CAUSES = sorted(catalogue())
PLACEHOLDERS = {
    *("here", "there", "actor", "service", "local", "count", "times", "act"),
    *("dropper", "queue"),
}
CLIENT6 = Flow("fd00::5", 40001, "fd00::9", 443, NETNS)
EVERYBODY = Facts(owner=NGINX, actor=Process(77, "ss"), listener=NGINX)
WORKERS = [Facts(owner=Process(pid, "nginx"), actor=Process(pid, "ss")) for pid in (1, 2)]
LONGEST = 140  # two lines, nearly

each = pytest.mark.parametrize("cause", CAUSES)


def line(*told: Explained, total: int = 12) -> str:
    groups = Groups()
    for one in told:
        groups.add(one)
    (group,) = groups.groups()
    return headline(group, total)


def ways() -> list[tuple[Flow, Facts]]:
    return list(itertools.product((FLOW, FLOW6, CLIENT6), (Facts(), EVERYBODY)))


@each
def test_template_is_well_formed(cause: str) -> None:
    text = catalogue()[cause].headline
    fields = [name for _, name, spec, _ in Formatter().parse(text) if name is not None]
    assert text
    assert set(fields) <= PLACEHOLDERS
    assert ("count" in fields) != ("times" in fields)
    assert len(set(fields)) == len(fields)
    assert not text.endswith(".")
    assert text[0] == "{" or text[0].islower()
    assert len(text) <= 100


@each
@pytest.mark.parametrize(("flow", "facts"), ways())
def test_fills_in(cause: str, flow: Flow, facts: Facts) -> None:
    for direction in catalogue()[cause].direction:
        record = decided(flow=flow, state="ESTABLISHED")
        one = told(cause, flow=flow, facts=facts, direction=direction, decided=record)
        text = line(one)
        assert "{" not in text
        assert "None" not in text
        assert "  " not in text
        assert re.search(r"\b1 of 12 resets|\bonce\b|\b1 connection\b", text), text
        assert len(text) <= LONGEST + (40 if facts is EVERYBODY or ":" in flow.local else 0)
        assert not re.search(r"\b(Fd00|Nginx|Ss\[)", text)


@each
def test_many_resets_of_many_processes(cause: str) -> None:
    direction = catalogue()[cause].direction[0]
    flows = [Flow(FLOW.local, FLOW.lport, f"10.0.0.{n}", 40000 + n, NETNS) for n in range(1, 9)]
    text = line(
        *(
            told(cause, n, T + n, flow=flow, facts=WORKERS[n % 2], direction=direction, count=100)
            for n, flow in enumerate(flows, 1)
        ),
        total=1234,
    )
    assert re.search(r"\b800 (of 1,234 resets|times|connections)", text)
    assert "{" not in text


def test_of_a_server() -> None:
    serving = decided(history=history(flags=2))
    flows = [Flow(FLOW.local, FLOW.lport, f"10.0.0.{n}", 40000 + n, NETNS) for n in range(1, 4)]
    many = [
        told("unread-data-on-close", n, flow=f, facts=Facts(owner=NGINX), decided=serving)
        for n, f in enumerate(flows, 1)
    ]
    assert line(*many, total=3) == (
        "nginx[1432] resets clients: 3 of 3 resets, unread data on close"
    )
    assert line(many[0], total=1) == (
        "nginx[1432] resets client 10.0.0.1: 1 reset, unread data on close"
    )


def test_of_a_client() -> None:
    calling = judged("ESTABLISHED", flow=CLIENT6, history=history(flags=1))
    facts = Facts(owner=Process(9, "curl"))
    one = told("peer-reset", direction="received", flow=CLIENT6, facts=facts, judged=calling)
    assert line(one) == (
        "[fd00::9]:443 reset curl[9]: 1 of 12 resets, the reason is at the other end"
    )


def test_who_is_not_known_is_not_named() -> None:
    unknown = line(told("unread-data-on-close", facts=Facts(), flow=THEIRS))
    assert unknown.startswith("A program on this host resets ")
    serving = told("linger-zero", decided=decided(history=history(flags=2)))
    assert line(serving).startswith("The service on 10.0.0.5:8080 resets client 10.0.0.9: ")
    behind = told("linger-zero", facts=Facts(listener=NGINX))
    assert line(behind).startswith("The service of nginx[1432] resets ")
    assert SOMEBODY in line(told("admin-destroyed", facts=Facts(owner=NGINX))).lower()


def test_unsure_is_said() -> None:
    of = {"facts": Facts(owner=NGINX)}
    assert line(told("linger-zero", confidence="likely", **of)).startswith("Probably nginx[1432] ")
    assert line(told("linger-zero", confidence="possible", **of)).startswith("Perhaps nginx[1432] ")
    assert line(told("closed-port", confidence="likely")).startswith("Probably nobody listens ")
    sure = told("linger-zero", 2, count=9, **of)
    assert line(told("linger-zero", confidence="likely", **of), sure).startswith("nginx[1432] ")


def test_what_nobody_understood_says_what_it_was() -> None:
    unsure = {"confidence": "unknown", "facts": Facts(owner=NGINX)}
    ways = {
        "sent": "sent by nginx[1432] to 10.0.0.9",
        "suppressed": "from nginx[1432] to 10.0.0.9, stopped on the way out",
        "received": "from 10.0.0.9 to nginx[1432]",
        "rejected": "not believed",
        "forwarded": "passing through",
        "none": "ended without a reset",
    }
    for direction, words in ways.items():
        text = line(told("unknown", direction=direction, **unsure))
        assert text.startswith("No rule fits 1 ")
        assert words in text


def test_the_firewall_drops_resets_in_both_directions() -> None:
    cause, of = "reset-suppressed", {"facts": Facts(owner=NGINX)}
    assert line(told(cause, direction="suppressed", **of)) == (
        "This host's own firewall drops resets: 1 of 12 resets, from nginx[1432] to 10.0.0.9, "
        "stopped on the way out"
    )
    assert line(told(cause, direction="rejected", **of)).endswith(
        "from 10.0.0.9 to nginx[1432], stopped on the way in"
    )
    passing = judged("ESTABLISHED", frames=("nf_hook_slow", "ip_forward"))
    assert "the way through" in line(told(cause, direction="rejected", judged=passing))
    sieve = judged("ESTABLISHED", drop_reason="TC_EGRESS")
    assert line(told(cause, direction="suppressed", judged=sieve)).startswith(
        "A traffic control filter (tc) of this host drops resets: "
    )


def test_a_queue_that_may_not_have_been_full() -> None:
    cause, of = "accept-queue-overflow", {"facts": Facts(owner=NGINX)}
    assert line(told(cause, **of)).endswith("queue of new connections full")
    for confidence in ("likely", "possible"):
        text = line(told(cause, confidence=confidence, **of))
        assert text.endswith("or memory or a route was missing")
        assert "full" not in text


def test_own_probe_is_called_so() -> None:
    groups = Groups()
    groups.add(told("connection-refused", direction="received", flow=THEIRS))
    (group,) = groups.groups()
    ends = frozenset({(THEIRS.local, THEIRS.lport)})
    assert f"refused {PROBE}: " in headline(group, 1, ends)
    groups = Groups()
    groups.add(told("icmp-unreachable", direction="none", flow=THEIRS))
    assert headline(groups.groups()[0], 1, ends).startswith("rsttrace could not connect to ")


def test_a_name_cannot_command_a_terminal() -> None:
    evil = Facts(owner=Process(1, "\x1b[31mred\n"))
    assert line(told("linger-zero", facts=evil)).isprintable()


def test_what_can_be_harmless_has_a_noun() -> None:
    harmless = {cause.id for cause in catalogue().values() if cause.benign}
    assert harmless <= set(NOUNS)
    assert set(NOUNS) <= set(CAUSES)
    assert nouns("late-segment", 1) == "1 late segment"
    assert nouns("late-segment", 3000) == "3,000 late segments"
    assert nouns("user-timeout", 2) == "2 user-timeout"
