"""OpenSSH's sshd, with the settings that make it reset connections."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from rsttrace.lab.base import Expect, Lab, LabSkip
from rsttrace.lab.servers.program import find_program
from rsttrace.lab.servers.running import CLOSED_FIRST, RESET, Running, connect, start
from rsttrace.lab.tcp import info, linger_zero, settle, wait_state

PORT = 22
SHELL = """
Port {port}
ListenAddress {address}
HostKey /run/host_key
PidFile none
UsePAM no
UseDNS no
{lines}
"""
# sshd gives up root as this user, whom a machine without openssh-server does not have
PASSWD = "root:x:0:0:root:/root:/bin/sh\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
# what newer versions run for each connection; older ones do not know the options
PARTS = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
BANNER = b"SSH-2.0-lab\r\n"
# LoginGraceTime, and the up to 4 s that newer versions add by chance
GRACE = 30.0


def sshd(lab: Lab, *lines: str) -> Running:
    """Start it with these lines in sshd_config."""
    program = find_program("sshd")
    options = [*lines, *(f"{option} {path}" for option, path in _parts().items())]
    text = SHELL.format(port=PORT, address=lab.address["server"], lines="\n".join(options))
    files = {"sshd_config": text, "host_key": _host_key(), "passwd": PASSWD, "sshd/empty": ""}
    arguments = ("-D", "-e", "-f", "/run/sshd_config")
    covers = {"passwd": "/etc/passwd"}
    return start(lab, program, *arguments, files=files, covers=covers).wait_listening(PORT)


def _parts() -> dict[str, str]:
    found = {}
    for option, name in PARTS.items():
        with contextlib.suppress(LabSkip):
            found[option] = find_program(name).path
    return found


@functools.cache
def _host_key() -> str:
    program = find_program("ssh-keygen")
    with tempfile.TemporaryDirectory(prefix="rsttrace-lab-") as directory:
        path = Path(directory, "key")
        arguments = (program.path, "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))
        subprocess.run(arguments, env=dict(program.environment), check=True)
        return path.read_text()


def max_startups(lab: Lab) -> None:
    """One more connection than MaxStartups allows, whose first words have come already."""
    running = sshd(lab, "MaxStartups 1")
    first = connect(lab, PORT)
    lab.wait_readable(first)
    os.kill(running.pid, signal.SIGSTOP)  # a busy moment, so that the words come before accept()
    client = connect(lab, PORT)
    client.sendall(BANNER)
    settle(client)
    os.kill(running.pid, signal.SIGCONT)
    wait_state(client, "CLOSE")


def max_startups_late(lab: Lab) -> None:
    """The same, but the client's first words come after sshd has closed."""
    sshd(lab, "MaxStartups 1")
    first = connect(lab, PORT)
    lab.wait_readable(first)
    _speak_too_late(lab)


def login_grace(lab: Lab) -> None:
    """A client waits longer than LoginGraceTime before it says a word."""
    sshd(lab, "LoginGraceTime 1")
    _speak_too_late(lab)


def _speak_too_late(lab: Lab) -> None:
    client = connect(lab, PORT)
    lab.wait_for(lambda: info(client).state == "CLOSE_WAIT", "the end of sshd's patience", GRACE)
    client.sendall(BANNER)
    wait_state(client, "CLOSE")


def not_ssh(lab: Lab) -> None:
    """A client that speaks HTTP: sshd reads its first line, and exits with the rest unread."""
    sshd(lab)
    client = connect(lab, PORT)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    wait_state(client, "CLOSE")


def scan(lab: Lab) -> None:
    """A port scanner connects and resets before sshd has accepted it."""
    running = sshd(lab)
    os.kill(running.pid, signal.SIGSTOP)
    before = lab.counter("server", "EstabResets")
    client = connect(lab, PORT)
    linger_zero(client)
    client.close()
    lab.wait_for(lambda: lab.counter("server", "EstabResets") > before, "the RST at the server")


def _sent(cause: str, *says: str) -> Expect:
    return Expect("sent", cause, end="server", facts={"process.role": "owner"}, says=says)


VARIANTS = {
    "max-startups": (
        (_sent("unread-data-on-close", "sshd[", "MaxStartups"), RESET),
        max_startups,
    ),
    "max-startups-late": (
        (_sent("data-after-close", "sshd[", "MaxStartups"), CLOSED_FIRST),
        max_startups_late,
    ),
    "login-grace": (
        (_sent("data-after-close", "sshd", "LoginGraceTime"), CLOSED_FIRST),
        login_grace,
    ),
    "not-ssh": (
        (_sent("process-exit-unread-data", "sshd", "status 255", "LogLevel"), RESET),
        not_ssh,
    ),
    "scan": (
        (
            Expect("sent", "linger-zero", end="client"),
            Expect(
                "received",
                "connect-and-abort",
                end="server",
                facts={"benign": True, "errno": "ECONNRESET"},
            ),
        ),
        scan,
    ),
}
