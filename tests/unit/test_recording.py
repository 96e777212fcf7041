"""Recordings: written, read again, and damaged in every way."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from rsttrace.cli import run
from rsttrace.enrich import Context, Process
from rsttrace.enrich.live import LiveContext
from rsttrace.enrich.recorded import RecordedContext
from rsttrace.errors import EXIT_FAILURE, EXIT_OK, RsttraceError
from rsttrace.recording import FORMAT, Recorder, Recording
from rsttrace.replay import replay

from .build import LAYOUT, FakeContext, listener, raw_record
from .labfiles import lab_file

ENUMS = {"sk_rst_reason": {3: "NO_SOCKET"}}
HOST = {"kernel": "6.18", "wall_offset_ns": 10**18}
RECORDS = [raw_record(time_ns=i, cpu=i) for i in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.rec"


def write(path: Path, end: bool = True) -> Path:
    """A recording with one line of each kind."""
    recorder = Recorder(path)
    recorder.header(LAYOUT, ENUMS, HOST, [listener()])
    recorder.names({0xFFFFFFFF81000100: "tcp_v4_rcv", 0x5: None})
    recorder.context("process", "1432", ["nginx", "/usr/sbin/nginx", "nginx: worker", "/web"])
    recorder.context("owner", "777", 1432)
    recorder.context("netns", "4026531840", "host")
    recorder.records(RECORDS[:2])
    recorder.lost(5, 10, 20)
    recorder.lost(2, 30, 40)
    recorder.records(RECORDS[2:])
    if end:
        recorder.end(7)
    else:
        recorder.close()
    return path


def test_reads_what_was_written(path: Path) -> None:
    recording = Recording(write(path))
    assert recording.layout.fields == LAYOUT.fields
    assert recording.layout.numbers == LAYOUT.numbers
    assert recording.batches == [RECORDS[:2], RECORDS[2:]]
    assert recording.host == HOST
    assert recording.listeners == [listener()]
    assert recording.enum("sk_rst_reason") == ENUMS["sk_rst_reason"]
    assert recording.enum("skb_drop_reason") == {}
    assert recording.symbol(0xFFFFFFFF81000100) == "tcp_v4_rcv"
    assert recording.symbol(5) is None
    assert recording.symbol(6) is None
    assert recording.context.process(1432) == Process(
        1432, "nginx", "/usr/sbin/nginx", "nginx: worker", "/web"
    )
    assert recording.context.process(1) is None
    assert recording.context.socket_owner(777) == 1432
    assert recording.context.netns_name(4026531840) == "host"
    assert (recording.lost, recording.losses) == (7, [(10, 20), (30, 40)])
    assert recording.complete


def test_only_json_lines(path: Path) -> None:
    """Other programs may read it: every line is one JSON object, none spans two."""
    lines = [json.loads(line) for line in write(path).read_text().splitlines()]
    assert lines[0]["rsttrace"] == FORMAT
    assert [x.get("type") for x in lines[1:]] == [
        "names",
        "context",
        "context",
        "context",
        "records",
        "lost",
        "lost",
        "records",
        "end",
    ]


def test_nothing_is_written_for_nothing(path: Path) -> None:
    recorder = Recorder(path)
    recorder.names({})
    recorder.records([])
    recorder.close()
    assert path.read_text() == ""


def test_lines_of_unknown_types_are_passed_over(path: Path) -> None:
    """A newer version, or a test that keeps something of its own in the file."""
    write(path, end=False)
    with path.open("a") as file:
        file.write('{"type":"lab","name":"x"}\n{"no":"type"}\n{"type":"end","lost":7}\n')
    assert Recording(path).complete


def test_records_of_a_later_layout_that_is_longer(path: Path) -> None:
    """The file carries its own layout: fields this version does not know do no harm."""
    write(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["layout"].append(["a_new_field", "1I"])
    longer = b"".join(r + b"\1\2\3\4" for r in RECORDS[:2])
    lines[5]["data"] = base64.b64encode(zlib.compress(longer)).decode()
    lines[8]["data"] = base64.b64encode(zlib.compress(RECORDS[2] + b"\1\2\3\4")).decode()
    save(path, lines)
    assert [len(b) for b in Recording(path).batches] == [2, 1]
    assert replay(Recording(path)) == []


def test_recording_of_an_older_version(path: Path) -> None:
    """Fields that it did not have yet are not known; the verdicts stay."""
    source = lab_file("unread-data-on-close-plain-v4")
    lines = [json.loads(line) for line in source.path.read_text().splitlines()]
    fields = [(name, code) for name, code in lines[0]["layout"] if name != "tcp_srtt_us"]
    assert len(fields) == len(lines[0]["layout"]) - 1
    lines[0]["layout"] = fields
    old = []
    for batch in source.recording.batches:
        for raw in batch:
            values = source.recording.layout.unpack(raw)
            flat: list[Any] = []
            for name, _ in fields:
                flat += values[name] if isinstance(values[name], tuple) else [values[name]]
            old.append(struct.pack("=" + "".join(code for _, code in fields), *flat))
    for line in lines:
        if line.get("type") == "records":
            line["data"] = base64.b64encode(zlib.compress(b"".join(old))).decode()
    save(path, lines)
    explained = replay(Recording(path))
    assert [e.verdict for e in explained] == [e.verdict for e in source.explained]
    assert source.problems(explained) == []


def test_started_ns_makes_a_young_trace(path: Path) -> None:
    """What a replay knows of the time before the trace began is what the trace knew."""
    source = lab_file("stale-connection-closed-port-v4")
    lines = [json.loads(line) for line in source.path.read_text().splitlines()]
    first = source.explained[0].reset.time_ns
    lines[0]["host"]["started_ns"] = first - 10**9
    save(path, lines)
    young = replay(Recording(path))
    assert young[0].facts.watched_ns == 10**9
    assert young[0].verdict.confidence == "possible"
    assert source.explained[0].verdict.confidence == "likely"


def test_losses_reach_the_verdicts(path: Path) -> None:
    source = lab_file("closed-port-plain-v4")
    lines = [json.loads(line) for line in source.path.read_text().splitlines()]
    time_ns = source.explained[0].reset.time_ns
    lines.insert(-1, {"type": "lost", "count": 4, "since_ns": time_ns - 9, "until_ns": time_ns})
    save(path, lines)
    recording = Recording(path)
    assert all(e.reset.lossy for e in replay(recording))
    assert not any(e.reset.lossy for e in source.explained)
    assert recording.lost == 4


# -- cut off ---------------------------------------------------------------------------------------


def test_without_an_end_line(path: Path) -> None:
    recording = Recording(write(path, end=False))
    assert not recording.complete
    assert recording.batches == [RECORDS[:2], RECORDS[2:]]


def test_cut_in_the_middle_of_a_line(path: Path) -> None:
    """Power failed: what is there can still be explained."""
    write(path)
    text = path.read_text()
    path.write_text(text[: text.rindex('"data"') + 20])
    recording = Recording(path)
    assert not recording.complete
    assert recording.batches == [RECORDS[:2]]
    assert recording.lost == 7


@pytest.mark.parametrize("lines", range(1, 10))
def test_cut_after_a_line(path: Path, lines: int) -> None:
    text = write(path).read_text().splitlines(keepends=True)
    path.write_text("".join(text[:lines]))
    assert not Recording(path).complete
    assert replay(Recording(path)) == []


def test_a_lab_cut_anywhere_is_explained_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = lab_file("linger-zero-established-v4").path.read_bytes()
    path = tmp_path / "cut.rec"
    header = whole.index(b"\n")
    for size in (*range(0, len(whole), 97), header, header + 1):
        path.write_bytes(whole[:size])
        if size < header:
            with pytest.raises(RsttraceError):
                Recording(path)
        else:
            replay(Recording(path))


def test_explain_says_that_it_was_cut(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = lab_file("closed-port-plain-v4").path.read_text().splitlines(keepends=True)
    path.write_text("".join(source[:-1]))
    assert run(["explain", str(path)]) == EXIT_FAILURE
    out, err = capsys.readouterr()
    assert "closed-port" in out
    assert err == f"rsttrace: {path} was cut off; this is what it holds.\n"


# -- no recording ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b"\x7fELF\x00\x01\xff\xfe" * 40,
        b"[1, 2]\n",
        b'"text"\n',
        b"null\n",
        b"{}\n",
        b'{"type":"reset","schema":1}\n',  # our own JSON output
        b"{" * 50,
    ],
)
def test_not_a_recording(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    fails(path, "is not a recording of rsttrace")


@pytest.mark.parametrize("number", [0, 2, "1", None, [], 1.5])
def test_another_format(path: Path, number: object) -> None:
    path.write_text(json.dumps({"rsttrace": number}) + "\n")
    fails(path, "was made by another version of rsttrace")


def test_unreadable(tmp_path: Path) -> None:
    fails(tmp_path / "none.rec", "No such file")
    fails(tmp_path, "Is a directory")
    (tmp_path / "loop").symlink_to("loop")
    fails(tmp_path / "loop", "cannot read")


def fails(path: Path, words: str) -> None:
    with pytest.raises(RsttraceError) as caught:
        Recording(path)
    err = caught.value
    assert words in err.message
    assert str(path) in err.message
    assert "\n" not in err.message
    assert err.exit_code == EXIT_FAILURE


# -- damaged ---------------------------------------------------------------------------------------


def save(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def damaged(name: str, change: Callable[[dict[str, Any]], object], path: Path) -> None:
    """A recording whose first line of this type was changed."""
    lines = [json.loads(line) for line in write(path).read_text().splitlines()]
    change(next(x for x in lines if x.get("type", "header") == name))
    save(path, lines)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("header", "layout"),
        ("header", "numbers"),
        ("header", "enums"),
        ("header", "host"),
        ("header", "listeners"),
        ("names", "symbols"),
        ("context", "kind"),
        ("context", "value"),
        ("records", "data"),
        ("lost", "count"),
        ("lost", "since_ns"),
    ],
)
def test_missing_keys(path: Path, kind: str, key: str) -> None:
    damaged(kind, lambda line: line.pop(key), path)
    fails(path, "is damaged")


@pytest.mark.parametrize(
    "data",
    [
        "!!!!",
        "AAAA",
        "A",
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(RECORDS[0])[:-6]).decode(),
        base64.b64encode(zlib.compress(RECORDS[0] + b"x")).decode(),
        base64.b64encode(zlib.compress(RECORDS[0][:-1])).decode(),
        5,
        None,
    ],
)
def test_damaged_records(path: Path, data: object) -> None:
    damaged("records", lambda line: line.update(data=data), path)
    fails(path, "is damaged in a line of records")


ODD: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    -1,
    2**70,
    1.5,
    [],
    {},
    [[]],
    {"": 0},
    ["x"],
    "\x1b[31m\n",
)


def places(tree: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value in a JSON tree; of long lists only the first two."""
    yield way
    if isinstance(tree, dict):
        for key in list(tree)[:12]:
            yield from places(tree[key], (*way, key))
    elif isinstance(tree, list):
        for i in range(min(2, len(tree))):
            yield from places(tree[i], (*way, i))


