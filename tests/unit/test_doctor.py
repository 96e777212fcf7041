"""What doctor says of hosts that were made up."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsttrace import doctor, toml
from rsttrace.cli import run
from rsttrace.doctor import program, rights, surroundings, text
from rsttrace.doctor.check import CONTEXT, MISSING, NEEDED, NOTE, OK, SURE, Check
from rsttrace.doctor.costs import Cost
from rsttrace.doctor.host import Host
from rsttrace.errors import EXIT_CANNOT_TRACE, EXIT_OK, CannotTrace
from rsttrace.kernel.features import HELPERS, HOOKS, ON_DEMAND, Features
from rsttrace.kernel.gaps import GAPS

ROOT = Path(__file__).resolve().parents[2]
ALL_RIGHTS = (1 << 41) - 1
NEWEST = Features(
    args=dict.fromkeys(HOOKS, 4),
    offsets={("sock", "sk_uid"): 12},
    enums={"sk_rst_reason": {1: "X"}, "skb_drop_reason": {2: "NO_SOCKET", 3: "TCP_RESET"}},
    page_struct_size=64,
    helpers=dict.fromkeys(HELPERS, 1),
    on_demand=tuple(ON_DEMAND),
)
OLD = Features(
    args={h: 2 for h in HOOKS if h != "inet_sk_error_report"},
    offsets={("tcp_sock", "linger2"): None, ("sock", "sk_ino"): None},
    enums={"sk_rst_reason": {}, "skb_drop_reason": {}},
    page_struct_size=64,
    missing_hooks=("inet_sk_error_report",),
)
SYMBOLS = "ffffffff81000000 T _stext\n"
HIDDEN = "0000000000000000 T _stext\n0000000000000000 t more\n"


class World:
    """A host whose files are in a directory, and whose kernel is what a test says."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, monkeypatch
        self.write("proc/kallsyms", SYMBOLS)
        self.write("proc/sys/kernel/kptr_restrict", "1\n")
        self.write("proc/sys/kernel/perf_event_paranoid", "2\n")
        self.write("proc/sys/kernel/perf_event_mlock_kb", "516\n")
        self.write("proc/mounts", "none /sys/kernel/tracing tracefs rw 0 0\n")
        self.capabilities(ALL_RIGHTS)
        self.set(rights.loader, "check_rights", lambda: None)
        bcc = SimpleNamespace(__file__="/x/bcc/__init__.py", __version__="0.26.0")
        self.set(program.loader, "import_bcc", lambda: bcc)
        self.set(program.loader, "prepare", lambda: None)
        loaded = SimpleNamespace(hooks=tuple(HOOKS), close=lambda: None)
        self.set(program.loader, "Kernel", lambda _prepared: loaded)
        self.set(surroundings, "all_namespaces", lambda: [(1, "/proc/1/ns/net")])
        self.set(surroundings, "has_nf_tables", lambda: True)
        self.set(surroundings, "_tool", lambda name: f"/usr/sbin/{name}")
        self.host = Host(root)
        self.host.features = NEWEST
        self.host.namespaces_read = frozenset({1})

    def set(self, owner: Any, name: str, value: Any) -> None:
        self.patch.setattr(owner, name, value)

    def write(self, path: str, content: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def link(self, path: str, target: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def capabilities(self, mask: int) -> None:
        self.write("proc/self/status", f"Name:\tpython3\nCapEff:\t{mask:016x}\n")

    def examine(self) -> dict[str, Check]:
        found = doctor.examine(self.host)
        assert len({one.name for one in found}) == len(found)
        return {one.name: one for one in found}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def refuse(message: str, hint: str = "") -> Any:
    def fail(*_: object) -> None:
        raise CannotTrace(message, hint)

    return fail


# -- the whole


def test_all_is_well(world: World) -> None:
    found = world.examine()
    assert {one.mark for one in found.values()} == {OK}
    assert found["hooks"].text == f"all {len(HOOKS)} tracepoints are there"
    assert found["load"].text == f"{len(HOOKS)} programs compiled, loaded and attached"
    assert text.report(list(found.values())).endswith("\nThis host can trace.")


def test_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.set(doctor, "Host", lambda: world.host)
    assert run(["doctor"]) == EXIT_OK
    out = capsys.readouterr().out
    assert re.findall(r"^\S.*$", out, re.MULTILINE)[1:-1] == list(text.TITLES.values())
    assert run(["doctor", "-j"]) == EXIT_OK
    told = json.loads(capsys.readouterr().out)
    assert (told["type"], told["can_trace"]) == ("doctor", True)
    assert {one["status"] for one in told["checks"]} == {"ok"}
    assert {one["group"] for one in told["checks"]} == {NEEDED, SURE, CONTEXT}
    world.set(rights.loader, "check_rights", refuse("no.", "Run: sudo rsttrace doctor"))
    assert run(["doctor", "-j"]) == run(["doctor"]) == EXIT_CANNOT_TRACE


def test_verbose_says_more(world: World) -> None:
    checks = list(world.examine().values())
    short, long = text.report(checks), text.report(checks, verbose=True)
    assert "CAP_SYS_PTRACE" not in short
    assert "CAP_SYS_PTRACE, to find socket owners" in long
    assert all(f"{hook}: " in long for hook in HOOKS)
    assert set(short.splitlines()) <= set(long.splitlines())


def test_old_kernel_is_no_failure(world: World) -> None:
    world.host.features = OLD
    found = world.examine()
    marks = {name: one.mark for name, one in found.items()}
    assert marks["sk_rst_reason"] == marks["skb_drop_reason"] == marks["members"] == NOTE
    # what stands in for it tells the same
    assert "inet_sk_error_report" not in found
    assert {marks[name] for name in GAPS if name not in ("btf", "unseen-strays")} == {NOTE}
    assert found["hooks"].text == f"{len(HOOKS) - 1} of {len(HOOKS)} tracepoints are there"
    assert found["members"].cost.evidence == ("linger2-expired",)
    assert found["members"].text == "not in this kernel: tcp_sock.linger2"  # sk_ino is replaced
    assert found["functions"].mark == NOTE
    assert {found[hook].mark for hook in ON_DEMAND} == {NOTE}
    assert not any(found[hook].cost for hook in ON_DEMAND)
    end = text.conclusion(list(found.values()))
    assert end == "This host can trace."


def test_hook_without_a_stand_in(world: World) -> None:
    args = {h: n for h, n in OLD.args.items() if h != "inet_sock_set_state"}
    missing = ("inet_sock_set_state", "inet_sk_error_report")
    world.host.features = replace(OLD, args=args, missing_hooks=missing)
    found = world.examine()
    assert found["inet_sk_error_report"].mark == MISSING
    assert found["inet_sk_error_report"].cost.unseen == ("icmp-unreachable", "retransmit-timeout")
    end = text.conclusion(list(found.values()))
    assert "never tells 2 causes (inet_sock_set_state, inet_sk_error_report)" in end


@pytest.mark.parametrize(
    ("owner", "name", "check"),
    [
        (rights.loader, "check_rights", "rights"),
        (program.loader, "import_bcc", "bcc"),
        (program.loader, "prepare", "load"),
    ],
)
def test_what_stops_a_trace(owner: Any, name: str, check: str, world: World) -> None:
    world.set(rights.os, "geteuid", lambda: 1000)
    world.set(owner, name, refuse("it is not there.", "Install it with: apt install it"))
    found = world.examine()
    assert (found[check].mark, found[check].fatal) == (MISSING, True)
    said = text.report(list(found.values())).splitlines()
    assert f"  MISSING {check}: it is not there." in said
    assert "          Install it with: apt install it" in said
    assert said[-1] == f"This host cannot trace yet: {check}. Install it with: apt install it"


def test_without_btf(world: World) -> None:
    del world.host.features
    world.set(doctor.host, "examine", refuse("this kernel describes no types."))
    found = world.examine()
    assert (found["BTF"].mark, found["BTF"].fatal) == (MISSING, True)
    assert "hooks" not in found
    assert found["symbols"].mark == OK


def test_hook_that_is_needed(world: World) -> None:
    args = {h: 3 for h in HOOKS if h != "tcp_send_reset"}
    missing = ("tcp_send_reset",)
    world.host.features = Features(args, {}, NEWEST.enums, 64, missing_hooks=missing)
    check = world.examine()["tcp_send_reset"]
    assert (check.mark, check.fatal, check.group) == (MISSING, True, NEEDED)
    assert "who decided" in check.text


def test_nothing_is_loaded_if_something_else_is_missing(world: World) -> None:
    world.set(rights.loader, "check_rights", refuse("tracing the kernel needs root."))
    world.set(program.loader, "Kernel", lambda _prepared: pytest.fail("it was loaded"))
    assert "load" not in world.examine()


def test_a_check_that_fails_is_told(world: World) -> None:
    def broken(_host: Host) -> Iterator[Check]:
        yield Check("first", OK, "there")
        raise PermissionError(errno.EPERM, "Operation not permitted")

    first, second = doctor.guarded(broken, world.host)
    assert (first.mark, second.mark, second.name) == (OK, NOTE, "broken")
    assert "Operation not permitted" in second.text
    assert not second.fatal


def test_a_load_that_fails_in_its_own_way_is_fatal(world: World) -> None:
    def broken(_prepared: object) -> None:
        raise MemoryError("no more")

    world.set(program.loader, "Kernel", broken)
    check = world.examine()["load"]
    assert (check.mark, check.fatal) == (MISSING, True)
    assert "MemoryError: no more" in check.text


# -- rights


def test_capabilities_that_are_missing(world: World) -> None:
    world.capabilities(1 << rights.CAP_BPF | 1 << rights.CAP_PERFMON | 1 << rights.CAP_IPC_LOCK)
    check = world.examine()["capabilities"]
    assert check.mark == MISSING
    assert "CAP_SYS_PTRACE" in check.text
    assert "CAP_BPF" not in check.text
    assert check.facts["CAP_BPF"] is True
    assert check.facts["CAP_SYSLOG"] is False


def test_sys_admin_stands_for_newer_ones(world: World) -> None:
    world.capabilities(1 << rights.CAP_SYS_ADMIN)
    check = world.examine()["capabilities"]
    assert [name for name, there in check.facts.items() if there] == [
        *("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN")
    ]


def test_root_in_a_container(world: World) -> None:
    world.set(rights.os, "geteuid", lambda: 0)
    world.set(rights.loader, "check_rights", refuse("needs root.", "Run: sudo rsttrace doctor"))
    check = world.examine()["rights"]
    assert "container" in check.text
    assert "sudo" not in check.remedy


@pytest.mark.parametrize(
    ("link", "told"), [("user:[4026531837]", False), ("user:[4026532000]", True), (None, False)]
)
def test_rootless_container(link: str | None, told: bool, world: World) -> None:
    if link:
        world.link("proc/self/ns/user", link)
    found = world.examine()
    assert ("user namespace" in found) == told
    assert text.can_trace(list(found.values())) != told


UNLIMITED = rights.resource.RLIM_INFINITY
LOADING = 1 << rights.CAP_BPF | 1 << rights.CAP_PERFMON


@pytest.mark.parametrize(
    ("mask", "limit", "paranoid", "counted", "mark"),
    [
        (ALL_RIGHTS, 65536, 2, False, OK),
        (LOADING, 65536, 2, True, MISSING),  # perf_mmap() would refuse
        (LOADING, 65536, -1, True, OK),
        (LOADING, 65536, -1, False, MISSING),  # before 5.11
        (LOADING, 1 << 40, 2, True, OK),
        (LOADING, UNLIMITED, 2, False, OK),
        (LOADING | 1 << rights.CAP_IPC_LOCK, 65536, 2, True, OK),
        (LOADING | 1 << rights.CAP_IPC_LOCK, 65536, 2, False, MISSING),
        (0, 65536, 2, False, None),
    ],
)
def test_memory(
    mask: int, limit: int, paranoid: int, counted: bool, mark: str | None, world: World
) -> None:
    world.capabilities(mask)
    world.write("proc/sys/kernel/perf_event_paranoid", f"{paranoid}\n")
    world.set(rights.resource, "getrlimit", lambda _what: (limit, limit))
    world.set(rights, "_counted_by_cgroup", lambda: counted)
    check = world.examine().get("memory")
    assert (check.mark if check else None) == mark
    if mark == MISSING:
        assert "ulimit -l" in check.remedy  # type: ignore[union-attr]


# -- the program


def test_versions_are_those_of_the_package(world: World) -> None:
    """The oldest ones that doctor accepts are the ones that pip would."""
    project = toml.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = {**program.LIBRARIES, program.NETLINK: program.OLDEST_NETLINK}
    named = {f"{name}>={'.'.join(map(str, version))}" for name, version in oldest.items()}
    assert named == {one for one in project["dependencies"] if not one.startswith("tomli")}


@pytest.mark.parametrize(("name", "group"), [("tabulate", NEEDED), ("pyroute2", CONTEXT)])
@pytest.mark.parametrize("version", ["0.0.1", "0.5", None])
def test_library(name: str, group: str, version: str | None, world: World) -> None:
    real = metadata.version

    def told(asked: str) -> str:
        if asked != name:
            return real(asked)
        if version is None:
            raise metadata.PackageNotFoundError(asked)
        return version

    world.set(program.metadata, "version", told)
    found = world.examine()
    assert (found[name].mark, found[name].group) == (MISSING, group)
    assert f"apt install python3-{name}" in found[name].remedy
    assert bool(found[name].cost.advice) == (name == "pyroute2")
    assert not found[name].fatal


# -- the kernel


@pytest.mark.parametrize(
    ("mode", "mark", "fatal"),
    [
        ("[none] integrity confidentiality\n", OK, False),
        ("none [integrity] confidentiality\n", OK, False),
        ("none integrity [confidentiality]\n", MISSING, True),
        (None, OK, False),
    ],
)
def test_lockdown(mode: str | None, mark: str, fatal: bool, world: World) -> None:
    if mode:
        world.write("sys/kernel/security/lockdown", mode)
    check = world.examine()["lockdown"]
    assert (check.mark, check.fatal) == (mark, fatal)


@pytest.mark.parametrize(
    ("restrict", "paranoid", "mask", "remedy"),
    [
        ("2", "2", ALL_RIGHTS, "sysctl kernel.kptr_restrict=1"),
        ("1", "2", 0, "sudo rsttrace doctor"),
        ("0", "2", 0, "sysctl kernel.perf_event_paranoid=1"),
        ("0", "1", ALL_RIGHTS, "/proc/kallsyms has no addresses"),
        (None, None, 0, "sudo rsttrace doctor"),
    ],
)
def test_hidden_symbols(
    restrict: str | None, paranoid: str | None, mask: int, remedy: str, world: World
) -> None:
    world.write("proc/kallsyms", HIDDEN)
    world.capabilities(mask)
    for name, value in (("kptr_restrict", restrict), ("perf_event_paranoid", paranoid)):
        world.write(f"proc/sys/kernel/{name}", value or "")
    check = world.examine()["symbols"]
    assert (check.mark, check.fatal) == (MISSING, False)
    assert remedy in check.remedy
    assert "linger-zero" in check.cost.unknown
    assert check.facts == {"kptr_restrict": int(restrict) if restrict else None, "addresses": False}


def test_no_kallsyms_at_all(world: World) -> None:
    (world.root / "proc/kallsyms").unlink()
    assert world.examine()["symbols"].mark == MISSING


def test_tracefs_is_not_needed(world: World) -> None:
    assert world.examine()["tracefs"].text == "mounted at /sys/kernel/tracing (not needed)"
    world.write("proc/mounts", "proc /proc proc rw 0 0\n")
    assert world.examine()["tracefs"].mark == NOTE


# -- the surroundings


@pytest.mark.parametrize(
    ("read", "mark"), [(frozenset({1}), OK), (frozenset(), MISSING), (None, MISSING)]
)
def test_helper_process(read: frozenset[int] | None, mark: str, world: World) -> None:
    world.host.namespaces_read = read
    found = world.examine()
    assert found["helper process"].mark == mark
    assert bool(found["helper process"].cost.advice) == (mark == MISSING)
    assert found["namespaces"].mark == (OK if mark == OK else NOTE)


def test_namespaces(world: World) -> None:
    world.set(
        surroundings,
        "all_namespaces",
        lambda: [(1, "/proc/1/ns/net"), (2, "/run/netns/blue"), (3, "/proc/7/ns/net")],
    )
    check = world.examine()["namespaces"]
    assert check.facts == {"seen": 3, "read": 1, "named": ["blue"]}
    assert check.text == "3 network namespaces seen, 1 with a name, 1 can be entered"
    assert check.more == ("named: blue",)


def test_own_pid_namespace(world: World) -> None:
    world.link("proc/self/ns/pid", "pid:[4026532111]")
    check = world.examine()["processes"]
    assert check.mark == MISSING
    assert "--pid=host" in check.remedy


@pytest.mark.parametrize(
    ("option", "mask", "mark"),
    [
        ("hidepid=2", 0, NOTE),
        ("hidepid=invisible", 0, NOTE),
        ("hidepid=2", ALL_RIGHTS, OK),
        ("hidepid=0", 0, OK),
        ("hidepid=2 0 0\nproc /proc proc rw", 0, OK),  # another one on top
        ("relatime", 0, OK),
    ],
)
def test_hidepid(option: str, mask: int, mark: str, world: World) -> None:
    world.capabilities(mask)
    world.write("proc/mounts", f"proc /proc proc rw,{option} 0 0\n")
    assert world.examine()["processes"].mark == mark


def test_container_runtimes(world: World) -> None:
    assert world.examine()["containers"].text == "no runtime found"
    (world.root / "run/containerd").mkdir(parents=True)
    (world.root / ".dockerenv").touch()
    check = world.examine()["containers"]
    assert check.text == "containerd (/run/containerd); this may be the inside of one (/.dockerenv)"
    assert check.facts == {"runtimes": ["containerd"], "inside": True}


@pytest.mark.parametrize(
    ("modern", "legacy", "installed", "missing"),
    [
        (True, "", {"nft", "iptables-save"}, []),
        (True, "", {"nft"}, ["iptables-save"]),
        (True, "", {"nft", "iptables-nft-save"}, []),
        (False, "", {"nft"}, []),
        (False, "", set(), ["nft"]),
        (True, "filter\n", {"nft", "iptables-nft-save"}, ["iptables-legacy-save"]),
    ],
)
def test_tools_that_tell_rules(
    modern: bool, legacy: str, installed: set[str], missing: list[str], world: World
) -> None:
    world.set(surroundings, "has_nf_tables", lambda: modern)
    world.set(surroundings, "_tool", lambda name: name if name in installed else None)
    world.write("proc/net/ip_tables_names", legacy)
    check = world.examine()["nft"]
    assert check.facts["missing"] == missing
    in_use = modern or bool(legacy)
    assert check.mark == (OK if not missing else MISSING if in_use else NOTE)


def test_conntrack(world: World) -> None:
    assert world.examine()["conntrack"].text.startswith("not loaded")
    world.write("proc/sys/net/netfilter/nf_conntrack_count", "12\n")
    world.write("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
    assert world.examine()["conntrack"].text == "tracks connections: 12 of at most 65536"


def test_suggested_commands(world: World) -> None:
    world.set(surroundings, "_tool", lambda name: None if name == "tcpdump" else name)
    check = world.examine()["tools"]
    assert check.mark == NOTE
    assert check.facts == {"missing": ["tcpdump"]}


# -- words


def worst(world: World) -> list[Check]:
    """A host on which nearly everything is missing."""
    world.capabilities(0)
    world.write("proc/kallsyms", HIDDEN)
    world.write("proc/mounts", "proc /proc proc rw,hidepid=2 0 0\n")
    world.host.features = OLD
    world.host.namespaces_read = None
    world.set(surroundings, "_tool", lambda name: None)
    world.set(rights.loader, "check_rights", refuse("needs root.", "Run: sudo rsttrace doctor"))
    world.set(rights.os, "geteuid", lambda: 1000)
    bcc = "Install it with: apt install python3-bpfcc"
    world.set(program.loader, "import_bcc", refuse("the Python module bcc is missing.", bcc))
    return list(world.examine().values())


@pytest.mark.parametrize("verbose", [False, True])
def test_fits_80_columns(verbose: bool, world: World) -> None:
    report = text.report(worst(world), verbose)
    assert max(map(len, report.splitlines())) <= 80
    assert len(report.splitlines()) > 40


def test_conclusion_begins_with_what_comes_first(world: World) -> None:
    checks = worst(world)
    assert text.conclusion(checks) == (
        "This host cannot trace yet: rights, bcc. Begin with rights. Run: sudo rsttrace doctor"
    )


def test_conclusion_names_what_costs_most() -> None:
    checks = [
        Check("small", MISSING, "", "mend small", cost=Cost(unseen=("a",))),
        Check("big", MISSING, "", "mend big", cost=Cost(unknown=("b", "c"))),
        Check("biggest", MISSING, "", "", cost=Cost(unknown=("d", "e", "f"))),
        Check("fine", OK, "", "never told"),
    ]
    assert text.conclusion(checks) == (
        "This host can trace, but never tells 6 causes (small, big, biggest). "
        "Begin with big. mend big"
    )
    assert text.conclusion([Check("nft", MISSING, "", "apt install nftables")]) == (
        "This host can trace, but could tell more (nft). Begin with nft. apt install nftables"
    )


def test_costs_are_short_unless_asked(world: World) -> None:
    names = tuple(f"cause-number-{n}" for n in range(9))
    check = Check("x", MISSING, "gone", cost=Cost(unknown=names, unseen=("only-one",)))
    short, long = text.report([check]), text.report([check], verbose=True)
    assert "9 causes never told: cause-number-0, cause-number-1, ..." in short
    assert "1 cause never seen: only-one" in short
    assert all(name in long for name in names)
    assert text.document([check])["checks"][0]["costs"]["insufficient_data"] == list(names)


def test_nothing_a_host_says_commands_a_terminal(world: World) -> None:
    evil = Check("x", OK, "\x1b[31mred", "\x07bell", more=("\x1b]0;title",))
    assert not re.search("[\x00-\x09\x0b-\x1f]", text.report([evil], verbose=True))


def test_real_host_without_rights_or_with() -> None:
    """Whoever runs this test: every check says something, none fails."""
    found = doctor.examine(Host())
    assert not [one for one in found if "could not be looked at" in one.text]
    assert {one.group for one in found} == {NEEDED, SURE, CONTEXT}
    assert os.uname().release in text.report(found)
