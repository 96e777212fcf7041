"""The labs with real servers: their names, and where the programs are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsttrace.advice.known_software import software
from rsttrace.causes import catalogue
from rsttrace.lab import find, labs, server_labs
from rsttrace.lab.base import Expect
from rsttrace.lab.errors import LabSkip
from rsttrace.lab.runner import differences
from rsttrace.lab.servers import program
from rsttrace.lab.servers.program import WHERE, find_program
from rsttrace.lab.servers.running import at

from .build import A2, decided, explained, sent_reset, sock

SERVERS = ("haproxy", "nginx", "python", "sshd")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which the machine's own programs are looked for."""
    monkeypatch.setattr(program, "SYSTEM", str(tmp_path / "bin"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(WHERE, raising=False)
    return tmp_path / "bin"


def test_names() -> None:
    """All servers, one of them, or one lab; none is among the labs of causes."""
    assert {spec.server for spec in server_labs()} == {*SERVERS}
    assert find("servers") == server_labs()
    for server in SERVERS:
        found = find(f"servers/{server}")
        assert len(found) >= 3
        assert {spec.server for spec in found} == {server}
        assert all(find(spec.name) == (spec,) for spec in found)
    assert not {spec.name for spec in labs()} & {spec.name for spec in server_labs()}
    assert find("linger-zero") == tuple(s for s in labs() if s.cause == "linger-zero")


def test_each_is_of_a_cause_and_asserts_what_to_change() -> None:
    for spec in server_labs():
        assert spec.doc
        assert {e.cause for e in spec.expect} <= {*catalogue()}
    silent = {s.name for s in server_labs() if not any(e.says for e in s.expect)}
    assert silent == {"servers/sshd-scan"}  # a scan is harmless: there is nothing to change


def test_every_server_has_its_settings() -> None:
    assert {*SERVERS} <= {one.id for one in software()}


def test_unpacked_packages_come_first(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(elsewhere / "nginx")
    monkeypatch.setenv(WHERE, str(tmp_path / "servers"))
    path = put(tmp_path / "servers/usr/sbin/nginx")
    libraries = tmp_path / "servers/usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    found = find_program("nginx")
    assert found.path == str(path)
    assert found.environment["LD_LIBRARY_PATH"] == str(libraries)


def test_the_machines_own(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the unpacked packages lack it; and without their libraries."""
    path = put(elsewhere / "nginx")
    assert find_program("nginx").path == str(path)
    monkeypatch.setenv(WHERE, str(tmp_path / "servers"))
    found = find_program("nginx")
    assert found.path == str(path)
    assert "LD_LIBRARY_PATH" not in found.environment


def test_not_installed(elsewhere: Path) -> None:
    with pytest.raises(LabSkip, match="nginx, which is not installed"):
        find_program("nginx")


def test_what_must_be_said() -> None:
    """In the summary, or in any remedy."""
    one = explained(sent_reset(decided(A2, sock=sock(flags=16))))
    right = Expect(
        "sent", "linger-zero", end="server", says=("closed the socket", "SO_LINGER {1,0}")
    )
    assert differences(right, one, "server") == []
    wrong = Expect("sent", "linger-zero", end="server", says=("reset_timedout_connection",))
    assert differences(wrong, one, "server") == ["nothing is said of 'reset_timedout_connection'"]


def test_an_address_in_a_configuration_file() -> None:
    assert at("10.87.0.2", 80) == "10.87.0.2:80"
    assert at("fd00:87::2", 80) == "[fd00:87::2]:80"
