"""What the helper answers: namespaces, counters, rules of a firewall, the place of a reset."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rsttrace.enrich import broker
from rsttrace.enrich.answers import counters, firewall, limit, namespaces, place
from rsttrace.enrich.answers.counters import NAMES, counters_in, read_counters
from rsttrace.enrich.answers.firewall import _run, has_nf_tables
from rsttrace.enrich.firewall import Firewall, to_json
from rsttrace.enrich.place import Question
from rsttrace.enrich.rulesets import CommandFailed
from rsttrace.enrich.sources import ORDER

OWN = os.stat("/proc/self/ns/net").st_ino
NOBODYS = 1  # inode number that no namespace has
QUESTION = Question(NOBODYS, 4, "10.0.0.5", 8080, "10.0.0.6", 40000, "eth0", ("settings", "path"))
# what somebody who took over the trace could send where an inode number belongs
NO_INODES: tuple[Any, ...] = (
    "/proc/1/ns/net", "../../etc/passwd", "1; reboot", "$(reboot)", "host", "", "self", None, [],
    [OWN], {}, {"inode": OWN}, -1, 0, 2**70, -(2**70), 0.5, 1e400, float("nan"), True, False,
)  # fmt: skip


# -- namespaces ------------------------------------------------------------------------------------


def test_namespaces() -> None:
    found = list(namespaces.namespaces())
    assert OWN in dict(found)
    assert len(dict(found)) == len(found)
    for inode, path in found:
        assert inode > 0
        assert os.path.isabs(path)


def test_only_namespaces_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that a failed ``ip netns`` left behind has the inode number of something else."""
    (tmp_path / "left").write_text("")
    (tmp_path / "to nowhere").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(namespaces, "PLACES", (str(tmp_path), str(tmp_path / "none")))
    assert not any(path.startswith(str(tmp_path)) for _, path in namespaces.namespaces())


def test_named_namespaces_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process may end before its path is used."""
    (tmp_path / "blue").symlink_to("/proc/self/ns/net")
    monkeypatch.setattr(namespaces, "PLACES", (str(tmp_path),))
    assert next(namespaces.namespaces()) == (OWN, str(tmp_path / "blue"))


def test_enters_no_other_namespace() -> None:
    """The path may lead to another one by now."""
    with pytest.raises(FileNotFoundError):
        namespaces.enter("/proc/self/ns/net", NOBODYS)


def test_leaves_no_file_open() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        namespaces.enter("/proc/self/ns/net", NOBODYS)
    assert os.listdir("/proc/self/fd") == before


def test_problem_of_entering(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[tuple[str, int]] = []
    monkeypatch.setattr(namespaces, "enter", lambda path, inode: entered.append((path, inode)))
    assert namespaces.problem_of_entering(OWN) == ""
    assert entered == [(dict(namespaces.namespaces())[OWN], OWN)]
    assert namespaces.problem_of_entering(NOBODYS) == "the network namespace is gone"
    assert len(entered) == 1

    def refuse(path: str, inode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespaces, "enter", refuse)
    problem = namespaces.problem_of_entering(OWN)
    assert problem == "the network namespace cannot be entered: Operation not permitted"


def test_namespace_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Process 1's; where that is out of reach, the kernel's threads'."""
    for pid in ("1", "2"):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns" / "net").write_text("")
    (tmp_path / "2" / "comm").write_text("kthreadd\n")
    first, second = (os.stat(tmp_path / pid / "ns" / "net").st_ino for pid in ("1", "2"))
    places = dict(zip((f"{tmp_path}/1", f"{tmp_path}/2"), namespaces.HOST.values()))
    monkeypatch.setattr(namespaces, "HOST", places)
    assert namespaces.host() == (first, f"{tmp_path}/1/ns/net")
    (tmp_path / "1" / "ns" / "net").unlink()
    assert namespaces.host() == (second, f"{tmp_path}/2/ns/net")
    (tmp_path / "2" / "comm").write_text("bash\n")  # in a container
    assert namespaces.host() == (0, "")


def test_comes_back_only_if_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rights nobody went anywhere, and nobody may come back."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: pytest.fail("enters"))
    before = os.listdir("/proc/self/fd")
    with namespaces.coming_back():
        pass
    assert os.listdir("/proc/self/fd") == before


# -- nothing of the question is a path or a command ------------------------------------------------


