"""JSON Lines: schema 1 is a promise (design.md, chapter 7)."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rsttrace.completeness import Completeness
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.place import Listening, Peer, Place, Sockets, Tracked
from rsttrace.enrich.place import Path as WayThere
from rsttrace.explain import Explained
from rsttrace.packet import ACK, PSH, RST
from rsttrace.records import Flow
from rsttrace.sinks.jsonl import JsonSink, reset_object, rfc3339
from rsttrace.sinks.totals import Totals

from .build import (
    A1,
    MS,
    NETNS,
    NGINX,
    P2,
    SK,
    T,
    answered,
    arrived,
    decided,
    dropped,
    earlier,
    explained,
    judged,
    left,
    received_reset,
    record,
    reset,
    rst,
    segment,
    sent_reset,
    sock,
    task,
)
from .labfiles import LabFile, lab_files
from .told import related, told

Shape = Any
TEXT, NUMBER, FLAG, REAL, LIST = (str,), (int,), (bool,), (int, float), (list,)
NULL = type(None)

SEGMENT = {
    "flags": TEXT,
    "seq": NUMBER,
    "ack": NUMBER,
    "window": NUMBER,
    "ttl": NUMBER,
    "ip_id": (int, NULL),
    "length": NUMBER,
    "payload_kind": (str, NULL),
}
SOCKETS: dict[str, Shape] = {
    "listening": [
        {
            "address": TEXT,
            "port": NUMBER,
            "inode": NUMBER,
            "uid": NUMBER,
            "waiting": NUMBER,
            "limit": NUMBER,
            "half_open": (int, NULL),
            "device": (str, NULL),
        }
    ],
    "state": (str, NULL),
    "rtt_ms": (int, float, NULL),
    "retransmits": (int, NULL),
    "total_retransmits": (int, NULL),
    "last_sent_ms": (int, NULL),
    "last_heard_ms": (int, NULL),
    "inode": (int, NULL),
    "uid": (int, NULL),
}
PLACE: dict[str, Shape] = {
    "settings": (dict,),
    "sockets": [SOCKETS],
    "path": [
        {
            "device": (str, NULL),
            "kind": (str, NULL),
            "up": (bool, NULL),
            "bridge": (str, NULL),
            "other_end": (str, NULL),
            "gateway": (str, NULL),
            "source": (str, NULL),
            "route": (str, NULL),
            "neighbour": (str, NULL),
        }
    ],
    "peer": [{"here": FLAG, "elsewhere": LIST}],
    "conntrack": [
        {
            "found": FLAG,
            "state": (str, NULL),
            "timeout_s": (int, NULL),
            "assured": (bool, NULL),
            "natted": (str, NULL),
        }
    ],
    "problems": (dict,),
}
# every field of a reset object with its types; a dict for an object, in a list if it may be null
RESET: dict[str, Shape] = {
    "schema": NUMBER,
    "type": TEXT,
    "id": NUMBER,
    "time": TEXT,
    "monotonic_ns": NUMBER,
    "count": NUMBER,
    "direction": TEXT,
    "cause": TEXT,
    "confidence": TEXT,
    "summary": TEXT,
    "evidence": LIST,
    "remedies": LIST,
    "benign": FLAG,
    "phase": (str, NULL),
    "initiator": TEXT,
    "log_term": (str, NULL),
    "missing": (str, NULL),
    "family": NUMBER,
    "local": {"address": TEXT, "port": NUMBER},
    "remote": {"address": TEXT, "port": NUMBER},
    "state": (str, NULL),
    "state_before": (str, NULL),
    "errno": (str, NULL),
    "reset_reason": (str, NULL),
    "reset_reason_raw": (int, NULL),
    "drop_reason": (str, NULL),
    "drop_reason_raw": (int, NULL),
    "process": [
        {
            "pid": NUMBER,
            "tid": (int, NULL),
            "comm": TEXT,
            "exe": (str, NULL),
            "cmdline": (str, NULL),
            "role": TEXT,
        }
    ],
    "netns": {"inode": (int, NULL), "name": (str, NULL)},
    "cgroup": (str, NULL),
    "unit": (str, NULL),
    "container": [{"id": (str, NULL), "runtime": (str, NULL), "pod": (str, NULL)}],
    "interface": (str, NULL),
    "packet": [SEGMENT],
    "trigger": [SEGMENT],
    "socket": [
        {
            "unread_bytes": (int, NULL),
            "unacked_bytes": (int, NULL),
            "age_s": (int, float, NULL),
            "idle_s": (int, float, NULL),
            "retransmits": NUMBER,
            "keepalive_probes": NUMBER,
            "linger": (int, float, NULL),
            "accept_queue": [{"used": NUMBER, "max": NUMBER}],
            "uid": NUMBER,
            "cookie": (int, NULL),
        }
    ],
    "kernel_stack": LIST,
    "user_stack": LIST,
    "place": [PLACE],
    "settings": (dict,),
    "peer_id": (int, NULL),
    "related": (int, NULL),
    "suppressed_cause": (str, NULL),
}
COMPLETENESS: dict[str, Shape] = {
    "explained": NUMBER,
    "unexplained": NUMBER,
    "outside_tcp": NUMBER,
    "lost_records": NUMBER,
    "tcp_out_rsts": (int, NULL),
    "told": (int, NULL),
    "missing": (int, NULL),
    "surplus": (int, NULL),
    "differs": FLAG,
    "namespaces": NUMBER,
    "namespaces_gone": NUMBER,
    "not_compared": (str, NULL),
}
SUMMARY: dict[str, Shape] = {
    "schema": NUMBER,
    "type": TEXT,
    "resets": NUMBER,
    "benign": NUMBER,
    "lost": NUMBER,
    "duration_s": REAL,
    "directions": (dict,),
    "causes": LIST,
    "completeness": [COMPLETENESS],
}
CHOICES: dict[str, set[Any]] = {
    "direction": {"sent", "received", "forwarded", "suppressed", "rejected", "none"},
    "confidence": {"certain", "likely", "possible", "unknown"},
    "phase": {"establishment", "transfer", "disconnection", "no-connection", None},
    "initiator": {"client", "server", "local-firewall", "middlebox", "unknown"},
    "log_term": {
        "tcp-rst-from-client",
        "tcp-rst-from-server",
        "not-applicable",
        "aged-out",
        "incomplete",
        None,
    },
    "family": {4, 6},
    "type": {"reset"},
    "schema": {1},
}


def check(value: Any, shape: Shape, path: str = "") -> None:
    """Every field is there, none is unknown, all types hold."""
    if isinstance(shape, list):
        if value is None:
            return
        (shape,) = shape
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        assert set(shape) <= set(value), f"{path}: missing {set(shape) - set(value)}"
        assert set(value) <= set(shape), f"{path}: not in the schema {set(value) - set(shape)}"
        for key, inner in shape.items():
            check(value[key], inner, f"{path}.{key}")
        return
    assert isinstance(value, shape), f"{path} is {value!r}"
    assert not isinstance(value, bool) or bool in shape, f"{path} is {value!r}"


def as_read(one: Explained) -> dict[str, Any]:
    """What a program on the other side of the pipe gets."""
    line = JsonSink(0).reset(one)
    assert "\n" not in line
    read: dict[str, Any] = json.loads(line)
    check(read, RESET)
    for key, choices in CHOICES.items():
        assert read[key] in choices, key
    for key in ("evidence", "remedies", "kernel_stack", "user_stack"):
        assert all(isinstance(x, str) for x in read[key])
    return read


@pytest.mark.parametrize("file", lab_files(), ids=lambda file: file.name)
def test_schema_of_real_resets(file: LabFile) -> None:
    objects = [as_read(one) for one in file.explained]
    assert len({o["id"] for o in objects}) == len(objects)
    for before, after in zip(objects, objects[1:]):
        assert after["monotonic_ns"] > before["monotonic_ns"] - 300 * MS
    for one in objects:
        assert one["family"] == file.about["family"]
        assert one["netns"]["inode"] in file.about["netns"].values()
        if one["peer_id"] is not None:
            (peer,) = (o for o in objects if o["id"] == one["peer_id"])
            assert peer["peer_id"] == one["id"]
            assert (peer["local"], peer["remote"]) == (one["remote"], one["local"])


NOWHERE = Flow("::", 0, "::", 0, 0)
MINISOCKET: dict[str, Any] = {"state": "TIME_WAIT", "tw_substate": "FIN_WAIT2"}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "json.md"
FIELD = re.compile(r"`(\w+)`")


def documented(heading: str) -> dict[str, tuple[set[str], bool]]:
    """Rows of the first table below a heading: field -> (types, may it be null)."""
    text = DOCS.read_text().partition(f"\n{heading}")[2]
    found: dict[str, tuple[set[str], bool]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and len(cells) == 4 and FIELD.match(cells[0].strip("| ")):
            for name in FIELD.findall(cells[0]):
                found[name] = (set(cells[1].split()), not cells[3].startswith("never"))
        elif found:
            break
    return found


WORDS_OF_TYPES = {
    str: "string",
    int: "integer",
    bool: "boolean",
    float: "number",
    list: "list",
    dict: "object",
}


@pytest.mark.skipif(not DOCS.exists(), reason="docs/ is not part of the source package")
@pytest.mark.parametrize(
    ("heading", "shape"),
    [
        ("## `reset`", {k: v for k, v in RESET.items() if k not in ("schema", "type")}),
        ("`process`:", RESET["process"][0]),
        ("`container`:", RESET["container"][0]),
        ("`place`. What", PLACE),
        ("`place.sockets`:", SOCKETS),
        ("`packet` and `trigger`:", SEGMENT),
        ("`socket`, at the time", RESET["socket"][0]),
        ("## `summary`", {k: v for k, v in SUMMARY.items() if k not in ("schema", "type")}),
        ("`completeness`:", COMPLETENESS),
    ],
)
def test_documentation_has_the_same_fields(heading: str, shape: dict[str, Shape]) -> None:
    rows = documented(heading)
    assert list(rows) == list(shape)
    for name, (types, may_be_null) in rows.items():
        inner = shape[name]
        if isinstance(inner, (dict, list)):
            assert "object" in types, name
            assert may_be_null == isinstance(inner, list) or name == "netns", name
        else:
            assert may_be_null == (NULL in inner), name
            wanted = {WORDS_OF_TYPES[t] for t in inner if t is not NULL}
            assert wanted & types or "number" in types, name


@pytest.mark.skipif(not DOCS.exists(), reason="docs/ is not part of the source package")
@pytest.mark.parametrize("part", ["sockets", "path", "peer", "conntrack"])
def test_documentation_names_all_of_a_place(part: str) -> None:
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{part}` |"))
    assert set(PLACE[part][0]) <= set(FIELD.findall(row))


ODD = {
    "nothing known": reset(direction="sent", wire=left(rst(), frames=())),
    "no namespace": reset(direction="received", wire=arrived(), flow=NOWHERE),
    "forwarded": reset(direction="forwarded", wire=arrived()),
    "rejected": received_reset(dropped(segment(RST), None), arrived(), direction="rejected"),
    "listener": sent_reset(answered(segment(ACK), P2, sk=SK, state="LISTEN", sock=sock())),
    "earlier": sent_reset(answered(segment(ACK), history=earlier())),
    "judged only": received_reset(judged("ESTABLISHED")),
    "timewait": sent_reset(answered(segment(ACK, b"x"), **MINISOCKET)),
}


@pytest.mark.parametrize("name", ODD)
def test_schema_of_odd_resets(name: str) -> None:
    as_read(explained(ODD[name]))


def test_values() -> None:
    data = segment(PSH | ACK, b"\x15\x03\x03\x00\x02\x01\x00")
    one = sent_reset(
        answered(
            data,
            P2,
            sk=SK,
            state="CLOSE",
            sock=sock(cookie=5),
            reason="TCP_ABORT_ON_DATA",
            reason_raw=8,
            ustack=(255,),
        ),
        left(rst(ttl=61)),
        trigger_drop=dropped(data, "TCP_ABORT_ON_DATA", drop_reason_raw=61),
    )
    facts = Facts(owner=NGINX, netns_name="blue")
    o = as_read(explained(one, facts))
    assert (o["direction"], o["cause"], o["confidence"]) == ("sent", "tls-close-notify", "certain")
    assert o["local"] == {"address": "10.0.0.5", "port": 8080}
    assert o["remote"] == {"address": "10.0.0.9", "port": 51234}
    assert (o["reset_reason"], o["reset_reason_raw"]) == ("TCP_ABORT_ON_DATA", 8)
    assert (o["drop_reason"], o["drop_reason_raw"]) == ("TCP_ABORT_ON_DATA", 61)
    assert o["process"] == {
        "pid": 1432,
        "tid": None,
        "comm": "nginx",
        "exe": "/usr/sbin/nginx",
        "cmdline": "nginx: worker process",
        "role": "owner",
    }
    assert o["cgroup"] == "/system.slice/nginx"
    assert o["netns"] == {"inode": NETNS, "name": "blue"}
    assert o["interface"] == "eth0"
    assert o["packet"]["flags"] == "RST"
    assert o["packet"]["ttl"] == 61
    assert o["trigger"]["payload_kind"] == "tls-alert"
    assert o["socket"]["cookie"] == 5
    assert o["kernel_stack"][0] == "tcp_v4_send_reset"
    assert o["user_stack"] == ["0xff"]
    assert o["monotonic_ns"] == T


HEX_ID = "3f2a9c01d4e5" + "ab" * 26
POD = "1b2c3d4e-1111-2222-3333-444455556666"


def living(path: str) -> dict[str, Any]:
    owner = Process(1432, "nginx", cgroup=path)
    return as_read(explained(sent_reset(decided(A1)), Facts(owner=owner)))


def test_unit_and_container() -> None:
    plain = living("/system.slice/nginx.service")
    assert (plain["unit"], plain["container"]) == ("nginx.service", None)
    boxed = living(f"/kubepods/burstable/pod{POD}/{HEX_ID}")
    assert boxed["unit"] is None
    assert boxed["container"] == {"id": HEX_ID, "runtime": None, "pod": POD}
    assert boxed["cgroup"].endswith(HEX_ID)
    inside = living("/lxc.payload.web/system.slice/cron.service")
    assert inside["unit"] == "cron.service"
    assert inside["container"] == {"id": "web", "runtime": "lxc", "pod": None}
    nowhere = living("/")
    assert (nowhere["unit"], nowhere["container"], nowhere["cgroup"]) == (None, None, "/")


def test_a_monitor_lives_in_no_container() -> None:
    assert living(f"/machine.slice/libpod-conmon-{HEX_ID}.scope")["container"] is None


def test_names_of_the_user_stack() -> None:
    one = sent_reset(decided(A1, ustack=(255, 256)))
    assert as_read(explained(one))["user_stack"] == ["0xff", "0x100"]
    named = Facts(user_frames=("close (libc.so.6)", "nginx+0x4a2c1"))
    assert as_read(explained(one, named))["user_stack"] == ["close (libc.so.6)", "nginx+0x4a2c1"]


def test_place() -> None:
    listening = Listening("0.0.0.0", 80, 5, 33, 129, 128, 7)
    place = Place(
        settings={"net.core.somaxconn": "4096"},
        sockets=Sockets(listening, "ESTABLISHED", rtt_ms=1.5),
        path=WayThere("eth0", up=True, route="unicast"),
        peer=Peer(here=False, elsewhere=("blue",)),
        problems={"conntrack": "took too long"},
    )
    o = as_read(explained(sent_reset(decided(A1)), Facts(place=place)))["place"]
    assert o["settings"] == {"net.core.somaxconn": "4096"}
    assert o["sockets"]["listening"]["waiting"] == 129
    assert (o["sockets"]["state"], o["sockets"]["rtt_ms"]) == ("ESTABLISHED", 1.5)
    assert (o["path"]["device"], o["path"]["up"], o["path"]["gateway"]) == ("eth0", True, None)
    assert o["peer"] == {"here": False, "elsewhere": ["blue"]}
    assert o["conntrack"] is None
    assert o["problems"] == {"conntrack": "took too long"}


def test_every_field_of_a_place_is_in_the_schema() -> None:
    parts = {"sockets": Sockets, "path": WayThere, "peer": Peer, "conntrack": Tracked}
    for name, kind in parts.items():
        assert [field.name for field in fields(kind)] == list(PLACE[name][0])
    assert [f.name for f in fields(Listening)] == list(SOCKETS["listening"][0])
    assert {f.name for f in fields(Place)} - {"time_ns"} == set(PLACE)


def test_nobody_asked_about_the_place() -> None:
    o = as_read(explained(sent_reset(decided(A1))))
    assert (o["place"], o["settings"]) == (None, {})


def test_settings_that_bear_on_the_cause() -> None:
    settings = (("net.core.somaxconn", "128"),)
    o = as_read(told("linger-zero", settings=settings, decided=decided(A1)))
    assert o["settings"] == {"net.core.somaxconn": "128"}


def test_facts_of_a_listener() -> None:
    full = sock(ack_backlog=3, max_ack_backlog=2)
    o = as_read(explained(sent_reset(answered(segment(ACK), P2, state="LISTEN", sock=full))))
    assert o["socket"]["accept_queue"] == {"used": 3, "max": 2}
    assert o["socket"]["unread_bytes"] is None


def test_facts_of_a_connection() -> None:
    o = as_read(explained(sent_reset(decided(A1, sock=sock(flags=16, rcv_nxt=1312)))))
    assert o["socket"]["unread_bytes"] == 312
    assert o["socket"]["linger"] == 0
    assert o["socket"]["age_s"] == 2.0
    assert o["socket"]["accept_queue"] is None
    assert o["socket"]["cookie"] is None


def test_roles() -> None:
    owner = Facts(owner=NGINX, actor=NGINX)
    assert as_read(explained(sent_reset(decided(A1)), owner))["process"]["tid"] == 1432
    closer = Facts(closer=Process(5, "java"))
    assert as_read(explained(sent_reset(decided(A1)), closer))["process"]["role"] == "owner"
    current = as_read(explained(sent_reset(decided(A1))))["process"]
    assert (current["role"], current["comm"], current["exe"]) == ("current", "nginx", None)
    idle = task(comm="swapper/0", pid=0)
    assert as_read(explained(sent_reset(decided(A1, task=idle))))["process"] is None


def test_reasons_a_kernel_does_not_have_are_null() -> None:
    """Name and number stand or fall together."""
    old = sent_reset(
        answered(segment(ACK)), trigger_drop=dropped(segment(ACK), None, drop_reason_raw=0)
    )
    o = as_read(explained(old))
    assert (o["reset_reason"], o["reset_reason_raw"]) == (None, None)
    assert (o["drop_reason"], o["drop_reason_raw"]) == (None, None)


def test_number_belongs_to_the_name() -> None:
    """The drop reason of the provoking segment and that of the RST are two things."""
    gone = dropped(rst(), "NETFILTER_DROP", drop_reason_raw=8)
    one = sent_reset(answered(segment(ACK)), direction="suppressed", judged=gone)
    o = as_read(explained(one))
    assert (o["drop_reason"], o["drop_reason_raw"]) == ("NETFILTER_DROP", 8)


def test_text_is_utf8_and_may_hold_anything() -> None:
    odd = Process(7, 'qu"ote\\', "/tmp/ü", "tab\tand\nline")
    line = JsonSink(0).reset(explained(sent_reset(decided(A1)), Facts(owner=odd)))
    assert len(line.splitlines()) == 1
    assert json.loads(line.encode())["process"]["exe"] == "/tmp/ü"


def test_time() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert rfc3339(1_795_227_247_113_000_001) == "2026-11-21T02:14:07.113000001Z"
    o = reset_object(explained(sent_reset(decided(A1))), 1_795_227_247_000_000_000 - T)
    assert datetime.fromisoformat(o["time"][:19]) == datetime(2026, 11, 21, 2, 14, 7)


def test_echoes() -> None:
    plain = as_read(explained(sent_reset(decided(A1))))
    assert (plain["count"], plain["related"]) == (1, None)
    echoes = told(
        "late-segment",
        12,
        count=3,
        related=related(told("linger-zero", 7)),
        decided=answered(segment(ACK)),
    )
    o = as_read(echoes)
    assert (o["id"], o["count"], o["related"]) == (12, 3, 7)


def test_an_abort_without_a_reset() -> None:
    error = record("inet_sk_error_report", state="CLOSE", errno=110, sock=sock(), sk=SK)
    o = as_read(told("retransmit-timeout", direction="none", error=error, errno="ETIMEDOUT"))
    assert (o["direction"], o["errno"], o["packet"]) == ("none", "ETIMEDOUT", None)
    assert o["reset_reason"] is None


def summary_of(totals: Totals) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(JsonSink(0).summary(totals))
    check(read, SUMMARY)
    return read


def test_other_objects() -> None:
    totals = Totals(lost=3, duration_s=1.23456)
    for _ in range(2):
        totals.add(explained(sent_reset(decided(A1))))
    totals.add(explained(received_reset(judged("FIN_WAIT2", sock=sock(has_socket=False)))))
    sink = JsonSink(0)
    start, lost = (json.loads(text) for text in (sink.start({"kernel": "6.18"}), sink.lost(4)))
    assert start == {"schema": 1, "type": "start", "kernel": "6.18"}
    assert lost == {"schema": 1, "type": "lost", "count": 4}
    assert summary_of(totals) == {
        "schema": 1,
        "type": "summary",
        "resets": 3,
        "benign": 1,
        "lost": 3,
        "duration_s": 1.235,
        "directions": {"sent": 2, "received": 1},
        "causes": [
            {"cause": "unread-data-on-close", "direction": "sent", "count": 2},
            {"cause": "reset-after-fin", "direction": "received", "count": 1},
        ],
        "completeness": None,
    }


def test_summary_counts_echoes() -> None:
    totals = Totals()
    totals.add(told("late-segment", count=4, benign=True))
    read = summary_of(totals)
    assert (read["resets"], read["benign"], read["directions"]) == (4, 4, {"sent": 4})
    assert read["causes"] == [{"cause": "late-segment", "direction": "sent", "count": 4}]


def test_completeness() -> None:
    done = Completeness(
        explained=5,
        unexplained=1,
        outside_tcp=2,
        lost=3,
        counted=7,
        told=6,
        missing=1,
        namespaces=4,
        gone=8,
    )
    assert summary_of(Totals(completeness=done))["completeness"] == {
        "explained": 5,
        "unexplained": 1,
        "outside_tcp": 2,
        "lost_records": 3,
        "tcp_out_rsts": 7,
        "told": 6,
        "missing": 1,
        "surplus": 0,
        "differs": True,
        "namespaces": 4,
        "namespaces_gone": 8,
        "not_compared": None,
    }


def test_completeness_that_agrees() -> None:
    read = summary_of(Totals(completeness=Completeness(counted=2, told=2, gone=1)))
    assert read["completeness"]["differs"] is False


def test_completeness_that_could_not_be_had() -> None:
    done = Completeness(explained=5, why_not="a filter was set")
    read = summary_of(Totals(completeness=done))["completeness"]
    assert (read["tcp_out_rsts"], read["told"], read["differs"]) == (None, None, False)
    assert (read["explained"], read["not_compared"]) == (5, "a filter was set")
