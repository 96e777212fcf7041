"""A recording: raw records with the kernel's names, symbols and what enrichment learnt.

JSON Lines. The first line is the header (``"rsttrace": 1``), then in order of time lines of
``names`` (addresses to functions), ``context`` (processes, owners, namespaces), ``records``
(base64, zlib) and ``lost``; the last is ``end``. A file without ``end`` was cut off; what is
there can still be explained.
"""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from rsttrace.enrich import Process
from rsttrace.errors import RsttraceError
from rsttrace.layout import Layout
from rsttrace.listeners import Listener

FORMAT = 1


class Recorder:
    """Writes a recording. OSError from a full disk is raised as RsttraceError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
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
        """One thing enrichment learnt."""
        self._write({"type": "context", "kind": kind, "key": key, "value": value})

    def records(self, raw: list[bytes]) -> None:
        """Records as they came out of the perf buffer."""
        if raw:
            packed = base64.b64encode(zlib.compress(b"".join(raw), 6)).decode()
            self._write({"type": "records", "count": len(raw), "data": packed})

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
        self._processes: dict[int, Process] = {}
        self._owners: dict[int, int] = {}
        self._netns: dict[int, str | None] = {}
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
                    yield line
        except OSError as err:
            raise RsttraceError(f"cannot read {self.path}: {err.strerror}.") from err

    def _read_header(self, header: Mapping[str, Any]) -> None:
        try:
            self.layout = Layout(
                tuple((name, code) for name, code in header["layout"]), header["numbers"]
            )
            self._enums = {
                e: {int(k): v for k, v in names.items()} for e, names in header["enums"].items()
            }
            self.host: Mapping[str, Any] = header["host"]
            self.listeners = [Listener(**x) for x in header["listeners"]]
        except (KeyError, TypeError, ValueError) as err:
            raise RsttraceError(f"{self.path} is damaged: its first line lacks {err}.") from err

    def _read_line(self, line: Mapping[str, Any]) -> None:
        kind = line.get("type")
        try:
            if kind == "names":
                self._symbols.update({int(a, 16): n for a, n in line["symbols"].items()})
            elif kind == "context":
                self._learn(line["kind"], line["key"], line["value"])
            elif kind == "records":
                raw = zlib.decompress(base64.b64decode(line["data"]))
                size = self.layout.size
                self.batches.append([raw[i : i + size] for i in range(0, len(raw), size)])
            elif kind == "lost":
                self.lost += line["count"]
                self.losses.append((line["since_ns"], line["until_ns"]))
            elif kind == "end":
                self.complete = True
        except (KeyError, TypeError, ValueError, zlib.error) as err:
            raise RsttraceError(f"{self.path} is damaged in a line of {kind}: {err}.") from err

    def _learn(self, kind: str, key: str, value: Any) -> None:
        if kind == "process":
            self._processes[int(key)] = Process(int(key), *value)
        elif kind == "owner":
            self._owners[int(key)] = value
        elif kind == "netns":
            self._netns[int(key)] = value

    # Names
    def symbol(self, address: int) -> str | None:
        """Function at a return address, as the recording kernel named it."""
        return self._symbols.get(address)

    def enum(self, name: str) -> Mapping[int, str]:
        """An enum of the recording kernel."""
        return self._enums.get(name, {})

    # Context
    def process(self, pid: int) -> Process | None:
        """A process of the recording host."""
        return self._processes.get(pid)

    def socket_owner(self, inode: int) -> int | None:
        """Who had this socket open."""
        return self._owners.get(inode)

    def netns_name(self, inode: int) -> str | None:
        """Name of a namespace of the recording host."""
        return self._netns.get(inode)