class Entered(Exception):
    """Somebody tried to."""


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may enter a namespace or start a command; there are real ones to be found."""

    def refuse(*_: object, **__: object) -> Any:
        raise Entered

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(firewall, "_run", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("os.posix_spawn", refuse)
    monkeypatch.setattr("os.fork", refuse)


def asks_place(inode: Any) -> Any:
    return place.answer({**asdict(QUESTION), "netns": inode})


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("ask", [firewall.answer, asks_place])
@pytest.mark.parametrize("inode", NO_INODES, ids=repr)
def test_is_no_inode_number(inode: Any, ask: Callable[[Any], Any]) -> None:
    """No answer at all, or that there is no such namespace."""
    try:
        said = ask(inode)
    except Entered:
        raise
    except (TypeError, ValueError, OverflowError):
        return
    problems = said.get("problems", {}).values() or [said.get("problem")]
    assert set(problems) == {"the network namespace is gone"}


@pytest.mark.usefixtures("sealed")
def test_the_seal_holds() -> None:
    """Else the test above cannot fail."""
    for ask in (firewall.answer, asks_place):
        with pytest.raises(Entered):
            ask(OWN)


# -- counters --------------------------------------------------------------------------------------


def test_counters_in() -> None:
    text = "Ip: A B\nIp: 1 2\nTcp: A OutRsts B\nTcp: 1 23218 -3\nUdp: A\nUdp: 1\n"
    assert dict(counters_in(text)) == {"TcpA": 1, "TcpOutRsts": 23218, "TcpB": -3}
    text = "TcpExt: ListenOverflows\nTcpExt: 4\nIpExt: X\nIpExt: 1\n"
    assert dict(counters_in(text)) == {"TcpExtListenOverflows": 4}


@pytest.mark.parametrize(
    "odd",
    ["", "\n", "junk", "Tcp:\n", "Tcp: A\n", "Tcp: A\n\n", "Tcp: A\nTcp: x\n", "Tcp: A\nUdp: 1\n",
     "Tcp: A\nTcp:\n"],
)  # fmt: skip
def test_tables_that_are_odd(odd: str) -> None:
    assert dict(counters_in(odd)) == {}


def test_values_that_are_odd_cost_only_themselves() -> None:
    assert dict(counters_in("Tcp: A B C\nTcp: 1 x 3 4\n")) == {"TcpA": 1, "TcpC": 3}


def test_names_are_those_of_the_kernel() -> None:
    """A misspelt one would be 0 for ever."""
    found = read_counters()
    young = {"TcpExtTCPMigrateReqFailure", "TcpExtTCPRcvQDrop", "TcpExtTCPFastOpenBlackhole"}
    young |= {name for name in NAMES if name.startswith("MPTcpExt")}
    assert set(NAMES) - set(found) <= young
    assert len(set(NAMES)) == len(NAMES)
    assert "TcpOutRsts" in NAMES


def test_counters_without_the_one_that_matters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "snmp").write_text("Tcp: A\nTcp: 1\n")
    monkeypatch.setattr(counters, "FILES", (str(tmp_path / "snmp"),))
    with pytest.raises(ValueError, match="TcpOutRsts"):
        read_counters()


def test_answer_names_the_counters_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = {5: "a", 6: "gone", 7: "odd", 8: "b"}
    inside: list[int] = []

    def enter(path: str, inode: int) -> None:
        if path == "gone":
            raise FileNotFoundError
        inside.append(inode)

    def read() -> dict[str, int]:
        if inside[-1] == 7:
            raise ValueError
        return {"TcpOutRsts": inside[-1], "TcpOther": 9}

    monkeypatch.setattr(counters, "namespaces", lambda: iter(spaces.items()))
    monkeypatch.setattr(counters, "enter", enter)
    monkeypatch.setattr(counters, "read_counters", read)
    begun = time.monotonic_ns()
    said = json.loads(json.dumps(counters.answer(None)))
    assert said["names"] == list(NAMES)
    assert set(said["rows"]) == {"5", "8"}
    for inode, (time_ns, *values) in said["rows"].items():
        assert begun <= time_ns <= time.monotonic_ns()
        assert len(values) == len(said["names"])
        known = dict(zip(said["names"], values))
        assert known.pop("TcpOutRsts") == int(inode)
        assert set(known.values()) == {0}


# -- the place of a reset --------------------------------------------------------------------------


def test_place_is_asked_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Question] = []
    monkeypatch.setattr(place, "problem_of_entering", lambda inode: "")
    monkeypatch.setattr(place, "ask_all", lambda question: asked.append(question) or {"x": 1})
    about = json.loads(json.dumps(asdict(QUESTION)))
    assert place.answer(about) == {"x": 1}
    assert asked == [QUESTION]


def test_place_that_cannot_be_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "problem_of_entering", lambda inode: "why not")
    said = place.answer(asdict(QUESTION))
    assert said.pop("time_ns") <= time.monotonic_ns()
    assert said == {"values": {}, "problems": {"settings": "why not", "path": "why not"}}


@pytest.mark.parametrize(
    "about",
    [None, 7, "x", [], {}, {"wants": []}, {**asdict(QUESTION), "more": 1},
     {**asdict(QUESTION), "wants": None}, {**asdict(QUESTION), "wants": 5}],
    ids=repr,
)  # fmt: skip
def test_place_of_nothing(about: Any) -> None:
    """No answer; the caller of this is a child that may fail."""
    with pytest.raises((TypeError, KeyError)):
        place.answer(about)


@pytest.mark.parametrize("name", ["os", "../x", "_netlink", "__init__", "settings.os", "", None, 1])
def test_no_source_but_the_known(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a question wants, nothing else is imported."""
    monkeypatch.setattr(place, "problem_of_entering", lambda inode: "")
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imports {name}"))
    assert name not in ORDER
    said = place.answer({**asdict(QUESTION), "wants": [name]})
    assert said["values"] == {}
    assert list(said["problems"]) == [name]