def test_any_value_replaced_by_any_other(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 or 1 and at most a clear line: never a fault, never terminal commands."""
    source = lab_file("linger-zero-established-v4").path.read_text().splitlines()
    wrong = []
    for number, text in enumerate(source):
        for way in places(json.loads(text)):
            for odd in ODD:
                if not way or (number == 0 and way[0] == "enums" and len(way) > 2):
                    continue
                line = json.loads(text)
                place = line
                for step in way[:-1]:
                    place = place[step]
                place[way[-1]] = odd
                path.write_text(
                    "\n".join([*source[:number], json.dumps(line), *source[number + 1 :]])
                )
                for options in ([], ["-j"]):
                    code = run(["explain", str(path), *options])
                    out, err = capsys.readouterr()
                    bad = (
                        code not in (EXIT_OK, EXIT_FAILURE) or "fault" in err or "\x1b" in out + err
                    )
                    if bad or err.count("\n") > 2:
                        wrong.append((number, way, odd, options, code, err[:160]))
    assert not wrong, "\n".join(map(str, wrong))


# -- writing ---------------------------------------------------------------------------------------


def test_full_disk() -> None:
    recorder = Recorder(Path("/dev/full"))
    with pytest.raises(RsttraceError, match="No space left on device") as caught:
        recorder.header(LAYOUT, ENUMS, HOST, [])
    assert "can be explained" in caught.value.hint
    recorder.end(0)  # and no second complaint at the end


@pytest.mark.parametrize("where", ["none/out.rec", "."])
def test_cannot_write(tmp_path: Path, where: str) -> None:
    with pytest.raises(RsttraceError, match="cannot write"):
        Recorder(tmp_path / where)


def test_what_was_recorded_before_the_disk_was_full_can_be_explained(path: Path) -> None:
    write(path, end=False)
    assert [len(b) for b in Recording(path).batches] == [2, 1]


def test_recording_answers_as_the_host_did() -> None:
    """What a recording knows is a Context like the live one."""
    recording = lab_file("linger-zero-established-v4").recording
    questions = [name for name in vars(Context) if not name.startswith("_")]
    assert len(questions) >= 6
    for name in questions:
        wanted = signature(getattr(Context, name)).parameters
        for kind in (RecordedContext, LiveContext, FakeContext):
            assert list(signature(getattr(kind, name)).parameters) == list(wanted)
    owner = lab_file("linger-zero-established-v4").explained[0].facts.owner
    assert owner
    assert recording.context.process(owner.pid) == owner
