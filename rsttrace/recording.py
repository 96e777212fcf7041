"""A recording: raw records with the kernel's names, symbols and what enrichment learnt.

JSON Lines. The first line is the header (``"rsttrace": 1``), then in order of time lines of
``names`` (addresses to functions), ``context`` (what enrichment learnt: enrich/recorded.py),
``records`` (base64, zlib) and ``lost``; the last is ``end``. A file without ``end`` was cut off;
what is there can still be explained.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from rsttrace.enrich.recorded import RecordedContext, typed
from rsttrace.errors import RsttraceError
from rsttrace.kernel.loader import bpf_dir
from rsttrace.layout import Layout
from rsttrace.listeners import Listener
from rsttrace.output import printable

FORMAT = 1
AT_ONCE = 128  # records in a line: when the disk is full only the last line is lost
LOSS = ("since_ns", "until_ns")
_CODE = re.compile(r"[1-9]\d{0,3}[BHIQs]")


class Recorder:
    """Writes a recording. OSError from a full disk is raised as RsttraceError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        self._error: RsttraceError | None = None
        try:
            self._file: IO[str] = path.open("w", encoding="utf-8")
        except OSError as err:
            raise RsttraceError(f"cannot write {path}: {err.strerror}.") from err

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as err:
            self._failed = True
            raise RsttraceError(
                f"cannot write {self._path}: {err.strerror}; the recording ends here.",
                "Free some space or choose another place; what is there can be explained.",
            ) from err

    def header(
        self,
        layout: Layout,
        enums: Mapping[str, Mapping[int, str]],
        facts: Mapping[str, Any],
        listeners: list[Listener],
    ) -> None:
        """First line: the record layout, the kernel's enum names and ``facts`` of the host."""
        self._write(
            {
                "rsttrace": FORMAT,
                "layout": [list(f) for f in layout.fields],
                "numbers": dict(layout.numbers),
                "enums": {e: {str(k): v for k, v in names.items()} for e, names in enums.items()},
                "host": dict(facts),
                "listeners": [asdict(x) for x in listeners],
            }
        )

    def names(self, symbols: Mapping[int, str | None]) -> None:
        """Function names of return addresses seen for the first time."""
        if symbols:
            self._write({"type": "names", "symbols": {hex(a): n for a, n in symbols.items()}})

    def context(self, kind: str, key: str, value: object) -> None:
        """One thing enrichment learnt.

        It is told in the middle of explaining: a full disk must not cost the resets in hand, so
        its error waits for the next ``records``.
        """
        try:
            self._write({"type": "context", "kind": kind, "key": key, "value": value})
        except RsttraceError as err:
            self._error = err

    def records(self, raw: list[bytes]) -> None:
        """Records as they came out of the perf buffer."""
        if self._error:
            raise self._error
        for start in range(0, len(raw), AT_ONCE):
            some = raw[start : start + AT_ONCE]
            packed = base64.b64encode(zlib.compress(b"".join(some), 6)).decode()
            self._write({"type": "records", "count": len(some), "data": packed})

    def lost(self, count: int, since_ns: int, until_ns: int) -> None:
        """So many records did not fit into the perf buffer, between these times."""
        self._write({"type": "lost", "count": count, "since_ns": since_ns, "until_ns": until_ns})

    def end(self, lost: int) -> None:
        """Last line, unless the recording broke off before."""
        try:
            if not self._failed:
                self._write({"type": "end", "lost": lost})
        finally:
            self.close()

    def close(self) -> None:
        """Close without an end line."""
        with contextlib.suppress(OSError):  # a full disk was said already
            self._file.close()


