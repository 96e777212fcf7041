"""The rule that made or dropped a reset is named, also once the trace has given up root."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from rsttrace.causes.netfilter import NONE
from rsttrace.completeness import Readings, increments, readings
from rsttrace.enrich.answers.namespaces import namespaces
from rsttrace.enrich.asking import Broker
from rsttrace.enrich.broker import KEPT
from rsttrace.enrich.place import Question
from rsttrace.explain import Explained
from rsttrace.lab import closed_port
from rsttrace.lab.net import Lab
from rsttrace.lab.runner import settle
from rsttrace.session import Session

from .conftest import (
    Running,
    Starter,
    both_ends,
    in_private_mounts,
    knock,
    live_session,
    rsttrace,
    wait_for,
)

pytestmark = pytest.mark.kernel

REJECT = f"tcp dport {closed_port.PORT} reject with tcp reset"
RULE = f"rule: table inet lab, chain input, handle 2: {REJECT}"


def refuse(lab: Lab) -> None:
    """The server's firewall rejects one SYN."""
    closed_port.knock(lab)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """A trace inside this process: nothing is explained before the test asks for it."""
    with live_session() as live:
        live.pipeline.since_ns = None
        yield live


def sent(session: Session, inode: int, since_ns: int) -> Explained:
    """The one reset that this namespace sent, or would have sent, since then."""
    found = [e for e in settle(session) if e.reset.flow.netns == inode]
    (one,) = (e for e in found if e.reset.direction != "received" and e.reset.time_ns > since_ns)
    return one


# -- through the program ---------------------------------------------------------------------------


def test_after_root_was_given_up(start: Starter, lab: Lab, tmp_path: Path) -> None:
    """By a trace that runs as nobody, and by a replay of its recording."""
    lab.firewall("server", "input", REJECT)
    file = tmp_path / "out.rec"
    trace = start.trace("-j", "--record", str(file), *both_ends(lab))
    trace.wait_for(lambda: field(trace.pid, "NoNewPrivs") == "1", "rights given up")
    refuse(lab)
    trace.wait_resets(2)
    live = trace.stop().clean()
    (made,) = (r for r in live.resets if r["direction"] == "sent")
    assert made["cause"] == "firewall-reject"
    assert RULE in made["evidence"]
    again = rsttrace("explain", "-j", str(file)).clean()
    assert again.resets == live.resets


def test_nothing_is_installed(start: Starter, lab: Lab) -> None:
    """Neither nft nor iptables: the cause is the same, and why no rule is named is said."""
    lab.firewall("server", "input", REJECT)
    hide = in_private_mounts("mount -t tmpfs none /usr/sbin")
    trace = start.trace("-j", *both_ends(lab), prefix=hide)
    refuse(lab)
    trace.wait_resets(2)
    (made,) = (r for r in trace.stop().clean().resets if r["direction"] == "sent")
    assert (made["cause"], made["confidence"]) == ("firewall-reject", "certain")
    assert "which rule: nft is not installed" in made["evidence"]


# -- the helper process ----------------------------------------------------------------------------


def field(pid: int, name: str) -> str:
    """A line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:"))


def helper_of(trace: Running) -> int:
    """The trace's only child."""
    children = Path(f"/proc/{trace.pid}/task/{trace.pid}/children")
    trace.wait_for(lambda: bool(children.read_text().split()), "the helper")
    (pid,) = map(int, children.read_text().split())
    return pid


def gone(pid: int) -> bool:
    """Ended; a trace that was killed cannot reap it."""
    try:
        return field(pid, "State").startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_rights_of_the_helper(start: Starter, lab: Lab) -> None:
    """Four capabilities, no way to get more, and a process group of its own."""
    trace = start.trace("-j", *both_ends(lab))
    pid = helper_of(trace)
    mask = f"{sum(1 << bit for bit in KEPT):016x}"
    trace.wait_for(lambda: field(pid, "CapBnd") == mask, "rights given up")
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert field(pid, name) == mask
    trace.wait_for(lambda: field(pid, "NoNewPrivs") == "1", "no new rights")
    assert os.getpgid(pid) == pid
    trace.stop().clean()
    assert gone(pid)


