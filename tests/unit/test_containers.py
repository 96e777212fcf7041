"""A container by its id or name, with a made-up /proc and /var/lib."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsttrace.enrich import Process
from rsttrace.enrich.containers import DOCKER, PODMAN, find
from rsttrace.errors import EXIT_USAGE, RsttraceError

WEB = "3f2a9c01d4e5" + "ab" * 26
DB = "3f2b" + "c" * 60
POD = "9e" * 32
HOST_NET = 4026531840


class Host:
    """A root directory with proc/ and what docker and podman write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()
        (root / "proc" / "meminfo").write_text("")
        self.process(1, "/init.scope")

    def process(self, pid: int, path: str, netns: int = HOST_NET) -> None:
        base = self.root / "proc" / str(pid)
        (base / "ns").mkdir(parents=True)
        (base / "cgroup").write_text(f"0::{path}\n")
        (base / "ns" / "net").symlink_to(f"net:[{netns}]")

    def docker(self, number: str, name: str) -> None:
        directory = self.root / DOCKER / number
        directory.mkdir(parents=True)
        (directory / "config.v2.json").write_text(json.dumps({"ID": number, "Name": f"/{name}"}))

    def podman(self, file: str, rows: object) -> None:
        directory = self.root / PODMAN
        directory.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(json.dumps(rows))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.process(100, f"/docker/{WEB}", netns=7)
    host.process(101, f"/docker/{WEB}/nested", netns=7)
    host.process(102, f"/docker/{WEB}", netns=8)
    host.process(200, f"/system.slice/docker-{DB}.scope")
    host.process(300, f"/machine.slice/libpod-{POD}.scope/container", netns=9)
    host.process(301, f"/machine.slice/libpod-conmon-{POD}.scope")
    host.process(400, "/lxc.payload.mail/system.slice/cron.service", netns=10)
    host.process(401, "/lxc.monitor.mail")
    return host


def wrong(host: Host, text: str) -> str:
    """The message; it is one line, and the exit code that of wrong usage."""
    with pytest.raises(RsttraceError) as caught:
        find(text, host.root)
    assert caught.value.exit_code == EXIT_USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_by_id(host: Host) -> None:
    for text in (WEB, "3f2a", "3F2A9C", WEB[:12]):
        found = find(text, host.root)
        assert (found.id, found.runtime, found.name) == (WEB, "docker", "")
        assert found.pids == {100, 101, 102}
        assert found.netns == 7
    assert find("3f2a", host.root).words == "docker container 3f2a9c01d4e5"


def test_the_network_of_the_host_is_none_of_its_own(host: Host) -> None:
    assert find(DB[:4], host.root).netns is None


def test_monitors_are_outside(host: Host) -> None:
    found = find("9e9e", host.root)
    assert (found.pids, found.netns, found.runtime) == ({300}, 9, "podman")
    assert find("mail", host.root).pids == {400}


def test_by_names_of_paths(host: Host) -> None:
    found = find("mail", host.root)
    assert (found.id, found.name, found.runtime, found.netns) == ("mail", "mail", "lxc", 10)
    assert found.words == "lxc container mail"


def test_by_names_that_were_written_down(host: Host) -> None:
    host.docker(WEB, "web")
    host.podman("containers.json", [{"id": POD, "names": ["batch"]}, {"id": 3}, "damaged"])
    assert find("web", host.root).id == WEB
    assert find("web", host.root).words == "docker container web (3f2a9c01d4e5)"
    assert find("batch", host.root).id == POD
    assert find("9e9e", host.root).name == "batch"


def test_name_of_a_short_lived_one(host: Host) -> None:
    host.podman("volatile-containers.json", [{"id": POD, "names": ["once"]}])
    assert find("once", host.root).id == POD


def test_a_name_goes_before_an_id(host: Host) -> None:
    host.docker(DB, "3f2a")
    assert find("3f2a", host.root).id == DB


def test_damaged_files_are_passed_over(host: Host) -> None:
    (host.root / DOCKER / WEB).mkdir(parents=True)
    (host.root / DOCKER / WEB / "config.v2.json").write_text("{")
    (host.root / PODMAN).mkdir(parents=True)
    (host.root / PODMAN / "containers.json").write_bytes(b"\xff\xfe")
    assert find("3f2a", host.root).id == WEB


def test_ambiguous(host: Host) -> None:
    host.docker(WEB, "web")
    host.process(500, f"/docker/3f2a{'d' * 60}")
    message = wrong(host, "3f2a")
    assert "fits 2 containers" in message
    assert "web (3f2a9c01d4e5)" in message
    assert "3f2adddddddd" in message


def test_unknown(host: Host) -> None:
    message = wrong(host, "nginx")
    assert "no container has the name or id nginx" in message
    assert "mail" in message
    assert "3f2a9c01d4e5" in message
    assert wrong(host, "3f2")  # three digits say too little
    assert wrong(host, "")


def test_none_at_all(tmp_path: Path) -> None:
    assert "None runs on this host" in wrong(Host(tmp_path), "web")


def test_one_that_does_not_run(host: Host) -> None:
    host.docker("f" * 64, "old")
    assert "does not run" in wrong(host, "old")


def test_many_candidates_are_not_all_listed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for number in range(30):
        host.process(100 + number, f"/docker/{number:064x}")
    assert "and 22 more" in wrong(host, "web")


def test_odd_text_is_printable(host: Host) -> None:
    host.docker(WEB, "a\x1b[31m")
    assert wrong(host, "\x1b[31m").isprintable()


def test_who_belongs_to_it(host: Host) -> None:
    found = find("3f2a", host.root)
    assert found.holds(Process(100, "gone since"))
    assert found.holds(Process(999, "later", cgroup=f"/docker/{WEB}"))
    assert found.holds(Process(999, "inside", cgroup=f"/docker/{WEB}/docker/{DB}"))
    assert not found.holds(Process(999, "other", cgroup=f"/docker/{DB}"))
    assert not find("9e9e", host.root).holds(
        Process(999, "conmon", cgroup=f"/machine.slice/libpod-conmon-{POD}.scope")
    )


def test_processes_that_vanish(host: Host) -> None:
    (host.root / "proc" / "600").mkdir()  # no cgroup any more
    (host.root / "proc" / "200" / "ns" / "net").unlink()
    assert find(DB[:8], host.root).netns is None
