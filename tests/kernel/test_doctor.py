"""doctor on this kernel as it is, and with things taken away: in namespaces, or by capabilities.
It says what is missing, changes nothing, and never fails itself."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Done, command, environment, in_private_mounts, python, rsttrace, run

pytestmark = pytest.mark.kernel

AsNobody = Callable[..., Done]
FEW_RIGHTS = "+chown,+dac_override,+net_raw,+sys_chroot"  # some of a container's usual ones
MAY_LOAD = "+bpf,+perfmon,+syslog"
FRESH_PROC = "mount -t proc proc /proc"


def told(done: Done) -> dict[str, dict[str, Any]]:
    """The checks of a run with -j by name."""
    (document,) = done.clean().objects
    assert document["can_trace"] == (done.code == 0)
    return {check["name"]: check for check in document["checks"]}


def text(*argv: str, **options: Any) -> Done:
    """A run for people, which fits an 80-column terminal."""
    done = rsttrace("doctor", *argv, **options).clean()
    assert max(map(len, done.out.splitlines())) <= 80
    return done


def test_this_host() -> None:
    """Everything that tracing needs is here, and the programs really load."""
    done = text()
    assert done.code == 0
    assert re.search(r"^  ok +load: \d+ programs compiled, loaded and attached$", done.out, re.M)
    checks = told(rsttrace("doctor", "-j"))
    assert {c["status"] for c in checks.values() if c["group"] == "needed"} == {"ok"}
    assert checks["hooks"]["facts"]["tcp_send_reset"] is True
    assert checks["helper process"]["status"] == "ok"
    namespaces = checks["namespaces"]["facts"]
    assert namespaces["seen"] >= namespaces["read"] >= 1


def test_changes_nothing() -> None:
    """No module is loaded, nothing is mounted, and no process stays."""

    def state() -> tuple[list[str], str]:
        return sorted(os.listdir("/sys/module")), Path("/proc/self/mounts").read_text()

    before = state()
    script = (
        "import os, sys; from rsttrace.cli import run; code = run(['doctor', '-v']); "
        "children = open(f'/proc/self/task/{os.getpid()}/children').read().split(); "
        "print('children:', children); sys.exit(code)"
    )
    done = python(script).clean()
    assert done.code == 0
    assert done.out.endswith("children: []\n")
    assert state() == before


def test_nobody(as_nobody: AsNobody) -> None:
    """Without any right: the command that gives them, and all the rest is looked at."""
    done = as_nobody("doctor").clean()
    assert done.code == 3
    assert max(map(len, done.out.splitlines())) <= 80
    assert re.search(r"^  MISSING rights: .*\n +Run: sudo rsttrace doctor$", done.out, re.M)
    assert re.search(r"^  ok +bcc: ", done.out, re.M)
    assert re.search(r"^  ok +hooks: ", done.out, re.M)
    assert done.out.splitlines()[-1] == (
        "This host cannot trace yet: rights. Run: sudo rsttrace doctor"
    )


def test_root_with_the_rights_of_a_container() -> None:
    """Its root lacks them: sudo would not help, and is not named."""
    prefix = ("setpriv", f"--bounding-set=-all,{FEW_RIGHTS}", "--inh-caps=-all")
    done = text(prefix=prefix)
    assert done.code == 3
    assert "sudo" not in done.out.splitlines()[-1]
    assert "--privileged" in done.out


def test_rights_that_load_but_cannot_lock(public_copy: Path) -> None:
    """CAP_BPF and CAP_PERFMON alone: the kernel refuses large perf buffers, and doctor says so."""
    prefix = (
        *("prlimit", "--memlock=65536:65536", "setpriv", "--reuid=65534", "--clear-groups"),
        *(f"--inh-caps={MAY_LOAD}", f"--ambient-caps={MAY_LOAD}"),
    )
    executable = os.path.realpath(sys.executable)
    env = environment(PYTHONPATH=str(public_copy))

    def rsttrace_there(*argv: str) -> Done:
        return run([*prefix, executable, "-m", "rsttrace", *argv], env=env, cwd="/")

    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) < 0:
        pytest.skip("kernel.perf_event_paranoid is -1: nothing is refused")
    checks = told(rsttrace_there("doctor", "-j"))
    assert checks["rights"]["status"] == "ok"
    assert (checks["memory"]["status"], checks["memory"]["fatal"]) == ("missing", True)
    assert rsttrace_there("-d", "0.1").code != 0  # and so it is


def test_user_namespace() -> None:
    """Root in there has every capability, over nothing."""
    done = text(prefix=("unshare", "--user", "--map-root-user"))
    assert done.code == 3
    assert "user namespace: this is a rootless container" in done.out


def test_own_pid_namespace() -> None:
    """A container without --pid=host: it traces, but has no names for others."""
    prefix = ("unshare", "--pid", "--fork", *in_private_mounts(FRESH_PROC))
    checks = told(rsttrace("doctor", "-j", prefix=prefix))
    assert checks["processes"]["status"] == "missing"
    assert "--pid=host" in checks["processes"]["remedy"]
    assert checks["load"]["status"] == "ok"


def test_hidepid(public_copy: Path) -> None:
    """Hidden processes are no failure of doctor."""
    prefix = in_private_mounts(f"{FRESH_PROC} -o hidepid=2")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    env = environment(PYTHONPATH=str(public_copy))
    executable = os.path.realpath(sys.executable)
    argv = [*prefix, *nobody, executable, "-m", "rsttrace", "doctor", "-j"]
    checks = told(run(argv, env=env, cwd="/"))
    assert checks["processes"]["status"] == "note"
    assert checks["BTF"]["status"] == "ok"


def test_proc_without_anything() -> None:
    """Not even /proc: it says that it cannot look, and does not fall over; nor would a trace."""
    done = text(prefix=in_private_mounts("mount -t tmpfs none /proc"))
    assert done.code == 3
    assert "MISSING rights: could not be looked at: FileNotFoundError" in done.out


def test_hidden_symbols_and_what_they_cost(tmp_path: Path) -> None:
    """In numbers and names, short and long."""
    file = tmp_path / "kallsyms"
    symbols = Path("/proc/kallsyms").read_text()
    file.write_text(re.sub(r"^[0-9a-f]{16}", "0" * 16, symbols, flags=re.MULTILINE))
    hidden = in_private_mounts(f"mount --bind {file} /proc/kallsyms")
    done = text(prefix=hidden)
    assert done.code == 0
    assert "MISSING symbols: kernel addresses are hidden" in done.out
    assert re.search(r"^ +\d+ causes never told: .*, \.\.\.$", done.out, re.M)
    assert "This host can trace, but never tells" in done.out
    assert re.search(r"never told:[^:]*linger-zero", text("-v", prefix=hidden).out)
    costs = told(rsttrace("doctor", "-j", prefix=hidden))["symbols"]["costs"]
    assert "linger-zero" in costs["insufficient_data"]


def test_a_broken_btf(tmp_path: Path) -> None:
    """It counts as none: what needs it is told once, and a trace works without."""
    file = tmp_path / "vmlinux"
    file.write_bytes(b"garbage" * 100)
    prefix = in_private_mounts(f"mount --bind {file} /sys/kernel/btf/vmlinux")
    done = text(prefix=prefix)
    assert done.code == 0
    assert "MISSING BTF: " in done.out
    assert "helper process: " in done.out


def test_json_is_one_line() -> None:
    done = run(command("doctor", "-j"))
    assert done.out.count("\n") == 1
    document = json.loads(done.out)
    assert set(document) == {
        *("schema", "type", "version", "kernel", "python", "can_trace", "conclusion", "checks")
    }
