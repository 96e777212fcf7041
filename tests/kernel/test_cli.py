"""The command line as a user meets it: real processes, real resets."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter

import pytest

from rsttrace.causes import catalogue
from rsttrace.lab import labs, server_labs
from rsttrace.lab.net import Lab

from .conftest import PATIENCE, Starter, abort, both_ends, knock, python, rsttrace

pytestmark = pytest.mark.kernel


def names(text: str) -> set[str]:
    """A set of field names."""
    return set(text.split())


# design.md chapter 7, and what was added since: names are a promise to other programs
RESET_FIELDS = names(
    """schema type id time monotonic_ns count direction cause confidence summary evidence remedies
    benign phase initiator log_term missing family local remote state state_before errno
    reset_reason reset_reason_raw drop_reason drop_reason_raw process netns cgroup container
    interface packet trigger socket kernel_stack user_stack peer_id
    related suppressed_cause unit place settings"""
)
PACKET_FIELDS = names("flags seq ack window ttl ip_id length payload_kind")
SOCKET_FIELDS = names(
    """unread_bytes unacked_bytes age_s idle_s retransmits keepalive_probes linger accept_queue uid
    cookie"""
)
PROCESS_FIELDS = names("pid tid comm exe cmdline role")
START_FIELDS = names(
    "schema type version hostname kernel machine hooks missing_hooks missing_members symbols"
)
SUMMARY_FIELDS = names("schema type resets benign lost duration_s directions causes completeness")


def play(lab: Lab) -> None:
    """Six resets at both ends: an abort, and two refused connections."""
    abort(lab)
    knock(lab, 8080)
    knock(lab, 8081)


# -- forms of output


def test_block(start: Starter, lab: Lab) -> None:
    """The default for people: head, sentence, labels; the banner on stderr, summary at the end."""
    trace = start.trace(*both_ends(lab))
    play(lab)
    trace.wait_for(lambda: trace.text("out").count("  fix  ") >= 6, "six blocks")
    done = trace.stop().clean()
    assert done.code == 0
    assert done.err.startswith("Tracing TCP resets on ")
    way = r"(SENT|RECV) +[\d.]+:\d+ ([<>]) [\d.]+:\d+"
    head = rf"^\d\d:\d\d:\d\d\.\d{{3}}  {way}\n?  [a-z-]+  \(certain\)$"  # in one line if it fits
    ways = Counter(re.findall(head, done.out, re.MULTILINE))
    assert ways == {("SENT", ">"): 3, ("RECV", "<"): 3}
    for label in ("kernel", "peer", "here", "fix"):
        assert re.search(rf"^  {label:8}\S", done.out, re.MULTILINE), label
    assert "because" not in done.out
    assert re.search(r"^6 resets.*no records lost\.", done.out, re.MULTILINE)
    assert re.search(r"^ +2 +sent +closed-port", done.out, re.MULTILINE)
    assert max(map(len, done.out.splitlines())) <= 80


def test_verbose(start: Starter, lab: Lab) -> None:
    """-v adds evidence, the packet, the segment that provoked it, the socket, the stack."""
    trace = start.trace("-v", *both_ends(lab))
    play(lab)
    trace.wait_for(lambda: trace.text("out").count("  fix  ") >= 6, "six blocks")
    done = trace.stop().clean()
    for label in ("because", "trigger", "packet", "socket", "netns", "stack"):
        assert re.search(rf"^  {label:8}\S", done.out, re.MULTILINE), label
    assert "tcp_send_active_reset < tcp_disconnect" in done.out


def test_oneline(start: Starter, lab: Lab) -> None:
    """-1: column names, then one row for each reset, all columns in their places."""
    trace = start.trace("-1", *both_ends(lab))
    play(lab)
    trace.wait_for(lambda: trace.text("out").count("\n") >= 7, "a header and six rows")
    lines = trace.stop().clean().out.splitlines()
    assert lines[0].split() == ["TIME", "DIR", "LOCAL", "REMOTE", "PROCESS", "CAUSE"]
    column = lines[0].index("CAUSE")
    causes = [line[column:] for line in lines[1:7]]
    assert sorted(causes) == sorted(
        ["linger-zero", "peer-reset", *["closed-port", "connection-refused"] * 2]
    )


def test_relative_time(start: Starter, lab: Lab) -> None:
    """-t: seconds since the trace began, in place of the wall clock."""
    trace = start.trace("-1", "-t", *both_ends(lab))
    began = time.monotonic()
    knock(lab, 8080)
    trace.wait_for(lambda: trace.text("out").count("\n") >= 3, "two rows")
    rows = trace.stop().clean().out.splitlines()[1:3]
    shown = [float(row.split()[0]) for row in rows]
    assert 0 < shown[0] <= shown[1]
    assert shown[1] - shown[0] <= time.monotonic() - began


def test_json(start: Starter, lab: Lab) -> None:
    """-j: every line is an object; start, resets, summary; no field is ever absent."""
    trace = start.trace("-j", *both_ends(lab))
    play(lab)
    trace.wait_resets(6)
    done = trace.stop().clean()
    objects = done.objects
    assert [o["type"] for o in objects] == ["start", *["reset"] * 6, "summary"]
    assert all(o["schema"] == 1 for o in objects)
    assert objects[0].keys() >= START_FIELDS
    assert objects[-1].keys() == SUMMARY_FIELDS
    assert objects[-1]["resets"] == 6
    assert objects[-1]["lost"] == 0
    assert objects[-1]["completeness"]["told"] == objects[-1]["completeness"]["tcp_out_rsts"] == 3
    for one in done.resets:
        assert one.keys() >= RESET_FIELDS
        assert one["packet"].keys() >= PACKET_FIELDS
        assert one["process"].keys() == PROCESS_FIELDS
        assert not one["socket"] or one["socket"].keys() >= SOCKET_FIELDS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", one["time"])
        assert one["netns"]["inode"] in lab.netns.values()
    assert {one["netns"]["name"] for one in done.resets} == {
        f"rsttrace-{os.getpid()}-{end}" for end in lab.netns
    }
    peers = {one["id"]: one["peer_id"] for one in done.resets}
    assert all(peers[peer] == own for own, peer in peers.items())
    assert done.resets[0]["process"]["pid"] == os.getpid()


def test_quiet(start: Starter, lab: Lab) -> None:
    """-q: no banner, no summary, only resets."""
    trace = start.trace("-q", *both_ends(lab))
    knock(lab, 8080)
    trace.wait_for(lambda: trace.text("out").count("  fix  ") >= 2, "two blocks")
    done = trace.stop().clean()
    assert done.err == ""
    assert "resets" not in done.out.splitlines()[-1]


def test_output_comes_at_once(start: Starter, lab: Lab) -> None:
    """Also into a pipe, and each reset on its own: no block buffering."""
    trace = start.trace("-1", *both_ends(lab))
    for number in range(1, 4):
        knock(lab, 8080)
        lines = 1 + 2 * number
        trace.wait_for(lambda n=lines: trace.text("out").count("\n") >= n, f"{lines} lines")
    trace.stop().clean()


# -- when it stops


def test_count(start: Starter, lab: Lab) -> None:
    """-c 3: exactly three, then the end by itself."""
    trace = start.trace("-j", "-c", "3", *both_ends(lab))
    play(lab)
    done = trace.end().clean()
    assert done.code == 0
    assert len(done.resets) == 3
    assert done.objects[-1]["resets"] == 3


def test_duration(start: Starter, lab: Lab) -> None:
    """-d 1: not before a second is over, and then by itself, with the summary."""
    trace = start.trace("-j", "-d", "1", *both_ends(lab))
    began = time.monotonic()
    knock(lab, 8080)
    done = trace.end().clean()
    assert done.code == 0
    assert time.monotonic() - began < PATIENCE / 2
    assert len(done.resets) == 2
    assert done.objects[-1]["duration_s"] >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_asked_to_stop(start: Starter, lab: Lab, number: int) -> None:
    """Ctrl-C and SIGTERM: what happened just before is still shown, then the summary, exit 0."""
    trace = start.trace("-j", *both_ends(lab))
    knock(lab, 8080)
    done = trace.stop(number).clean()
    assert done.code == 0
    assert len(done.resets) == 2
    assert done.objects[-1]["type"] == "summary"


# -- the other commands


def test_lab_list() -> None:
    """One row for each lab."""
    done = rsttrace("lab", "list").clean()
    assert done.code == 0
    listed = {line.split()[0] for line in done.out.splitlines()[2:] if line[0] != " "}
    assert listed == {spec.name for spec in (*labs(), *server_labs())}


def test_lab_run() -> None:
    """A lab by name, its trace on stdout, the judgement on stderr; exit 0 if right."""
    done = rsttrace("lab", "run", "closed-port/plain", "-j").clean()
    assert done.code == 0
    assert "== closed-port/plain IPv4: right" in done.err
    assert "== closed-port/plain IPv6: right" in done.err
    assert "2 right, 0 wrong of 2 runs." in done.err
    causes = [r["cause"] for r in done.resets]
    assert causes == ["closed-port", "connection-refused"] * 2


def test_lab_run_one_family() -> None:
    """A cause stands for all its variants; -6 leaves IPv4 out."""
    done = rsttrace("lab", "run", "linger-zero", "-6", "-1").clean()
    assert done.code == 0
    assert "IPv4" not in done.err
    variants = [spec for spec in labs() if spec.cause == "linger-zero"]
    assert f"{len(variants)} right, 0 wrong of {len(variants)} runs." in done.err


def test_lab_run_wrong() -> None:
    """Exit 1 when a verdict is not what the lab promises."""
    script = (
        "import dataclasses, sys, rsttrace.lab as lab\n"
        "from rsttrace.cli import run\n"
        "specs = lab.labs()\n"
        "wrong = lab.find('linger-zero/established')[0].expect\n"
        "lab.find = lambda name: [dataclasses.replace(s, expect=wrong)"
        " for s in specs if s.name == name]\n"
        "sys.exit(run(['lab', 'run', '-4', 'closed-port/plain']))\n"
    )
    done = python(script).clean()
    assert done.code == 1
    assert "== closed-port/plain IPv4: WRONG" in done.err
    assert "expected sent linger-zero at the server, not seen" in done.err
    assert "0 right, 1 wrong of 1 runs." in done.err


def test_lab_run_unknown() -> None:
    """A lab that does not exist is a usage error, before anything is made."""
    rsttrace("lab", "run", "closed-port", "nonsense").failed(2, "no lab 'nonsense'")


def test_doctor() -> None:
    """Every hook, what is not needed, and that the programs really load."""
    done = rsttrace("doctor").clean()
    assert done.code == 0
    assert done.out.splitlines()[-1] == "This host can trace."
    for name in ("rights", "bcc", "BTF", "symbols", "tracefs", "load", "hooks"):
        assert re.search(rf"^  (ok|note) +{name}: ", done.out, re.MULTILINE), name
    assert "MISSING" not in done.out
    assert "7 programs compiled, loaded and attached" in done.out


def test_causes() -> None:
    """The catalogue, for people and as JSON Lines."""
    table = rsttrace("causes").clean()
    lines = rsttrace("causes", "-j").clean()
    assert table.code == lines.code == 0
    assert [o["id"] for o in lines.objects] == list(catalogue())
    assert [line.split()[0] for line in table.out.splitlines()[2:]] == list(catalogue())


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("linger-zero", ["WHAT HAPPENED", "SO_LINGER", "WHAT TO CHANGE", "lab run linger-zero"]),
        ("TCP_STATE", ["(reset-reason)", "linger-zero", "admin-destroyed"]),
        ("tcp_state", ["(reset-reason)"]),
        ("SKB_DROP_REASON_NO_SOCKET", ["NO_SOCKET (", "closed-port"]),
        ("TcpExtTCPAbortOnClose", ["(counter)", "unread-data-on-close"]),
        ("ECONNRESET", ["(errno)", "peer-reset"]),
    ],
)
def test_explain(what: str, words: list[str]) -> None:
    """A cause and a term, also as nstat or the kernel writes it."""
    done = rsttrace("explain", what).clean()
    assert done.code == 0
    for word in words:
        assert word in done.out
