"""The sources of a Place without a kernel: the engine, reading back, recorded answers."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsttrace.causes import catalogue
from rsttrace.enrich.place import Listening, Peer, Place, Question, Sockets, Tracked
from rsttrace.enrich.place import Path as Way
from rsttrace.enrich.sources import (
    NEEDED,
    ORDER,
    NotKnown,
    TookTooLong,
    _netlink,
    _spaces,
    ask_all,
    conntrack,
    path,
    peer,
    place_from_json,
    reason,
    settings,
    sockets,
)

ROOT = Path(__file__).resolve().parents[2]
QUESTION = Question(1, 4, "10.0.0.1", 80, "10.0.0.2", 4000)


def asking(*wants: str) -> Question:
    return Question(1, 4, "10.0.0.1", 80, "10.0.0.2", 4000, "", wants)


# -- the engine --------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All sources answer with their name; the list is the order in which they were asked."""
    asked: list[str] = []

    def stand_in(name: str) -> Any:
        def ask(question: Question) -> dict[str, str]:
            asked.append(name)
            return {"name": name, "remote": question.remote}

        return ask

    modules = (settings, sockets, conntrack, path, peer)
    assert len(modules) == len(ORDER)
    for name, module in zip(ORDER, modules):
        assert name == module.NAME
        monkeypatch.setattr(module, "ask", stand_in(name))
        for slow in NEEDED.get(name, ()):  # it may take longer than there is for an answer
            importlib.import_module(slow)
    return asked


def test_what_is_wanted_is_asked_and_nothing_else(told: list[str]) -> None:
    value = ask_all(asking("peer", "sockets"))
    assert told == ["sockets", "peer"]
    assert value["values"]["peer"] == {"name": "peer", "remote": "10.0.0.2"}
    assert value["problems"] == {}
    assert abs(value["time_ns"] - time.monotonic_ns()) < 10e9


def test_an_unknown_source_has_a_reason(told: list[str]) -> None:
    value = ask_all(asking("weather", "peer"))
    assert value["problems"] == {"weather": "there is no such source"}
    assert told == ["peer"]


def test_a_source_that_fails_does_not_stop_the_others(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_question: Question) -> None:
        raise NotKnown("the kernel has no memory of it")

    monkeypatch.setattr(sockets, "ask", fail)
    value = ask_all(asking(*ORDER))
    assert told == [name for name in ORDER if name != "sockets"]
    assert value["problems"] == {"sockets": "the kernel has no memory of it"}
    assert "sockets" not in value["values"]


def test_half_the_truth_has_a_value_and_a_problem(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "ask", lambda _: {"here": True, "problem": "3 were not asked"})
    value = ask_all(asking("peer"))
    assert (value["values"], value["problems"]) == (
        {"peer": {"here": True}},
        {"peer": "3 were not asked"},
    )


def test_no_time_left(told: list[str]) -> None:
    value = ask_all(asking(*ORDER), budget_s=0)
    assert told == []
    assert value["problems"] == dict.fromkeys(ORDER, "no time was left")


def _hang(_question: Question) -> None:
    time.sleep(30)


def _hang_stubbornly(_question: Question) -> None:
    """What an except clause that is too broad, or an event loop, does with the first cut."""
    with contextlib.suppress(BaseException):
        time.sleep(30)
    time.sleep(30)


def _hang_in_python(_question: Question) -> None:
    with contextlib.suppress(Exception):
        while True:
            contextlib.suppress(OSError)


