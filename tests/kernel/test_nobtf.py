"""The running kernel with /sys/kernel/btf hidden: what needs no offsets still works, and nothing is
told as certain that is not so."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsttrace.kernel import features, formats, loader, tracefs
from rsttrace.kernel.features import HOOKS, NOT_IN_EVENTS
from rsttrace.lab import labs
from rsttrace.lab.base import LabSpec
from rsttrace.lab.net import Lab
from rsttrace.lab.runner import FAMILY_NAMES, run_lab
from rsttrace.session import Session

from .conftest import (
    Starter,
    abort,
    both_ends,
    in_private_mounts,
    inode,
    knock,
    live_session,
    python,
    rsttrace,
)

pytestmark = pytest.mark.kernel

NO_BTF = in_private_mounts("mount -t tmpfs none /sys/kernel/btf")
USED = [hook for hook in HOOKS if hook not in NOT_IN_EVENTS]
BY_TCP = ("tcp-active", "tcp-passive")
ONE_OF_EACH = list({spec.cause: spec for spec in labs() if not spec.global_limit}.values())


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One trace for all labs, by the events' own fields."""

    def without(source: str) -> features.Features:
        return features.examine(source, Path("/nonexistent/vmlinux"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "examine", without)
        with live_session() as live:
            live.warm_up()
            yield live


@pytest.mark.parametrize("number", range(len(ONE_OF_EACH)), ids=[s.name for s in ONE_OF_EACH])
def test_lab(session: Session, number: int) -> None:
    """Nothing is certain and something else; what TCP sends is told, as often as it is counted."""
    spec = ONE_OF_EACH[number]
    family = spec.families[number % len(spec.families)]
    outcome = run_lab(session, spec, family)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    promised = {(one.direction, one.cause) for one in spec.expect}
    for one in outcome.explained:
        verdict = one.verdict
        assert verdict.confidence != "certain" or (one.reset.direction, verdict.cause) in promised
        assert one.reset.direction in ("sent", "received", "none")
        assert one.reset.packet is None
        assert verdict.initiator != "middlebox"
    sent = sum(one.count for one in outcome.explained if one.reset.maker in BY_TCP)
    if session.kernel.features.enums["sk_rst_reason"]:
        assert sent == outcome.out_rsts
    else:  # before 6.10 it is silent about strays
        assert sent <= outcome.out_rsts


def lab_named(name: str) -> LabSpec:
    return next(spec for spec in labs() if spec.name == name)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_active_reset(session: Session, family: int) -> None:
    """The stack and the history tell: who, what, in which state; and which namespace it was."""
    outcome = run_lab(session, lab_named("linger-zero/established"), family)
    sent = next(one for one in outcome.explained if one.reset.direction == "sent")
    assert (sent.verdict.cause, sent.verdict.confidence) == ("linger-zero", "likely")
    assert sent.verdict.missing
    assert sent.reset.state_before == "ESTABLISHED"
    assert sent.facts.actor
    assert sent.facts.netns_name
    got = next(one for one in outcome.explained if one.reset.direction == "received")
    assert (got.verdict.cause, got.reset.state, got.verdict.errno) == (
        *("peer-reset", "ESTABLISHED"),
        "ECONNRESET",
    )
    assert got.verdict.confidence != "certain"


def test_abort_without_a_reset(session: Session) -> None:
    """The event names no socket: it is that of the connection which ends in the same act."""
    outcome = run_lab(session, lab_named("icmp-unreachable/host-unreachable"), socket.AF_INET)
    (one,) = outcome.explained
    assert (one.reset.direction, one.verdict.cause) == ("none", "icmp-unreachable")
    assert one.reset.state_before == "SYN_SENT"
    assert one.verdict.errno == "EHOSTUNREACH"


def test_data_after_shutdown_is_no_received_reset(session: Session) -> None:
    """Row P7: tcp_receive_reset speaks, but no RST came."""
    outcome = run_lab(session, lab_named("data-after-close/shutdown-both"), socket.AF_INET)
    server = [one for one in outcome.explained if one.reset.flow.netns != 0]
    assert [one.reset.direction for one in server].count("sent") == 1
    sent = next(one for one in server if one.reset.direction == "sent")
    assert sent.reset.unread_judgement
    assert sent.verdict.cause == "insufficient-data"


# -- the commands


def test_trace(lab: Lab, start: Starter) -> None:
    """A connection from before the trace, and one within it."""
    client, server = lab.pair()
    running = start.trace("-j", *both_ends(lab), prefix=NO_BTF)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()
    lab.wait_reset(client)
    abort(lab)
    running.wait_resets(4)
    done = running.stop().clean()
    assert done.code == 0
    assert "It has no BTF" in done.err
    begin = done.objects[0]
    assert begin["hooks"] == USED
    assert begin["missing_hooks"] == begin["missing_members"] == []
    assert "btf" in begin["gaps"]
    told = {(r["direction"], r["cause"], r["state_before"]) for r in done.resets}
    assert told == {
        ("sent", "linger-zero", "ESTABLISHED"),
        ("received", "peer-reset", "ESTABLISHED"),
    }
    assert {r["netns"]["inode"] for r in done.resets} <= {0, None, *lab.netns.values()}
    assert done.objects[-1]["completeness"]["missing"] == 0


def test_listeners_other_end_is_not_known(lab: Lab, start: Starter) -> None:
    """It is told all the same, also where a filter asks for that end."""
    listener = lab.listen()
    port = listener.getsockname()[1]
    running = start.trace("-j", "-a", lab.address["client"], "-L", str(port), prefix=NO_BTF)
    lab.send_segment("client", (40000, port), 0x10, 1000, 2000)
    running.wait_resets(1)
    (one,) = running.stop().clean().resets
    assert (one["cause"], one["state"]) == ("insufficient-data", "LISTEN")
    assert one["local"] == {"address": lab.address["server"], "port": port}
    assert one["remote"] == {"address": "0.0.0.0", "port": 0}


def test_namespace_filter(lab: Lab, start: Starter) -> None:
    """The kernel cannot tell, so it is done with what was found out."""
    running = start.trace("-j", "-N", inode(lab, "client"), prefix=NO_BTF)
    lab.wait_for(lambda: "gaps" in running.text("out"), "the first line")
    knock(lab, 81)
    running.wait_resets(1)
    found = running.stop().clean().resets
    known = [one for one in found if one["netns"]["inode"]]
    assert {one["direction"] for one in known} <= {"received"}


def test_diagnose_a_command() -> None:
    """Which processes it starts is known without BTF, too."""
    knocks = "import socket; socket.socket().connect_ex(('127.0.0.1', 1))"
    script = f'{sys.executable} -c "{knocks}"; true'
    done = rsttrace("diagnose", "--", "sh", "-c", script, prefix=NO_BTF).clean()
    assert done.code == 0, done.err
    assert "127.0.0.1:1 refused" in done.out
    assert "does not describe its types (no BTF)" in done.out


def test_doctor() -> None:
    """It can trace, and one line says what is missing, what that costs and what mends it."""
    done = rsttrace("doctor", prefix=NO_BTF).clean()
    assert done.code == 0
    assert done.out.count("MISSING BTF: this kernel describes no types") == 1
    assert "CONFIG_DEBUG_INFO_BTF=y" in done.out
    assert f"{len(USED)} of {len(HOOKS)} tracepoints can be used" in done.out
    assert f"{len(USED)} programs compiled, loaded and attached" in done.out
    assert "needed to trace\n" in done.out
    assert not any(f"MISSING {hook}" in done.out for hook in HOOKS)


def test_nothing_stays_mounted() -> None:
    """tracefs is mounted for one thread, if it has to be; this process never sees it."""
    before = Path("/proc/self/mounts").read_text()
    script = (
        "from rsttrace.kernel import loader; kernel = loader.Kernel(loader.prepare()); "
        "assert kernel.features.no_btf; kernel.close(); "
        "print(open('/proc/self/mounts').read().count('tracefs'))"
    )
    done = python(script, prefix=NO_BTF).clean()
    assert done.code == 0, done.err
    assert int(done.out) == before.count("tracefs")
    assert Path("/proc/self/mounts").read_text() == before


def test_neither_btf_nor_events() -> None:
    """Exit 3 and both reasons in a line."""
    prefix = in_private_mounts("mount -t tmpfs none /sys/kernel")
    rsttrace("-d", "1", prefix=prefix).failed(3, "describes no types", "events cannot be read")
    doctor = rsttrace("doctor", prefix=prefix).clean()
    assert doctor.code == 3
    assert "mount -t tracefs" in " ".join(doctor.out.split())


def test_formats_of_this_kernel() -> None:
    """Every event in use has its fields, and BTF gives the same names for reasons."""
    texts = tracefs.reading(formats.read)
    assert set(formats.usable(texts)) == set(formats.EVENTS) & set(texts)
    known = features.probe("").enums
    for enum, names in formats.enums(texts).items():
        assert {n: known[enum].get(n) for n in names if names[n] != "MAX"} == {
            n: name for n, name in names.items() if name != "MAX"
        }
        assert bool(names) == bool(known[enum])