# -- the firewall ----------------------------------------------------------------------------------


def test_firewall_of_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def collect(run: Any, nf_tables: bool, legacy: dict[str, bool]) -> Firewall:
        asked.append((run, nf_tables, sorted(legacy)))
        return Firewall(more=("reset",))

    entered: list[int] = []
    monkeypatch.setattr(firewall, "problem_of_entering", lambda inode: entered.append(inode) or "")
    monkeypatch.setattr(firewall, "has_nf_tables", lambda: True)
    monkeypatch.setattr("rsttrace.enrich.rulesets.collect", collect)
    assert firewall.answer(OWN) == to_json(Firewall(more=("reset",)))
    assert entered == [OWN]
    assert asked == [(_run, True, ["ip", "ip6"])]


def test_ruleset_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(*_: object) -> Firewall:
        raise MemoryError

    monkeypatch.setattr(firewall, "problem_of_entering", lambda inode: "")
    monkeypatch.setattr("rsttrace.enrich.rulesets.collect", collect)
    assert firewall.answer(OWN) == to_json(Firewall(problem="the ruleset is too large"))


@pytest.mark.skipif(os.path.exists("/sys/module/nf_tables"), reason="nf_tables is loaded")
def test_nf_tables_that_is_not_loaded(tmp_path: Path) -> None:
    assert has_nf_tables(str(tmp_path))  # no modules: what there is is built in
    directory = tmp_path / os.uname().release
    directory.mkdir()
    (directory / "modules.builtin").write_text("kernel/net/ipv4/tcp_cubic.ko\n")
    assert not has_nf_tables(str(tmp_path))
    (directory / "modules.builtin").write_text("kernel/net/netfilter/nf_tables.ko\n")
    assert has_nf_tables(str(tmp_path))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "tool: failed"),
        ("echo no such table >&2; exit 1", "tool: no such table"),
        ("sleep 60", "tool took too long"),
        (None, "tool is not installed"),
    ],
)
def test_command_that_fails(
    script: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "left", lambda: 0.3)
    path = f"{tmp_path}:/usr/bin:/bin"
    monkeypatch.setattr(broker, "ENVIRONMENT", {"PATH": path})
    if script:
        tool = tmp_path / "tool"
        tool.write_text(f"#!/bin/sh\n{script}\n".replace("sleep", "exec sleep"))
        tool.chmod(0o755)
    with pytest.raises(CommandFailed, match=f"^{says}$"):
        _run(("tool",))


def test_output_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of our environment or input; bytes that are no text do no harm."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\ncat; echo $HOME $LC_ALL; printf '\\377'\n")
    tool.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    monkeypatch.setattr(broker, "ENVIRONMENT", {"PATH": path, "LC_ALL": "C"})
    assert _run(("tool",)) == "C\n\ufffd"


def test_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each word is one argument, whatever is in it."""
    tool = tmp_path / "tool"
    tool.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setattr(broker, "ENVIRONMENT", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert _run(("tool", "a b", "$(x)", ";y", "*")) == "a b|$(x)|;y|*|"