@pytest.mark.parametrize("hang", [_hang, _hang_stubbornly, _hang_in_python])
def test_a_source_that_hangs_is_cut(
    hang: Any, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ask", hang)
    monkeypatch.setattr(path, "ask", hang)
    began = time.monotonic()
    value = ask_all(asking(*ORDER))
    assert time.monotonic() - began < 1  # 0.12 s on an idle machine, 60 s without the cut
    assert value["problems"] == {"settings": "took too long", "path": "took too long"}
    assert set(value["values"]) == {"sockets", "conntrack", "peer"}


def test_the_alarm_is_given_back(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "ask", _hang)
    before = signal.getsignal(signal.SIGALRM)
    ask_all(asking("path"))
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_cut_is_no_error_of_a_source() -> None:
    """``suppress(OSError)`` and ``except Exception`` must not hide it."""
    assert not issubclass(TookTooLong, Exception)


def test_nothing_is_imported_while_the_time_runs() -> None:
    """A cut would leave half of a module behind, and later answers would have false reasons."""
    script = (
        "import os, signal, sys\n"
        "from rsttrace.enrich.place import Question\n"
        "from rsttrace.enrich.sources import ORDER, ask_all\n"
        "late = []\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if any(signal.getitimer(signal.ITIMER_REAL)):\n"
        "            late.append(name)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "here = os.stat('/proc/self/ns/net').st_ino\n"
        "said = ask_all(Question(here, 4, '127.0.0.1', 1, '127.0.0.1', 2, '', ORDER), 20.0)\n"
        "assert 'pyroute2' in sys.modules\n"
        "assert said['values'].keys() >= {'sockets', 'path'}, said\n"
        "assert not late, late\n"
    )
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_import_of_a_source_is_known() -> None:
    """Also those that this host has no use for."""
    texts = [file.read_text() for file in Path(conntrack.__file__).parent.glob("*.py")]
    found = {name for text in texts for name in re.findall(r"from (pyroute2\S*) import", text)}
    assert found == {name for names in NEEDED.values() for name in names}
    assert set(NEEDED) <= set(ORDER)


def test_what_is_not_wanted_is_not_imported(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    real = importlib.import_module

    def note(name: str) -> Any:
        imported.append(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", note)
    ask_all(asking("peer", "os", "../x"))
    assert set(imported) == {peer.__name__}


def test_what_cannot_be_imported_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroute2.netlink.diag", None)
    said = ask_all(asking("sockets", "settings"))
    assert said["problems"].keys() == {"sockets"}
    assert said["problems"]["sockets"].startswith("the Python module pyroute2")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotKnown("it is not loaded"), "it is not loaded"),
        (PermissionError(1, "x"), "the kernel says: Operation not permitted"),
        (ModuleNotFoundError("x", name="pyroute2"), "the Python module pyroute2 is missing"),
        (ValueError("a\x1b[31mb"), "ValueError: a\\x1b[31mb"),
        (KeyError(), "KeyError: "),
    ],
)
def test_reasons(error: Exception, text: str) -> None:
    assert reason(error) == text


def test_a_reason_is_short() -> None:
    assert len(reason(NotKnown("x" * 1000))) <= 120


# -- reading back ------------------------------------------------------------------------------

LISTENING = Listening("::", 80, 7, 1000, 3, 2, 4, "eth0")
FULL = Place(
    time_ns=5,
    settings={"net.core.somaxconn": "4096"},
    sockets=Sockets(LISTENING, "FIN_WAIT2", 0.25, 1, 2, 3, 4, 5, 6),
    path=Way("eth0", "veth", True, "br0", "host veth1", "10.0.0.9", "10.0.0.1", "unicast", "STALE"),
    peer=Peer(True, ("host", "netns 7")),
    conntrack=Tracked(True, "CLOSE", 9, False, "1.2.3.4:5 > 6.7.8.9:10"),
    problems={"peer": "1 of 2 other namespaces could not be asked"},
)
LISTENING_JSON = {
    "address": "::",
    "port": 80,
    "inode": 7,
    "uid": 1000,
    "waiting": 3,
    "limit": 2,
    "half_open": 4,
    "device": "eth0",
}
FULL_JSON: dict[str, Any] = {
    "time_ns": 5,
    "values": {
        "settings": {"net.core.somaxconn": "4096"},
        "sockets": {
            "listening": LISTENING_JSON,
            "state": "FIN_WAIT2",
            "rtt_ms": 0.25,
            "retransmits": 1,
            "total_retransmits": 2,
            "last_sent_ms": 3,
            "last_heard_ms": 4,
            "inode": 5,
            "uid": 6,
        },
        "path": {
            "device": "eth0",
            "kind": "veth",
            "up": True,
            "bridge": "br0",
            "other_end": "host veth1",
            "gateway": "10.0.0.9",
            "source": "10.0.0.1",
            "route": "unicast",
            "neighbour": "STALE",
        },
        "peer": {"here": True, "elsewhere": ["host", "netns 7"]},
        "conntrack": {
            "found": True,
            "state": "CLOSE",
            "timeout_s": 9,
            "assured": False,
            "natted": "1.2.3.4:5 > 6.7.8.9:10",
        },
    },
    "problems": {"peer": "1 of 2 other namespaces could not be asked"},
}


def test_everything_is_read_back() -> None:
    place = place_from_json(FULL_JSON)
    assert place == FULL
    assert place.time_ns == FULL.time_ns


def test_what_was_not_learnt_is_none() -> None:
    assert place_from_json({"time_ns": 0, "values": {}, "problems": {}}) == Place()
    values = {"sockets": {"listening": None}, "path": {"device": ""}, "conntrack": {"found": False}}
    place = place_from_json({"time_ns": 0, "values": values, "problems": {}})
    assert (place.sockets, place.path) == (Sockets(), Way(""))
    assert place.conntrack == Tracked(False)


