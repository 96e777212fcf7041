"""vagrant/ without Vagrant: the machines, the scripts, and every command that the README names."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from rsttrace.causes import catalogue
from rsttrace.causes.lookup import find_word
from rsttrace.cli import cli
from rsttrace.lab import find

ROOT = Path(__file__).parents[2]
VAGRANT = ROOT / "vagrant"
VAGRANTFILE = (VAGRANT / "Vagrantfile").read_text()
README = (VAGRANT / "README.md").read_text()
MACHINES = dict(re.findall(r'^  "(\w+)" => "([^"]+)",$', VAGRANTFILE, re.MULTILINE))
SEVEN = ["debian11", "debian12", "debian13", "ubuntu2204", "ubuntu2404", "fedora", "rocky9"]


def commands() -> list[str]:
    """Every ``rsttrace ...`` of the README: indented lines, and words in backticks."""
    spans = re.findall(r"`([^`\n]+)`", README)
    lines = re.findall(r"^ {4,}(.*)$", README, re.MULTILINE)
    quoted = [inner for text in lines for inner in re.findall(r"-c '([^']*)'", text)]
    found = set()
    for text in (*spans, *lines, *quoted):
        match = re.match(r"(?:sudo )?(rsttrace(?: [^>|;]*)?)$", re.sub(r" 2?>.*", "", text))
        if match:
            found.add(match.group(1))
    return sorted(found)


def parse(line: str) -> tuple[str, dict[str, Any]]:
    """The command that a line names, and its parameters as click takes them."""
    words = shlex.split(line)[1:]
    if not words or words[0].startswith("-"):
        words = ["trace", *words]
    command: click.Command = cli
    names = []
    while isinstance(command, click.Group):
        names.append(words.pop(0))
        child = command.get_command(click.Context(command), names[-1])
        assert child is not None, line
        command = child
    return " ".join(names), command.make_context(names[-1], words).params


def test_the_seven_machines_are_there_and_none_starts_by_itself() -> None:
    assert list(MACHINES) == SEVEN
    assert re.findall(r"config\.vm\.define (.*) do", VAGRANTFILE) == ["name, autostart: false"]


def test_the_table_of_the_readme_is_that_of_the_vagrantfile() -> None:
    assert dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", README, re.MULTILINE)) == MACHINES


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("sh", "vagrant/provision.sh"),
        ("sh", "vagrant/build-box.sh"),
        ("bash", "tools/vagrant-check.sh"),
    ],
)
def test_script_parses(shell: str, path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    subprocess.run([shell, "-n", str(ROOT / path)], check=True)


@pytest.mark.skipif(not shutil.which("ruby"), reason="no ruby here")
def test_vagrantfile_parses() -> None:
    subprocess.run(["ruby", "-c", str(VAGRANT / "Vagrantfile")], check=True, capture_output=True)


def test_the_readme_has_commands() -> None:
    assert "rsttrace lab run all" in commands()
    assert sum(command.startswith("rsttrace lab run") for command in commands()) >= 8
    assert sum(command.startswith("rsttrace explain") for command in commands()) >= 6


@pytest.mark.parametrize("command", commands())
def test_command_of_the_readme_exists(command: str) -> None:
    path, params = parse(command)
    if path == "lab run":
        unknown = [name for name in params["names"] if name != "all" and not find(name)]
        assert not unknown
    elif path == "explain":
        what = params["what"]
        assert what in catalogue() or find_word(what) or what.endswith(".rec")


def test_causes_in_the_output_shown_exist() -> None:
    shown = re.findall(r"^ {4,}.*?([a-z0-9-]+)  \((?:certain|likely)\)$", README, re.MULTILINE)
    assert len(shown) >= 6
    assert set(shown) <= set(catalogue())


STUBS = {
    # what provision.sh calls, in a directory that comes first on PATH; $LOOK: does sudo find it?
    "sudo": 'shift; case $1 in sh) exit "$LOOK" ;; *) echo "as root: $*" ;; esac',
    "ln": 'echo "ln $*"',
    "cloud-init": "exit 1",
    **dict.fromkeys(("ip", "nft", "iptables", "sysctl"), "exit 0"),
}


@pytest.mark.parametrize("found", [True, False])
def test_provision_makes_sudo_find_rsttrace(tmp_path: Path, found: bool) -> None:
    for name, text in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/install.sh").write_text('echo "install.sh $1 to $PREFIX"\n')
    run = subprocess.run(
        ["sh", str(VAGRANT / "provision.sh"), str(tmp_path)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LOOK": "0" if found else "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert lines[0] == "install.sh install to /usr/local"
    assert lines[-1] == "as root: rsttrace doctor"
    assert ("ln -sfn /usr/local/bin/rsttrace /usr/bin/rsttrace" in lines) == (not found)
