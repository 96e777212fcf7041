"""Filters: what matches is kept, the rest is dropped, and by the programs in the kernel.

One trace for each filter, all at once, over the same resets; that many traces side by side
also shows that they do not disturb each other.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rsttrace.decode import Decoder
from rsttrace.lab import late_segment, tcp
from rsttrace.lab.net import Lab
from rsttrace.recording import Recording

from .conftest import Done, Running, Starter, both_ends, knock

pytestmark = pytest.mark.kernel

Reset = dict[str, Any]
Match = Callable[[Reset, dict[str, int]], bool]


def addresses(one: Reset) -> set[str]:
    """Of both ends."""
    return {one["local"]["address"], one["remote"]["address"]}


def ports(one: Reset) -> set[int]:
    """Of both ends."""
    return {one["local"]["port"], one["remote"]["port"]}


def in_server(one: Reset, names: dict[str, int]) -> bool:
    """Seen in the server's namespace?"""
    return bool(one["netns"]["inode"] == names["server"])


# options with {names} of the scene, and what must be kept
IN_THE_KERNEL: dict[str, Match] = {
    "-4": lambda r, n: r["family"] == 4,
    "-6": lambda r, n: r["family"] == 6,
    "-P 8081": lambda r, n: 8081 in ports(r),
    "-P 9,8000-8080": lambda r, n: 8080 in ports(r),
    "-L 8081": lambda r, n: r["local"]["port"] == 8081,
    "-D 8081": lambda r, n: r["remote"]["port"] == 8081,
    "-a 10.87.0.2": lambda r, n: "10.87.0.2" in addresses(r),
    "-a 0:0:0:0:0:0:0:1": lambda r, n: "::1" in addresses(r),
    "-a ::1 -a 127.0.0.1": lambda r, n: bool(addresses(r) & {"::1", "127.0.0.1"}),
    "-P 8080 -6": lambda r, n: r["family"] == 6 and 8080 in ports(r),
    "-N {server}": in_server,
    "-N {name}": in_server,
    "-N /run/netns/{name}": in_server,
    "-N pid:{child}": in_server,
}
ELSEWHERE: dict[str, Match] = {
    "--sent": lambda r, n: r["direction"] == "sent",
    "--received": lambda r, n: r["direction"] in ("received", "rejected"),
    "-p {child}": lambda r, n: bool(r["process"] and r["process"]["pid"] == n["child"]),
}
FILTERS = {**IN_THE_KERNEL, **ELSEWHERE}
ALL = ""


@dataclass(frozen=True)
class Play:
    """What each trace showed and recorded of the same resets."""

    names: dict[str, int]
    shown: dict[str, list[Reset]]
    recorded: dict[str, list[Reset]]


def abort_when_told(lab: Lab) -> Callable[[], None]:
    """A child in the server's namespace that resets a connection on a byte, and lives on."""
    listener = lab.listen()
    listener.settimeout(None)  # many traces start before it is told

    def child() -> None:
        sock, _ = listener.accept()
        sock.recv(1)
        tcp.linger_zero(sock)
        sock.close()
        signal.pause()

    pid = lab.spawn("server", child)

    def tell() -> None:
        client = lab.connect(listener)
        client.sendall(b"x")
        lab.wait_reset(client)

    tell.pid = pid  # type: ignore[attr-defined]
    return tell


def scene(lab: Lab, tell: Callable[[], None]) -> None:
    """Both families, two ports, both namespaces, two owners, four directions."""
    knock(lab, 8080)
    knock(lab, 8081)
    for address in ("127.0.0.1", "::1"):
        knock(lab, 8080, address, "server")
        knock(lab, 8081, address, "client")
    late_segment.closed_port(lab)
    tell()


def flows(file: Path) -> list[Reset]:
    """Tuples of the records that a recording holds, in the words of the JSON output.

    Listening sockets are recorded always: a hint may need one that the filter would hide.
    """
    recording = Recording(file)
    decoder = Decoder(recording.layout, recording)
    records = [decoder.decode(raw) for batch in recording.batches for raw in batch]
    return [
        {
            "family": r.flow.family,
            "local": {"address": r.flow.local, "port": r.flow.lport},
            "remote": {"address": r.flow.remote, "port": r.flow.rport},
            "netns": {"inode": r.flow.netns},
        }
        for r in records
        if r.flow and r.kind != "inet_sock_set_state"
    ]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Start all traces, play the scene once, stop all."""
    starter = Starter(tmp_path_factory.mktemp("filters"))
    try:
        with Lab(socket.AF_INET) as lab:
            tell = abort_when_told(lab)
            names = {"child": tell.pid, **lab.netns}  # type: ignore[attr-defined]
            traces = start_all(starter, lab, names)
            scene(lab, tell)
            traces[ALL].wait_resets(18)
            done = {options: trace.stop().clean() for options, trace in traces.items()}
        yield Play(
            names,
            {options: one.resets for options, one in done.items()},
            {options: flows(trace.directory / "rec") for options, trace in traces.items()},
        )
    finally:
        starter.kill_all()


def start_all(starter: Starter, lab: Lab, names: dict[str, int]) -> dict[str, Running]:
    """One trace for each filter, limited to our two namespaces unless it says otherwise."""
    traces = {}
    for options in (ALL, *FILTERS):
        text = options.format(name=f"rsttrace-{os.getpid()}-server", **names)
        mine = () if "-N" in options else both_ends(lab)
        record = str(starter.directory / f"run{len(starter.started)}" / "rec")
        traces[options] = starter.soon("-j", "--record", record, *text.split(), *mine)
    for trace in traces.values():
        trace.wait_ready()
    return traces


def identity(one: Reset) -> tuple[object, ...]:
    """The same reset in several traces. Not its cause: a filter may hide the other end."""
    packet, flow = one["packet"], (*one["local"].values(), *one["remote"].values())
    return (one["direction"], one["netns"]["inode"], *flow, packet["seq"], packet["ack"])


@pytest.mark.parametrize("options", FILTERS)
def test_shown(play: Play, options: str) -> None:
    """Of all resets exactly those that match, and there are some that do not."""
    everything = play.shown[ALL]
    wanted = {identity(r) for r in everything if FILTERS[options](r, play.names)}
    assert 0 < len(wanted) < len(everything)
    assert {identity(r) for r in play.shown[options]} == wanted
    assert len(play.shown[options]) == len(wanted)


@pytest.mark.parametrize("options", IN_THE_KERNEL)
def test_dropped_in_the_kernel(play: Play, options: str) -> None:
    """No record of anything else ever reaches user space."""
    match = IN_THE_KERNEL[options]
    assert play.recorded[options]
    assert all(match(flow, play.names) for flow in play.recorded[options])
    assert not all(match(flow, play.names) for flow in play.recorded[ALL])


def test_hooks_of_one_direction(start: Starter, lab: Lab) -> None:
    """--sent and --received do not even attach what they do not need."""
    hooks = {}
    for option in ("--sent", "--received"):
        done: Done = start.trace("-j", option, *both_ends(lab)).stop().clean()
        hooks[option] = set(done.objects[0]["hooks"])
    assert "netif_receive_skb" not in hooks["--sent"]
    assert "tcp_send_reset" not in hooks["--received"]