def test_a_source_of_a_later_version_is_left_out() -> None:
    value = {"time_ns": 0, "values": {"weather": 1}, "problems": {"weather": "cloudy"}}
    assert place_from_json(value) == Place(problems={"weather": "cloudy"})


def test_foreign_texts_cannot_command_a_terminal() -> None:
    values = {"peer": {"here": False, "elsewhere": ["\x1b[2J"]}, "settings": {"\x07": "\x1b"}}
    place = place_from_json({"time_ns": 0, "values": values, "problems": {"path": "\x9b1m"}})
    assert place.peer == Peer(False, ("\\x1b[2J",))
    assert dict(place.settings) == {"\\x07": "\\x1b"}
    assert dict(place.problems) == {"path": "\\x9b1m"}


def _changed(path_to: tuple[str, ...], value: Any) -> Any:
    """FULL_JSON with one thing changed, or left out (``...``)."""
    whole = json.loads(json.dumps(FULL_JSON))
    inner = whole
    for name in path_to[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path_to[-1]]
    else:
        inner[path_to[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("time_ns", ...),
        ("time_ns", "5"),
        ("time_ns", -1),
        ("values", ...),
        ("values", []),
        ("problems", ...),
        ("problems", {"path": 3}),
        ("values settings", {"a": 1}),
        ("values settings", None),
        ("values sockets", []),
        ("values sockets rtt_ms", float("nan")),
        ("values sockets rtt_ms", float("inf")),
        ("values sockets rtt_ms", "1"),
        ("values sockets state", 1),
        ("values sockets uid", True),
        ("values sockets uid", 1.5),
        ("values sockets uid", 10**30),
        ("values sockets listening", {}),
        ("values sockets listening", "nginx"),
        ("values sockets listening waiting", None),
        ("values sockets listening address", None),
        ("values path device", ...),
        ("values path up", "yes"),
        ("values path kind", None),
        ("values peer here", 1),
        ("values peer elsewhere", "host"),
        ("values peer elsewhere", [1]),
        ("values conntrack found", None),
        ("values conntrack timeout_s", "9"),
    ],
)
def test_anything_else_is_a_value_error(where: str, value: Any) -> None:
    with pytest.raises(ValueError, match="not "):
        place_from_json(_changed(tuple(where.split()), value))


@pytest.mark.parametrize("value", [None, [], "x", 3, {}])
def test_no_answer_at_all_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="not "):
        place_from_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PLACES = [
    (name,) if inner is None else ("values", name, inner)
    for name, inner in [
        ("time_ns", None),
        ("values", None),
        ("problems", None),
        *((name, key) for name, value in FULL_JSON["values"].items() for key in value),
    ]
]


@given(st.sampled_from(PLACES), JSON)
def test_random_values_are_read_or_refused(where: tuple[str, ...], value: Any) -> None:
    with contextlib.suppress(ValueError):
        place = place_from_json(_changed(where, value))
        assert isinstance(place, Place)