def test_ctrl_c_at_the_terminal(start: Starter, lab: Lab) -> None:
    """It goes to every process of the group; nobody prints a traceback, nothing is left."""
    trace = start.trace("-j", *both_ends(lab), start_new_session=True)
    pid = helper_of(trace)
    os.killpg(trace.pid, signal.SIGINT)
    done = trace.end().clean()
    assert done.code == 0
    assert gone(pid)


def test_helper_ends_with_a_trace_that_was_killed(start: Starter, lab: Lab) -> None:
    trace = start.trace("-j", *both_ends(lab))
    pid = helper_of(trace)
    trace.stop(signal.SIGKILL)
    wait_for(lambda: gone(pid), "the helper's end")


def test_trace_goes_on_without_the_helper(start: Starter, lab: Lab) -> None:
    lab.firewall("server", "input", REJECT)
    trace = start.trace("-j", *both_ends(lab))
    pid = helper_of(trace)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid), "the helper's end")
    refuse(lab)
    trace.wait_resets(2)
    (made,) = (r for r in trace.stop().clean().resets if r["direction"] == "sent")
    assert made["cause"] == "firewall-reject"
    assert "which rule: the helper process is gone" in made["evidence"]


def test_counts_of_all_namespaces(lab: Lab) -> None:
    """Also of one that has no process, only a name."""
    helper = Broker()
    try:
        before = counts(helper)
        knock(lab, 8080)
        after = counts(helper)
    finally:
        helper.close()
    server, client = lab.netns["server"], lab.netns["client"]
    assert after[server].out_rsts == before[server].out_rsts + 1 == lab.out_rsts("server")
    assert after[client].out_rsts == before[client].out_rsts == 0
    assert os.stat("/proc/self/ns/net").st_ino in after
    assert before[server].time_ns < after[server].time_ns < time.monotonic_ns()
    rises = increments(before, after, (server, client))
    assert rises is not None
    assert (rises["TcpOutRsts"], rises["TcpActiveOpens"], rises["TcpAttemptFails"]) == (1, 1, 1)


def counts(helper: Broker) -> Readings:
    """However long its start takes on a busy machine."""
    found: list[Readings] = []

    def answered() -> bool:
        known = readings(helper.ask("counters", None, anew=True))
        found[:] = [] if known is None else [known]
        return bool(found)

    wait_for(answered, "the counters")
    return found[0]


def test_what_the_counters_rose_by(session: Session, lab: Lab) -> None:
    """From the start of the trace to when they were read last; the lab began after that."""
    knock(lab, 8080)
    assert session.counters() is not None
    rises = session.counter_increments((lab.netns["server"],))
    assert rises is not None
    assert rises["TcpOutRsts"] == 1
    everywhere = session.counter_increments()
    assert everywhere is not None
    assert all(everywhere[name] >= rise for name, rise in rises.items())


def test_namespace_that_was_asked_about_can_end() -> None:
    """With one of our processes in it, its devices would stay for as long as the trace lasts."""
    helper = Broker()
    try:
        with Lab(socket.AF_INET) as lab:
            counts(helper)
            inode = lab.netns["server"]
            ends = (lab.address["server"], 8080, lab.address["client"], 0)
            about = asdict(Question(inode, 4, *ends, wants=("settings", "sockets", "path", "peer")))
            for _ in range(3):
                wait_for(lambda: helper.ask("place", about), "the place")
        wait_for(lambda: inode not in dict(namespaces()), "the namespace's end")
        assert helper.ask("place", {**about, "rport": 1})["values"] == {}
    finally:
        helper.close()


# -- what changed between the packet and the question ---------------------------------------------


def test_rule_was_deleted_since(session: Session, lab: Lab) -> None:
    begun = time.monotonic_ns()
    lab.firewall("server", "input", REJECT)
    refuse(lab)
    lab.run("server", "nft", "flush", "ruleset")
    one = sent(session, lab.netns["server"], begun)
    assert (one.verdict.cause, one.verdict.confidence) == ("firewall-reject", "certain")
    assert f"which rule: {NONE}" in one.verdict.evidence
    assert "(reject with tcp reset)" in one.verdict.summary