def clean(value: Any) -> Any:
    """A JSON value whose texts cannot command a terminal, whoever made the file."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): clean(one) for key, one in value.items()}
    return [clean(one) for one in value] if isinstance(value, list) else value


def table(value: Any, *kinds: type) -> dict[str, Any]:
    """A JSON object whose values are of these types."""
    return {key: typed(one, *kinds) for key, one in typed(value, dict).items()}


@dataclass(frozen=True)
class RecordedLayout(Layout):
    """The layout of a recording, which another version may have made.

    ``absent`` are fields that only this version has; zero is their "not known".
    """

    absent: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, layout: Any, numbers: Any) -> RecordedLayout:
        """Out of a header; ValueError if this version could not use it."""
        known = Layout.parse((bpf_dir() / "record.h").read_text())
        codes = {typed(name, str): typed(code, str) for name, code in typed(layout, list)}
        absent: dict[str, Any] = {}
        for name, code in known.fields:
            recorded = codes.get(name)
            if recorded is None:
                absent[name] = b"" if code.endswith("s") else 0 if code[:-1] == "1" else ()
            elif _shape(recorded) != _shape(code):
                raise ValueError(f"field {name} is {recorded}, not {code}")
        sound = all(_CODE.fullmatch(code) for code in codes.values())
        if not sound or len(absent) == len(known.fields):
            raise ValueError("the layout")
        bits = {name: 0 for name in known.numbers if name.startswith("HAVE_")}
        return cls(tuple(codes.items()), {**bits, **table(numbers, int)}, absent)

    def unpack(self, raw: bytes) -> dict[str, Any]:
        """As Layout, with zero for what the recording does not have."""
        return {**self.absent, **super().unpack(raw)}


def _shape(code: str) -> tuple[bool, bool]:
    """Bytes or numbers, one or many."""
    return code.endswith("s"), code[:-1] == "1"


def _listener(values: Any) -> Listener:
    kinds = {"int": int, "str": str}
    known = {f.name: kinds[str(f.type)] for f in fields(Listener)}
    return Listener(**{k: typed(v, known[k]) for k, v in typed(values, dict).items()})


class Recording:
    """A recording that was read. ``complete`` is False when it was cut off."""

    def __init__(self, path: Path) -> None:
        """Read a whole recording; RsttraceError if it is none or cannot be read."""
        self.path = path
        self.batches: list[list[bytes]] = []
        self.lost = 0
        self.losses: list[tuple[int, int]] = []
        self.complete = False
        self._symbols: dict[int, str | None] = {}
        self.context = RecordedContext()
        lines = self._lines()
        header = next(lines, None)
        if not header or "rsttrace" not in header:
            raise RsttraceError(
                f"{path} is not a recording of rsttrace.", "Make one with: rsttrace --record FILE"
            )
        if header["rsttrace"] != FORMAT:
            raise RsttraceError(
                f"{path} was made by another version of rsttrace "
                f"(format {header['rsttrace']}, this one reads {FORMAT})."
            )
        self._read_header(header)
        for line in lines:
            self._read_line(line)

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                for raw in file:
                    try:
                        line = json.loads(raw)
                    except ValueError:
                        return  # cut off in the middle of a line, or no JSON at all
                    if not isinstance(line, dict):
                        return
                    yield clean(line)
        except OSError as err:
            raise RsttraceError(f"cannot read {self.path}: {err.strerror}.") from err

    def _read_header(self, header: Mapping[str, Any]) -> None:
        try:
            self.layout = RecordedLayout.read(header["layout"], header["numbers"])
            self._enums = {
                name: {int(k): v for k, v in table(enum, str).items()}
                for name, enum in typed(header["enums"], dict).items()
            }
            self.host: Mapping[str, Any] = typed(header["host"], dict)
            for key in ("wall_offset_ns", "started_ns"):
                if typed(self.host.get(key, 0), int) >> 62:  # a year that no calendar has
                    raise ValueError(key)
            self.listeners = [_listener(x) for x in typed(header["listeners"], list)]
        except (KeyError, TypeError, ValueError) as err:
            raise RsttraceError(f"{self.path} is damaged in its first line: {err}.") from err

    def _read_line(self, line: Mapping[str, Any]) -> None:
        kind = line.get("type")
        try:
            if kind == "names":
                names = table(line["symbols"], str, type(None))
                self._symbols.update({int(a, 16): n for a, n in names.items()})
            elif kind == "context":
                self.context.learn(line["kind"], line["key"], line["value"])
            elif kind == "records":
                raw = zlib.decompress(base64.b64decode(typed(line["data"], str)))
                size = self.layout.size
                if len(raw) % size:
                    raise ValueError(f"{len(raw)} bytes are no whole records of {size}")
                self.batches.append([raw[i : i + size] for i in range(0, len(raw), size)])
            elif kind == "lost":
                count, since, until = (typed(line[k], int) for k in ("count", *LOSS))
                self.lost += count
                self.losses.append((since, until))
            elif kind == "end":
                self.complete = True
        except (KeyError, TypeError, ValueError, zlib.error) as err:
            raise RsttraceError(f"{self.path} is damaged in a line of {kind}: {err}.") from err

    def symbol(self, address: int) -> str | None:
        """Function at a return address, as the recording kernel named it."""
        return self._symbols.get(address)

    def enum(self, name: str) -> Mapping[int, str]:
        """An enum of the recording kernel."""
        return self._enums.get(name, {})
