"""The report as an operator reads it: verdict first, what can be pasted, nothing swept away."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes import catalogue
from rsttrace.completeness import Completeness
from rsttrace.enrich import Facts
from rsttrace.enrich.answers.counters import NAMES
from rsttrace.explain import Explained
from rsttrace.report.counters import GLOSSES, bearing_on
from rsttrace.report.model import Attempt, Command, Probe, Watch
from rsttrace.report.page import broken, parted
from rsttrace.report.sink import ReportSink
from rsttrace.report.watched import BRIEFLY, OUTCOMES, ended_words
from rsttrace.sinks.totals import Totals

from .build import FLOW, NGINX, THEIRS, T, decided, history, judged, left
from .labfiles import lab_file
from .told import told

HOST = {"hostname": "web1", "kernel": "6.1.0-18-amd64"}
WATCH = Watch("this host", HOST, 30.0)
SERVING = {"facts": Facts(owner=NGINX), "decided": decided(history=history(flags=2))}


def report(*told: Explained, watch: Watch = WATCH, **options: Any) -> str:
    sink = ReportSink(**{name: options.pop(name) for name in list(options) if name in OPTIONS})
    totals = Totals(**options)
    for one in told:
        totals.add(one)
        sink.reset(one)
    return sink.report(totals, watch)


OPTIONS = ("width", "colour", "verbose", "as_json", "wall_offset_ns")


def first(text: str) -> str:
    """The first paragraph as one line."""
    return " ".join(text.split("\n\n")[0].split())


def unread(number: int = 1, **changes: Any) -> Explained:
    return told("unread-data-on-close", number, T + number, **{**SERVING, **changes})


# -- the first line --------------------------------------------------------------------------------


def test_verdict_is_the_worst_and_says_how_many_others() -> None:
    scan = told("closed-port", 2, count=3)
    text = report(unread(count=312), scan, told("linger-zero", 3, **SERVING))
    assert first(text) == (
        "nginx[1432] resets client 10.0.0.9: 312 of 316 resets, unread data on close; "
        "2 more findings"
    )
    assert re.findall(r"^\d\. ", text, re.MULTILINE) == ["1. ", "2. ", "3. "]


def test_rank_is_harm_times_count_times_sureness() -> None:
    knocks = told("closed-port", 1, count=4)
    assert first(report(knocks, unread(2))).startswith("nginx[1432] resets")
    unsure = told("linger-zero", 3, confidence="possible", **SERVING)
    assert "unread data" in first(report(unsure, unread(2)))
    assert "SO_LINGER" in first(report(replace(unsure, count=30), unread(2)))


def test_nothing_seen() -> None:
    none = Completeness(counted=0, told=0)
    assert first(report(completeness=none)) == (
        "No TCP reset in 30 s. The kernel counted none either (TcpOutRsts)."
    )
    some = Completeness(counted=2, told=0, missing=2)
    assert "But the kernel counted 2 sent" in first(report(completeness=some))
    assert first(report()) == "No TCP reset in 30 s."
    assert "12 records were lost" in first(report(lost=12))
    scoped = replace(WATCH, what="port 443", scoped=True, others=7)
    assert first(report(watch=scoped)) == (
        "No TCP reset of port 443 in 30 s. 7 other resets on this host, not part of this."
    )


def test_only_harmless() -> None:
    goodbyes = told("tls-close-notify", 1, benign=True, count=11)
    late = told("late-segment", 2, benign=True, count=30)
    text = report(goodbyes, late)
    assert first(text) == "41 resets, all harmless: nothing needs to be changed."
    assert "Harmless: 30 late segments, 11 TLS goodbyes." in text
    assert first(report(told("late-segment", benign=True))).startswith("1 reset, harmless: ")
    assert "Also harmless: 30 late segments, 11 TLS goodbyes." in report(goodbyes, late, unread(3))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "curl ended well (status 0); "),
        (7, "curl ended with status 7; "),
        (-9, "curl was ended by SIGKILL; "),
        (-99, "curl was ended by signal 99; "),
        (None, "curl was still running; "),
    ],
)
def test_command_without_a_reset(status: int | None, words: str) -> None:
    command = Command(("/usr/bin/curl", "-s", "http://x"), 5, status, 1.234, 2)
    text = report(watch=replace(WATCH, what="curl and its children", command=command))
    assert first(text) == f"{words}none of its connections was reset."
    told = f"Command: /usr/bin/curl -s http://x: {ended_words(status)} after 1.2 s; 2 processes"
    assert told in " ".join(text.split())


def test_a_command_can_be_pasted() -> None:
    command = Command(("sh", "-c", "kill -9 $$"), 5, -9, 0.1)
    text = report(watch=replace(WATCH, command=command))
    assert "Command: sh -c 'kill -9 $$': was ended by SIGKILL after 0.1 s\n" in text


def attempt(outcome: str, **changes: Any) -> Attempt:
    plain = Attempt("10.0.0.9", 443, "10.0.0.5", 40000, outcome, "connect", None, 1.0, 0.1)
    return replace(plain, **changes)


def probed(*attempts: Attempt, problem: str = "") -> Watch:
    return replace(WATCH, what="web:443", probe=Probe("web:443", True, attempts, problem))


def test_probe() -> None:
    assert first(report(watch=probed(attempt("tls-ok")))) == (
        "web:443 connected, and the TLS handshake was fine; nothing was reset."
    )
    refused = probed(attempt("refused", errno="ECONNREFUSED"))
    assert first(report(watch=refused)) == (
        "web:443 refused the connection; but no reset was seen."
    )
    assert "Tried:   10.0.0.9:443 refused the connection (ECONNREFUSED)" in report(watch=refused)
    spoken = probed(attempt("refused", errno="ECONNREFUSED", text="Refused, after 1 ms."))
    assert "10.0.0.9:443: Refused, after 1 ms (ECONNREFUSED)\n" in report(watch=spoken)
    both = probed(attempt("tls-ok"), attempt("timeout", address="fd00::9"))
    assert first(report(watch=both)) == (
        "web:443: 2 attempts, 1 with TLS fine, 1 without an answer; nothing was reset."
    )
    assert "[fd00::9]:443" in report(watch=both)
    gone = probed(problem="the name was not found.")
    assert first(report(watch=gone)) == "web:443 could not be tried: the name was not found."
    assert first(report(watch=probed())) == "web:443 was not tried."


def test_every_outcome_has_words() -> None:
    assert set(OUTCOMES) == set(BRIEFLY)
    assert len(OUTCOMES) == 10


# -- the findings ----------------------------------------------------------------------------------


def test_a_finding_tells_all() -> None:
    one = unread(
        wire=left(),
        summary="nginx[1432] closed too early.",
        evidence=("312 bytes unread", "stack: a < b", "third", "fourth", "fifth"),
        remedies=("read to EOF first", "sysctl -w net.core.somaxconn=4096  # more room"),
        settings=(("net.core.somaxconn", "128"),),
        sees="ECONNRESET once",
        missing="the segment that provoked the RST",
    )
    text = report(one)
    for words in (
        "1. unread-data-on-close: Socket closed with received data unread\n",
        "   nginx[1432] closed too early.",
        "Who       nginx[1432]; service 10.0.0.5:8080",
        "Evidence  312 bytes unread\n             stack: a < b\n",
        "Settings  net.core.somaxconn = 128",
        "Effect    at the other end: ECONNRESET once",
        "Missing   the segment that provoked the RST",
        "     - read to EOF first\n",
        "     # more room\n     sysctl -w net.core.somaxconn=4096\n",
        "<-------------- RST -------------- |",
        "rsttrace explain unread-data-on-close",
    ):
        assert words.replace("<--------------", "<-") in re.sub("<-+", "<-", text), words
    assert "fifth" not in text
    assert "fifth" in report(one, verbose=True)
    assert "Example: " not in text, "the only one is no example"
    assert "Example: " in report(one, unread(2))


def test_sureness_is_one_word_where_it_lacks() -> None:
    sure, likely = unread(1, count=300), unread(2, confidence="likely", count=12)
    assert "(certain" not in report(sure)
    assert "1. Probably unread-data-on-close: " in report(likely)
    assert first(report(likely)).startswith("Probably nginx[1432] resets")
    assert "Evidence  300 of 312 certain, 12 likely\n" in report(sure, likely)


def test_nothing_is_said_twice() -> None:
    summary = "The queue of nginx is full (3 waiting, limit 2)."
    facts = ("queue: 3 waiting, limit 2", "queue: 3 waiting, limit 3")
    text = report(unread(summary=summary, evidence=facts))
    assert facts[0] not in text
    assert facts[1] in text
    assert facts[0] in report(unread(summary=summary, evidence=facts), verbose=True)
    again = unread(summary="nginx[1432] resets client 10.0.0.9: unread data on close.")
    assert "   nginx[1432] resets" not in report(again)


def test_an_example_does_not_repeat_what_all_have() -> None:
    found = lab_file("unread-data-on-close-plain-v4").explained[0]
    text = report(*(replace(found, count=n) for n in (2,)))
    assert text.count("312 bytes received but not read") == 1
    assert "- stack: tcp_send_active_reset" in text


def test_what_fits_goes_before_what_everybody_is_told() -> None:
    general = catalogue()["unread-data-on-close"].remedies
    assert len(general) > 3
    two = ("ss -ltnp  # who?", "nginx: lingering_close always")
    text = report(unread(remedies=(*two, *general)))
    shown = [line for line in text.splitlines() if line.startswith(("     - ", "     # "))]
    assert len(shown) == 4
    many = tuple(f"set x_{word} of this nginx" for word in ("ab", "bc", "cd", "de", "ef"))
    text = report(unread(remedies=(*many, *general)))
    assert all(f"- {remedy}\n" in text for remedy in many)
    assert general[0].split(",")[0] not in " ".join(text.split())
    assert general[-1] in " ".join(report(unread(remedies=general), verbose=True).split())


def test_a_reset_that_the_firewall_kept_from_the_other_end() -> None:
    sent = unread(sees="ECONNRESET once")
    there = {"flow": THEIRS, "peer": sent.reset, "judged": judged("ESTABLISHED", flow=THEIRS)}
    text = " ".join(
        report(sent, told("reset-suppressed", 2, direction="rejected", **there)).split()
    )
    assert "unread data on close, but this host's firewall dropped it Watched" in text
    assert "10.0.0.9 dropped by the firewall before it arrived, on this host there" in text
    assert "received by" not in text
    assert "Effect at the other end: nothing: it waits until it times out" in text
    assert "rsttrace explain reset-suppressed" in text
    arrived = told("peer-reset", 2, direction="received", sees="ECONNRESET", **there)
    assert "at the other end: ECONNRESET once" in report(sent, arrived)


def test_namespaces_of_one_name_are_told_apart() -> None:
    first_one, second = (
        unread(n, flow=replace(FLOW, netns=number), facts=Facts(owner=NGINX, netns_name="web"))
        for n, number in enumerate((4026532001, 4026532002), 1)
    )
    text = " ".join(report(first_one, second).split())
    for number in (4026532001, 4026532002):
        assert f"unread data on close, in network namespace web ({number}) When" not in text
        assert f"unread data on close, in network namespace web ({number})" in text
        assert f"; network namespace web ({number})" in text
    assert "(4026532001)" not in report(first_one)
    other = unread(3, flow=replace(FLOW, netns=7), facts=Facts(owner=NGINX, netns_name="db"))
    assert "on close, in network namespace db\n" in report(first_one, other, width=120)


def test_what_this_kernel_cannot_show_is_said() -> None:
    blind = {
        **HOST,
        "missing_hooks": ["inet_sk_error_report", "a_hook_of_tomorrow"],
        "missing_members": ["tcp_sock.linger2", "sock.sk_ino"],
        "symbols": False,
    }
    watch = replace(WATCH, host=blind, problems=("It was dark.",))
    text = " ".join(report(unread(), watch=watch).split())
    for words in (
        "Not shown: - It was dark. - This kernel has no tracepoint inet_sk_error_report.",
        "Resets not seen at all: icmp-unreachable, retransmit-timeout.",
        "- This kernel does not keep tcp_sock.linger2. Less evidence for linger2-expired.",
        "- Kernel addresses are hidden (kernel.kptr_restrict), so the kernel's stacks have no",
        "Resets not explained: accept-queue-overflow, admin-destroyed, disconnect-call, "
        "fastopen-reset and 9 more.",
    ):
        assert words in text, words
    assert "sk_ino" not in text, "another one stands in for it"
    assert "tomorrow" not in text
    document = json.loads(report(unread(), watch=watch, as_json=True))
    assert [problem.split()[0] for problem in document["problems"]] == [
        "It",
        *["This"] * 2,
        "Kernel",
    ]
    seeing = {**HOST, "missing_hooks": [], "missing_members": [], "symbols": True}
    assert "Not shown" not in report(unread(), watch=replace(WATCH, host=seeing))
    assert "Not shown" not in report(unread(), watch=replace(WATCH, host={}))


def test_many_findings_are_cut_but_counted() -> None:
    many = [told(cause, n) for n, cause in enumerate(CAUSES, 1)]
    text = report(*many)
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) == len(CAUSES)
    assert text.count("rsttrace explain ") == 5
    assert report(*many, verbose=True).count("rsttrace explain ") == len(CAUSES)


CAUSES = (
    *("linger-zero", "disconnect-call", "admin-destroyed", "user-timeout", "keepalive-timeout"),
    *("listener-closed", "mptcp-reset", "firewall-reject"),
)


def test_what_is_not_shown_is_said() -> None:
    watch = replace(WATCH, others=3, problems=("This kernel has no reset reasons.",))
    many = [told(cause, n, missing="the trigger", count=n) for n, cause in enumerate(CAUSES, 1)]
    text = report(*many, watch=watch, lost=12)
    shown = text[text.index("Not shown:") :]
    for words in (
        "12 records",
        "no reset reasons",
        "the trigger (6 resets)",
    ):
        assert words in " ".join(shown.split()), words
    assert text.endswith("\n\n3 other resets on this host, not part of this.\n")
    assert "Not shown" not in report(unread())


def test_cross_check_and_counters() -> None:
    rose = {
        "TcpActiveOpens": 9000,
        "TcpRetransSegs": 9,
        "TcpOutRsts": 312,
        "TcpExtTCPAbortOnClose": 312,
    }
    done = Completeness(explained=310, counted=312, told=310, missing=2)
    text = report(unread(), watch=replace(WATCH, counters=rose), completeness=done)
    assert "NOT seen: 2." in text
    table = text[text.index("The kernel's counters") :].splitlines()[1:]
    assert [row.split()[0] for row in table] == [
        *("TcpExtTCPAbortOnClose", "TcpOutRsts", "TcpRetransSegs")
    ]
    assert table[0].split(None, 2)[1:] == ["+312", "closed with data unread"]


def test_a_command_of_many_lines_is_one() -> None:
    command = Command(("python3", "-c", "\nimport os\n" + "os.x() " * 50), 1, 0, 1.0)
    text = report(watch=replace(WATCH, command=command))
    assert "Command: python3 -c ' import os os.x()" in text
    assert "...: ended well" in " ".join(text.split())


def test_every_counter_that_is_read_has_a_gloss() -> None:
    assert set(NAMES) <= set(GLOSSES)
    assert all(len(gloss.split()) <= 6 for gloss in GLOSSES.values())
    assert bearing_on(["linger-zero"], {"TcpInErrs": 1, "TcpOutRsts": 0}) == ([], ["TcpInErrs"])


# -- paper -----------------------------------------------------------------------------------------


def test_colour_only_if_asked_and_never_the_only_carrier() -> None:
    plain, painted = report(unread()), report(unread(), colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain
    assert painted.startswith("\x1b[31;1m")


def test_text_of_others_cannot_command_a_terminal() -> None:
    evil = "\x1b[2J\x07\u202e evil"
    command = Command((evil,), 1, 0, 1.0)
    watch = Watch(evil, {"hostname": evil}, 1.0, command=command, problems=(evil,))
    text = report(
        unread(summary=evil, evidence=(evil,), remedies=(evil,), missing=evil), watch=watch
    )
    assert all(line.isprintable() for line in text.splitlines())


def test_when_says_how_often() -> None:
    text = report(unread(1), unread(2_000_000_000), wall_offset_ns=0)
    assert re.search(r"When +2 times, from \d\d:\d\d:\d\d\.\d{3} to \d\d:\d\d:\d\d\.\d{3}", text)


@pytest.mark.parametrize(
    ("remedy", "expected"),
    [
        ("read to EOF", ("", "read to EOF")),
        ("ip netns exec web ss -ltn  # who?", ("ip netns exec web ss -ltn", "who?")),
        ("sysctl -w net.core.somaxconn=4096", ("sysctl -w net.core.somaxconn=4096", "")),
        ("on fd00::9: sudo rsttrace -P 1  # why?", ("sudo rsttrace -P 1", "on fd00::9: why?")),
        (
            "in network namespace 42 (lsns -t net): sysctl -w a=1  # room",
            ("sysctl -w a=1", "in network namespace 42 (lsns -t net): room"),
        ),
        ("ip mptcp limits show", ("", "ip mptcp limits show")),
    ],
)
def test_commands_and_their_reasons(remedy: str, expected: tuple[str, str]) -> None:
    assert parted(remedy) == expected


def test_a_broken_command_is_the_same_command() -> None:
    command = "nft insert rule inet 'a table' \"x y\" handle 12 tcp flags rst accept " + "w " * 30
    rows = broken(command.strip(), 40)
    assert all(len(row) <= 40 for row in rows)
    assert all(row.endswith(" \\") for row in rows[:-1])
    assert shlex.split("\n".join(rows).replace("\\\n", "")) == shlex.split(command)


def test_matches() -> None:
    sink = ReportSink()
    assert not sink.matches(["harmful", "any", "linger-zero"])
    sink.reset(told("late-segment", benign=True))
    assert sink.matches(["any"])
    assert sink.matches(["linger-zero", "late-segment"])
    assert not sink.matches(["harmful"])
    sink.reset(told("unknown", 2, flow=replace(FLOW, lport=1), confidence="unknown"))
    assert sink.matches(["harmful"])
    assert not sink.matches([])


def test_a_cause_of_the_other_end_matches() -> None:
    sink = ReportSink()
    for one in lab_file("connection-refused-closed-port-v4").explained:
        sink.reset(one)
    assert sink.matches(["connection-refused"])
    assert sink.matches(["closed-port"])
    assert not sink.matches(["peer-reset"])


def test_trouble_without_a_reset_is_hinted_at() -> None:
    """Clients that hang, or that a plain REJECT refuses: there is no reset to explain."""
    rose = {"TcpExtListenOverflows": 96, "IcmpInDestUnreachs": 1, "TcpOutRsts": 0}
    said = " ".join(report(watch=replace(WATCH, counters=rose)).split())
    assert "96 times a full accept queue dropped a connection attempt without a reset" in said
    assert "Once an ICMP message 'destination unreachable' came in" in said
    beside = " ".join(report(unread(), watch=replace(WATCH, counters=rose)).split())
    assert "96 times a full accept queue" in beside
    assert "full accept queue dropped" not in report(unread())