def test_rule_was_replaced_since(session: Session, lab: Lab) -> None:
    """By one that would not have rejected this."""
    begun = time.monotonic_ns()
    lab.firewall("server", "input", REJECT)
    refuse(lab)
    lab.run("server", "nft", "flush", "ruleset")
    lab.firewall("server", "input", "tcp dport 22 reject with tcp reset")
    one = sent(session, lab.netns["server"], begun)
    assert f"which rule: {NONE}" in one.verdict.evidence


def test_namespace_is_gone(session: Session) -> None:
    begun = time.monotonic_ns()
    with Lab(socket.AF_INET) as lab:
        lab.firewall("server", "input", REJECT)
        refuse(lab)
        inode = lab.netns["server"]
    one = sent(session, inode, begun)
    assert one.verdict.cause == "firewall-reject"
    assert "which rule: the network namespace is gone" in one.verdict.evidence


def test_two_resets_two_rulesets(session: Session, lab: Lab) -> None:
    """An answer is not used for what happened after it."""
    begun = time.monotonic_ns()
    for table in ("one", "two"):
        chain = f"chain c {{ type filter hook input priority 0; {REJECT}; }}"
        rules = f"flush ruleset\ntable inet {table} {{\n{chain}\n}}\n"
        lab.prepare("server", "nft", "-f", "-", input=rules)
        refuse(lab)
        one = sent(session, lab.netns["server"], begun)
        assert f"(table inet {table}, chain c, handle 2)" in one.verdict.summary
        begun = time.monotonic_ns()


# -- several rules, and what dropped our own ------------------------------------------------------


def test_one_of_several(session: Session, lab: Lab) -> None:
    """A limit and a named set say nothing of this packet: it may have been any of them."""
    begun = time.monotonic_ns()
    rules = f"""table inet lab {{
        set known {{
            type ipv4_addr;
            elements = {{ 192.0.2.1 }};
        }}
        chain input {{
            type filter hook input priority 0;
            ip saddr @known reject with tcp reset;
            limit rate 1/hour burst 1 packets {REJECT};
            {REJECT};
        }}
    }}
    """
    lab.prepare("server", "nft", "-f", "-", input=rules)
    refuse(lab)
    one = sent(session, lab.netns["server"], begun)
    assert "(one of 3 rules)" in one.verdict.summary
    named = [e for e in one.verdict.evidence if e.startswith("one of 3 rules that fit: ")]
    assert len(named) == 3


@pytest.mark.parametrize("hook", ["output", "postrouting"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_what_dropped_our_rst(session: Session, hook: str, family: int) -> None:
    with Lab(family) as lab:
        begun = time.monotonic_ns()
        lab.firewall("server", hook, 'oifname "veth0" tcp flags & rst == rst drop')
        client, before = lab.socket("client"), lab.out_rsts("server")
        client.setblocking(False)
        client.connect_ex((lab.address["server"], closed_port.PORT))
        lab.wait_for(lambda: lab.out_rsts("server") > before, "the server's answer")
        client.close()
        one = sent(session, lab.netns["server"], begun)
    assert one.verdict.cause == "reset-suppressed"
    assert f"(table inet lab, chain {hook}, handle 2)" in one.verdict.summary


def test_policy_dropped_our_rst(session: Session, lab: Lab) -> None:
    """No rule at all: what the chain does with the rest."""
    begun = time.monotonic_ns()
    chain = "chain c { type filter hook output priority 0; policy drop; tcp flags syn accept; }"
    lab.prepare("server", "nft", "-f", "-", input=f"table inet lab {{\n{chain}\n}}\n")
    client, before = lab.socket("client"), lab.out_rsts("server")
    client.setblocking(False)
    client.connect_ex((lab.address["server"], closed_port.PORT))
    lab.wait_for(lambda: lab.out_rsts("server") > before, "the server's answer")
    client.close()
    one = sent(session, lab.netns["server"], begun)
    assert "(table inet lab, chain c)" in one.verdict.summary
    assert "rule: table inet lab, chain c: policy drop" in one.verdict.evidence