def test_reading_a_recording_needs_no_pyroute2() -> None:
    script = (
        "import json, sys; from rsttrace.enrich.sources import place_from_json; "
        "place_from_json(json.load(sys.stdin)); "
        "assert not [m for m in sys.modules if m.startswith('pyroute2')]"
    )
    argv, text = [sys.executable, "-c", script], json.dumps(FULL_JSON)
    done = subprocess.run(argv, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- sockets -----------------------------------------------------------------------------------


def listener(address: str, waiting: int = 0, cookie: int = 0, device: int = 0) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return {
        "idiag_src": address,
        "idiag_rqueue": waiting,
        "idiag_cookie": cookie,
        "idiag_if": device,
        "idiag_family": family,
    }


@pytest.mark.parametrize(
    ("best", "others"),
    [
        (listener("10.0.0.1"), [listener("0.0.0.0", 9), listener("::", 9)]),
        (listener("0.0.0.0"), [listener("::", 9)]),
        (listener("::ffff:10.0.0.1"), [listener("0.0.0.0", 9)]),
        (listener("10.0.0.1", 5), [listener("10.0.0.1", 4), listener("10.0.0.1", 1)]),
        (listener("10.0.0.1", 0, 42), [listener("10.0.0.1", 9, 43)]),
        (listener("::", 0, 42), [listener("10.0.0.1", 9, 43)]),
        (listener("0.0.0.0"), [listener("10.0.0.1", 9, 0, 2)]),
        (listener("0.0.0.0", 0, 42, 2), [listener("10.0.0.1", 9, 43)]),
    ],
)
def test_which_listener(best: dict[str, Any], others: list[dict[str, Any]]) -> None:
    assert sockets.choose([best, *others], 42) == best
    assert sockets.choose([*others, best], 42) == best


def test_no_listener() -> None:
    assert sockets.choose([], 42) is None


def test_a_question_without_a_port_is_not_asked() -> None:
    with pytest.raises(NotKnown, match="no local port"):
        sockets.ask(Question(1, 4, "10.0.0.1", 0, "10.0.0.2", 80))


# -- netlink -----------------------------------------------------------------------------------


def message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + b"\0" * (-len(body) % 4)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the kernel will say, one item for each recv()."""
    left: list[bytes] = []
    fake = SimpleNamespace(send=len, recv=lambda _: left.pop(0))
    names = {"AF_NETLINK": 16, "SOCK_RAW": 3, "SOCK_CLOEXEC": 0}
    opened = SimpleNamespace(socket=lambda *_: contextlib.nullcontext(fake), **names)
    monkeypatch.setattr(_netlink, "socket", opened)
    return left


def test_a_dump_comes_in_pieces(answers: list[bytes]) -> None:
    answers += [
        message(20, b"one") + message(20, b"four"),
        message(20, b"x"),
        message(3, b"\0" * 4),
    ]
    found = list(_netlink.many(_netlink.ROUTE, b""))
    assert [raw[16:] for raw in found] == [b"one", b"four", b"x"]
    assert answers == []


def test_an_error_is_an_oserror(answers: list[bytes]) -> None:
    answers.append(message(2, struct.pack("=i", -13) + b"\0" * 16))
    with pytest.raises(PermissionError):
        _netlink.one(_netlink.ROUTE, b"")
    answers += [message(20, b"data"), message(2, struct.pack("=i", -2) + b"\0" * 16)]
    with pytest.raises(FileNotFoundError):
        list(_netlink.many(_netlink.ROUTE, b""))


def test_a_kernel_without_tcp_diag_is_no_host_without_listeners(answers: list[bytes]) -> None:
    """It says ENOENT to both: the dump comes first and tells."""
    answers.append(message(2, struct.pack("=i", -2) + b"\0" * 16))
    with pytest.raises(OSError, match="no tcp_diag") as error:
        sockets.ask(QUESTION)
    assert reason(error.value) == "the kernel says: Operation not supported"


def test_peer_asks_as_pyroute2_would() -> None:
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    for family, address in ((2, "10.0.0.2"), (10, "fd00::2")):
        request = rtmsg()
        packed = socket.inet_pton(family, address)
        request["family"], request["dst_len"] = family, 8 * len(packed)
        request["attrs"] = [("RTA_DST", address)]
        expected = _netlink.encoded(request, 26)
        assert peer._request(4 if family == 2 else 6, packed) == expected


# -- conntrack ---------------------------------------------------------------------------------

# Answers of Linux 6.18 to a look-up: 10.87.0.1:4000 > 10.87.0.254:443, led to 10.87.1.2:8443 from
# 10.87.1.254; the same with IPv6.
NAT4 = """
d40000000001020001000000de0d0000020000003400018014000180080001000a570001080002000a5700fe1c
0002800500010006000000060002000fa000000600030001bb00003400028014000180080001000a5701020800
02000a5701fe1c00028005000100060000000600020020fb0000060003000fa0000008000300000001be080008
000000000008000c003049423d08000b00000000020800070000069780300004802c0001800500010003000000
050002000a000000050003000a00000006000400230000000600050023000000
"""
NAT6 = """
040100000001020001000000de0d00000a0000004c0001802c00018014000300fd000087000000000000000000
00000114000400fd0000870000000000000000000000fe1c0002800500010006000000060002000fa000000600
030001bb00004c0002802c00018014000300fd00008700000001000000000000000214000400fd000087000000
0100000000000000fe1c00028005000100060000000600020020fb0000060003000fa0000008000300000001be
080008000000000008000c008882f33808000b00000000020800070000069780300004802c0001800500010003
000000050002000a000000050003000a00000006000400230000000600050023000000
"""


@pytest.mark.parametrize(
    ("version", "raw", "natted"),
    [
        (4, NAT4, "10.87.0.254:443 > 10.87.1.2:8443, 10.87.0.1:4000 > 10.87.1.254:4000"),
        (
            6,
            NAT6,
            "[fd00:87::fe]:443 > [fd00:87:0:1::2]:8443, [fd00:87::1]:4000 > [fd00:87:0:1::fe]:4000",
        ),
    ],
)
def test_a_recorded_entry(version: int, raw: str, natted: str) -> None:
    from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg

    entry = _netlink.decoded(nfct_msg, bytes.fromhex(raw))
    value = conntrack.describe(entry, version)
    assert conntrack.read(value) == Tracked(True, "ESTABLISHED", 432000, True, natted)


def test_both_directions_are_asked(
    answers: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = message(2, struct.pack("=i", -2) + b"\0" * 16)
    answers += [nothing, bytes.fromhex(NAT4)]
    monkeypatch.setattr(conntrack, "why_not", lambda _: "")
    assert conntrack.ask(QUESTION)["found"] is True
    answers += [nothing, nothing]
    assert conntrack.ask(QUESTION) == {"found": False}


def test_when_conntrack_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "count"
    assert conntrack.why_not(QUESTION, str(count)) == "connection tracking is not loaded"
    count.write_text("0\n")
    assert "follows no connection" in conntrack.why_not(QUESTION, str(count))
    count.write_text("1\n")
    monkeypatch.setattr(conntrack, "can_be_asked", lambda: False)
    assert "nf_conntrack_netlink is not loaded" in conntrack.why_not(QUESTION, str(count))
    monkeypatch.setattr(conntrack, "can_be_asked", lambda: True)
    assert conntrack.why_not(QUESTION, str(count)) == ""
    half = Question(1, 4, "10.0.0.1", 80, "10.0.0.2", 0)
    assert conntrack.why_not(half, str(count)) == "the question has only one port"


def test_asking_loads_no_module(tmp_path: Path) -> None:
    sys_module, modules = tmp_path / "sys", tmp_path / "modules"
    built_in = modules / os.uname().release / "modules.builtin"
    ask = (str(sys_module), str(modules))
    assert conntrack.can_be_asked(*ask)  # no modules at all: nothing can be loaded
    built_in.parent.mkdir(parents=True)
    built_in.write_text("kernel/net/netfilter/nf_conntrack.ko\n")
    assert not conntrack.can_be_asked(*ask)
    built_in.write_text("kernel/net/netfilter/nf_conntrack_netlink.ko\n")
    assert conntrack.can_be_asked(*ask)
    built_in.write_text("")
    (sys_module / "nf_conntrack_netlink").mkdir(parents=True)
    assert conntrack.can_be_asked(*ask)


# -- settings and namespaces -------------------------------------------------------------------


def test_every_setting_that_a_cause_names_is_read() -> None:
    named = {name for cause in catalogue().values() for name in cause.settings}
    assert named <= set(settings.KNOWN)


def test_known_settings_are_named_once() -> None:
    assert len(settings.KNOWN) == len(set(settings.KNOWN))
    assert set(settings.KNOWN) >= settings.HOST_WIDE


def test_settings_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "pair").write_text("32768\t60999\n")
    (tmp_path / "net" / "folder").mkdir()
    monkeypatch.setattr(settings, "SYSCTLS", f"{tmp_path}/")
    assert settings.values(["net.pair", "net.missing", "net.folder"]) == {"net.pair": "32768 60999"}


def test_names_of_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spaces, "host", lambda: (7, "/proc/1/ns/net"))
    assert _spaces.name_of(7, "/run/docker/netns/default") == "host"
    assert _spaces.name_of(8, "/run/netns/blue") == "blue"
    assert _spaces.name_of(9, "/proc/12/ns/net") == "netns 9"


def test_a_visit_does_not_wait_for_ever() -> None:
    """A namespace in which the look hangs; nothing is entered here."""
    let_go = threading.Event()
    began = time.monotonic()
    assert _spaces.visit([(1, "/proc/none")], let_go.wait, 0.2) == ([], 0)
    assert time.monotonic() - began < 1
    let_go.set()


def test_where_remote_is_this_host_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three other namespaces one has the address, one cannot be asked."""
    monkeypatch.setattr(peer, "is_local", lambda _: False)
    monkeypatch.setattr(peer, "namespaces", lambda: [(5, "a"), (6, "b"), (7, "c"), (8, "d")])
    monkeypatch.setattr(_spaces, "here", lambda: 5)
    said = [(6, "/run/netns/blue", True), (7, "c", False)]
    monkeypatch.setattr(_spaces, "visit", lambda others, _look: (said, len(others) - 2))
    assert peer.ask(QUESTION) == {
        "here": False,
        "elsewhere": ["blue"],
        "problem": "1 of 3 other namespaces could not be asked",
    }
