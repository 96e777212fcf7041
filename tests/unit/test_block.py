"""The block of a reset, for a person at a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.enrich import Facts, Process
from rsttrace.explain import Explained
from rsttrace.sinks.block import BlockSink
from rsttrace.sinks.totals import Totals
from rsttrace.sinks.words import relative_clock

from .build import (
    A1,
    A2,
    MS,
    NGINX,
    P1,
    T,
    answered,
    decided,
    explained,
    judged,
    received_reset,
    segment,
    sent_reset,
    sock,
)
from .labfiles import LabFile, lab_files
from .told import related, told, verdict

QUOTED = re.compile(r"'[^']*'")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
UNREAD = sock(rcv_nxt=1312, copied_seq=1000)
BY_NGINX = Facts(owner=NGINX, actor=NGINX)


def sink(width: int = 80, verbose: bool = False, colour: bool = False) -> BlockSink:
    return BlockSink(relative_clock(T), width, verbose, colour)


def unread() -> Explained:
    return explained(sent_reset(decided(A1, sock=UNREAD, reason="TCP_ABORT_ON_CLOSE")), BY_NGINX)


def block(one: Explained, **options: Any) -> list[str]:
    text = sink(**options).reset(one)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    return text.splitlines()


def fits(lines: list[str], width: int) -> None:
    """No line is longer than the width, unless a single word is, or a quoted one of a command."""
    for line in lines:
        longest = max(map(len, [*line.split(), *QUOTED.findall(line)]))
        assert len(line) <= width or longest > width - 13, line
        assert line == line.rstrip(), repr(line)


def test_example_of_the_design() -> None:
    head, *rest = block(unread(), width=100)
    assert head == (
        "    0.000000  SENT  10.0.0.5:8080 > 10.0.0.9:51234  unread-data-on-close  (certain)"
    )
    assert rest[0].startswith("  nginx[1432] closed the socket while 312 received bytes were still")
    labels = [line[2:10].strip() for line in rest if line[2:10].strip() and line[10:11] != " "]
    assert [x for x in labels if x in ("kernel", "peer", "fix")] == ["kernel", "peer", "fix"]
    text = "\n".join(rest)
    assert "TCP_ABORT_ON_CLOSE, was ESTABLISHED: close > tcp_close > __tcp_close" in text


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_width(file: LabFile, width: int, verbose: bool) -> None:
    for one in file.explained:
        lines = block(one, width=width, verbose=verbose)
        fits(lines, width)
        assert verbose or width < 80 or len(lines) <= 11, lines


@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_at_most_five_lines_where_there_is_room(file: LabFile) -> None:
    for one in file.explained:
        lines = block(one, width=300)
        assert (2 if one.related else 4) <= len(lines) <= 5, lines


@pytest.mark.parametrize("width", [60, 80])
def test_width_with_long_addresses(width: int) -> None:
    """A full IPv6 address has 39 characters; two do not fit on one line."""
    flow = replace(
        sent_reset(decided(A1)).flow,
        local="2001:db8:1111:2222:3333:4444:5555:6666",
        remote="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    )
    fits(
        block(explained(sent_reset(decided(A1, sock=UNREAD), flow=flow), BY_NGINX), width=width),
        width,
    )


@pytest.mark.parametrize("width", [1, 10, 39])
def test_very_narrow_terminal(width: int) -> None:
    assert block(unread(), width=width)


@pytest.mark.parametrize("file", lab_files()[:12], ids=lambda file: file.name)
@pytest.mark.parametrize("verbose", [False, True])
def test_colours_change_nothing_but_colours(file: LabFile, verbose: bool) -> None:
    for one in file.explained:
        plain, painted = (
            sink(verbose=verbose, colour=colour).reset(one) for colour in (False, True)
        )
        assert "\x1b" not in plain
        assert "\x1b[" in painted
        assert ESCAPE.sub("", painted) == plain
        assert painted.count("\x1b[0m") * 2 == painted.count("\x1b[")


def test_tone() -> None:
    harm = sink(colour=True).reset(unread())
    assert "\x1b[31;1munread-data-on-close\x1b[0m" in harm
    harmless = explained(received_reset(judged("FIN_WAIT2", sock=sock(has_socket=False))))
    assert "\x1b[32mreset-after-fin\x1b[0m" in sink(colour=True).reset(harmless)
    unknown = explained(sent_reset(decided(("tcp_send_active_reset", "some_new_function"))))
    assert "\x1b[33munknown\x1b[0m" in sink(colour=True).reset(unknown)


def test_what_to_change() -> None:
    fix = [line for line in block(unread()) if line.startswith("  fix")]
    assert len(fix) == 1
    harmless = explained(received_reset(judged("FIN_WAIT2", sock=sock(has_socket=False))))
    assert "  fix     nothing: this is harmless" in block(harmless)


COMMAND = (
    "sysctl -w net.ipv4.tcp_abort_on_overflow=0  # then the client tries again in place of failing"
)


def test_a_command_can_be_pasted() -> None:
    """It is broken where a shell goes on, and its reason is a comment."""
    one = told("accept-queue-overflow", remedies=(COMMAND, "raise the backlog"))
    assert f"  fix     {COMMAND}" in block(one, width=120)
    assert block(one)[-2:] == [
        "  fix     sysctl -w net.ipv4.tcp_abort_on_overflow=0",
        "          # then the client tries again in place of failing",
    ]
    narrow = block(one, width=50)
    assert narrow[-2:] == [
        "  fix     sysctl -w \\",
        "          net.ipv4.tcp_abort_on_overflow=0",
    ]
    told_all = block(
        replace(one, verdict=replace(one.verdict, remedies=("x", COMMAND))), verbose=True
    )
    assert "  or      sysctl -w net.ipv4.tcp_abort_on_overflow=0" in told_all


def test_label_of_the_other_end() -> None:
    assert any(line.startswith("  peer    ") for line in block(unread()))
    got = explained(received_reset(judged("ESTABLISHED")))
    assert any(line.startswith("  here    ") for line in block(got))
    assert not any(line.startswith("  peer    ") for line in block(got))


def test_verbose_adds_evidence() -> None:
    one = unread()
    text = "\n".join(block(one, verbose=True, width=200))
    for evidence in one.verdict.evidence:
        assert f"because {evidence}" in text
    assert "stack   tcp_send_active_reset < __tcp_close < tcp_close" in text
    assert "socket  unread 312 B" in text
    short = "\n".join(block(one))
    assert "because" not in short
    assert "stack " not in short


HEX_ID = "3f2a9c01d4e5" + "ab" * 26


def owned(path: str, cmdline: str = "nginx: worker process") -> Explained:
    owner = Process(1432, "nginx", "/usr/sbin/nginx", cmdline, path)
    facts = Facts(owner=owner, actor=owner)
    return explained(sent_reset(decided(A1, sock=UNREAD)), facts)


def test_container_of_the_owner_is_named() -> None:
    text = " ".join(" ".join(block(owned(f"/docker/{HEX_ID}"))).split())
    assert "nginx[1432] belongs to docker container 3f2a9c01d4e5. kernel" in text
    assert len(block(owned(f"/docker/{HEX_ID}"), width=300)) == 5
    assert "belongs" not in " ".join(block(owned("/system.slice/nginx.service")))
    echo = replace(ECHO, facts=owned(f"/docker/{HEX_ID}").facts)
    assert block(echo) == block(ECHO)


def test_verbose_has_the_process() -> None:
    def line(one: Explained) -> str:
        lines = block(one, verbose=True, width=200)
        assert "belongs" not in " ".join(lines)
        return next(x for x in lines if x.startswith("  process "))

    unit = line(owned("/system.slice/nginx.service"))
    assert unit == "  process nginx[1432] (nginx.service): nginx: worker process"
    boxed = line(owned(f"/docker/{HEX_ID}", ""))
    assert boxed == "  process nginx[1432] (docker container 3f2a9c01d4e5): /usr/sbin/nginx"
    assert not any("process " in x for x in block(owned("/x"), width=300)[2:])


def test_verbose_has_the_user_stack() -> None:
    one = unread()
    named = replace(
        one, facts=replace(one.facts, user_frames=("close (libc.so.6)", "nginx+0x4a2c1"))
    )
    lines = block(named, verbose=True, width=200)
    assert lines[-1] == "  user    close (libc.so.6) < nginx+0x4a2c1"
    assert "libc" not in " ".join(block(named))


def test_one_reset_is_separate_from_the_next() -> None:
    """Output.write() adds a line end only if there is none: blocks follow each other."""
    assert sink().reset(unread()).count("\n\n") == 0


def test_name_of_a_process_is_not_taken_apart() -> None:
    odd = Process(7, "a b  c")
    one = explained(sent_reset(decided(A2, sock=sock(flags=16))), Facts(owner=odd, actor=odd))
    assert "7]" in " ".join(block(one))


def test_lost_and_start_and_summary() -> None:
    assert "3 records lost" in sink().lost(3)
    assert sink().start({"hostname": "x"}) == ""
    assert sink().summary(Totals()).startswith("0 resets")


# -- echoes ----------------------------------------------------------------------------------------

ABORT = told("linger-zero")
ECHO = told(
    "late-segment",
    2,
    T + 35 * MS,
    related=related(ABORT),
    benign=True,
    summary="A segment came after the connection had ended.",
    sees="ECONNRESET",
    remedies=("nothing",),
    decided=answered(segment(), P1),
)


def test_an_echo_is_no_news() -> None:
    assert block(ECHO) == [
        "    0.035000  SENT  10.0.0.5:8080 > 10.0.0.9:51234  late-segment  (certain)",
        "  A segment came after the connection had ended.",
        "  after   linger-zero of the same connection, 35 ms before (sent)",
    ]


def test_number_of_echoes() -> None:
    head = block(replace(ECHO, count=7), width=100)[0]
    assert head.endswith("  late-segment x 7  (certain)")
    painted = sink(width=100, colour=True).reset(replace(ECHO, count=7))
    assert "\x1b[32mlate-segment\x1b[0m x 7  (certain)" in painted


@pytest.mark.parametrize("width", [40, 60, 80])
def test_short_block_fits(width: int) -> None:
    fits(block(replace(ECHO, count=1000), width=width), width)


def test_a_repetition_is_no_news_though_it_is_not_harmless() -> None:
    forged = told("out-of-window-reset", 2, T + MS, related=related(told("out-of-window-reset")))
    assert [line[2:7] for line in block(forged, width=100)[2:]] == ["after"]


def test_a_consequence_that_matters_has_its_whole_block() -> None:
    """That the connection had timed out does not say what to change."""
    timed_out = told("retransmit-timeout", direction="none")
    stale = replace(
        ECHO,
        verdict=verdict("stale-connection", sees="ECONNRESET", remedies=("reconnect",)),
        related=related(timed_out),
    )
    lines = block(stale, width=100)
    assert lines[-2:] == ["  peer    ECONNRESET", "  fix     reconnect"]
    after = "  after   retransmit-timeout of the same connection, 35 ms before (none)"
    assert after not in lines
    assert after in block(stale, width=100, verbose=True)


@pytest.mark.parametrize("one", [ECHO, replace(ECHO, count=3)])
def test_verbose_tells_all_of_an_echo(one: Explained) -> None:
    lines = block(one, verbose=True, width=100)
    for label in ("after", "kernel", "peer", "fix", "trigger", "stack"):
        assert sum(line.startswith(f"  {label} ") for line in lines) == 1, label
    assert "after" not in "".join(block(ABORT, verbose=True))


def test_an_abort_without_a_reset_is_felt_here() -> None:
    one = told("retransmit-timeout", direction="none", sees="ETIMEDOUT", summary="Nobody answered.")
    head, *rest = block(one, width=100)
    assert head == (
        "    0.000000  ABORT 10.0.0.5:8080 - 10.0.0.9:51234  retransmit-timeout  (certain)"
    )
    assert "  here    ETIMEDOUT" in rest
    assert not any(line.startswith("  peer") for line in rest)
