"""Once everything is attached the trace gives up its rights, and still does its work."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from rsttrace.lab import tcp
from rsttrace.lab.net import Lab
from rsttrace.privileges import CAP_BPF, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE

from .conftest import NOBODY, Running, Starter, both_ends, environment, knock, rsttrace
from .test_lost import flood, small

pytestmark = pytest.mark.kernel

KEPT = 1 << CAP_DAC_READ_SEARCH | 1 << CAP_SYS_PTRACE | 1 << CAP_BPF
OTHER_UID = 54321


def status(running: Running) -> list[dict[str, str]]:
    """/proc/PID/task/*/status: rights belong to threads."""
    found = []
    for file in Path(f"/proc/{running.pid}/task").glob("*/status"):
        lines = (line.partition(":") for line in file.read_text().splitlines())
        found.append({name: value.strip() for name, _, value in lines})
    return found


def dropped(running: Running) -> list[dict[str, str]]:
    """The same once the rights are gone, which is shortly after the ready file."""
    running.wait_for(lambda: status(running)[0]["NoNewPrivs"] == "1", "rights given up")
    return status(running)


def four(uid: int) -> str:
    """Real, effective, saved and file system id."""
    return "\t".join([str(uid)] * 4)


def test_rights(start: Starter, lab: Lab) -> None:
    """Every thread: user nobody, no groups, three capabilities, and no way to get more."""
    trace = start.trace("-j", *both_ends(lab))
    threads = dropped(trace)
    assert threads
    for thread in threads:
        assert thread["Uid"] == thread["Gid"] == four(NOBODY)
        assert thread["Groups"] == ""
        assert int(thread["CapEff"], 16) == int(thread["CapPrm"], 16) == KEPT
        assert int(thread["CapInh"], 16) == int(thread["CapAmb"], 16) == 0
        assert thread["NoNewPrivs"] == "1"
    assert os.readlink(f"/proc/{trace.pid}/cwd") == "/"
    assert trace.stop().clean().code == 0


@pytest.mark.parametrize(
    ("sudo", "uid", "gid"),
    [
        ({"SUDO_UID": "12345", "SUDO_GID": "12346"}, 12345, 12346),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, NOBODY, NOBODY),
        ({"SUDO_UID": "12345"}, NOBODY, NOBODY),
        ({"SUDO_UID": "x", "SUDO_GID": "y"}, NOBODY, NOBODY),
        ({"SUDO_UID": "-1", "SUDO_GID": "-1"}, NOBODY, NOBODY),
        ({"SUDO_UID": "99999999999", "SUDO_GID": "1"}, NOBODY, NOBODY),
    ],
    ids=["sudo", "root", "no group", "words", "minus one", "too big"],
)
def test_the_caller_of_sudo(start: Starter, sudo: dict[str, str], uid: int, gid: int) -> None:
    """It becomes who called sudo; never root, and never keeps its rights for a strange number."""
    trace = start.trace("-q", env=environment(**sudo))
    for thread in dropped(trace):
        assert thread["Uid"] == four(uid)
        assert thread["Gid"] == four(gid)
        assert int(thread["CapEff"], 16) == KEPT
    assert trace.stop().clean().code == 0


def test_names_the_owner(start: Starter, lab: Lab) -> None:
    """A process of another user, which shut down but still holds the socket: its name is in
    /proc/PID/fd only, which nobody may look into without those rights."""
    listener = lab.listen()
    listener.settimeout(None)

    def other_user() -> None:
        sock, _ = listener.accept()
        Path("/proc/self/comm").write_text("other-user")
        os.setresuid(OTHER_UID, OTHER_UID, OTHER_UID)
        sock.sendall(b"r")
        tcp.wait_readable(sock, 2)
        sock.shutdown(socket.SHUT_RDWR)
        signal.pause()

    pid = lab.spawn("server", other_user)
    trace = start.trace("-j", *both_ends(lab))
    dropped(trace)
    client = lab.connect(listener)
    lab.wait_readable(client)
    client.sendall(b"go")
    lab.wait_state(client, "CLOSE_WAIT")
    client.sendall(b"more")
    lab.wait_state(client, "CLOSE")
    trace.wait_resets(2)
    sent = trace.stop().clean().resets[0]
    assert sent["cause"] == "data-after-close"
    assert sent["process"]["pid"] == pid
    assert sent["process"]["comm"] == "other-user"
    assert sent["process"]["role"] == "owner"
    assert "python" in sent["process"]["exe"]


def test_notices_loss(start: Starter, lab: Lab) -> None:
    """The counters of lost records stay readable."""
    trace = small(start, lab, "-j")
    dropped(trace)
    flood(trace, lab)
    trace.wait_for(lambda: '"type": "lost"' in trace.text("out"), "the loss")
    assert trace.stop().clean().objects[-1]["lost"] > 0


def test_writes_the_recording(start: Starter, lab: Lab, tmp_path: Path) -> None:
    """Into a directory that only root may enter: the file was open before."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    file = private / "out.rec"
    trace = start.trace("-j", "--record", str(file), *both_ends(lab))
    dropped(trace)
    knock(lab, 8080)
    trace.wait_resets(2)
    live = trace.stop().clean()
    again = rsttrace("explain", "-j", str(file)).clean()
    assert again.code == 0
    assert [r["cause"] for r in again.resets] == [r["cause"] for r in live.resets]
