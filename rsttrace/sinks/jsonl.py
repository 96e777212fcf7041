"""JSON Lines, schema 1 (docs/json.md): names are stable, a field that does not apply is null."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from rsttrace.completeness import Completeness
from rsttrace.enrich import Process
from rsttrace.enrich.cgroup import Home
from rsttrace.enrich.place import Place
from rsttrace.explain import Explained
from rsttrace.model import Reset
from rsttrace.packet import Packet
from rsttrace.sinks.totals import Totals

SCHEMA = 1
PLACE_PARTS = ("sockets", "path", "peer", "conntrack")


def rfc3339(ns: int) -> str:
    """UTC with nanoseconds, ``2026-11-21T02:14:07.113000000Z``."""
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def packet_object(packet: Packet | None) -> dict[str, Any] | None:
    """A RST or the segment that provoked it."""
    if packet is None:
        return None
    return {
        "flags": packet.flag_text,
        "seq": packet.seq,
        "ack": packet.ack,
        "window": packet.window,
        "ttl": packet.ttl,
        "ip_id": packet.ip_id,
        "length": packet.length,
        "payload_kind": packet.payload_kind,
    }


def socket_object(reset: Reset) -> dict[str, Any] | None:
    """Facts of the socket; null if no full socket was involved."""
    sock, history = reset.sock, reset.history
    if sock is None:
        return None
    listener = reset.state == "LISTEN"
    own = history if history and not history.closed else None
    age = (reset.time_ns - own.established_ns) / 1e9 if own and own.established_ns else None
    idle = sock.heard_ms / 1000 if sock.heard_ms is not None and not listener else None
    return {
        "unread_bytes": None if listener else sock.unread,
        "unacked_bytes": None if listener else sock.unacked,
        "age_s": age,
        "idle_s": idle,
        "retransmits": sock.retransmits,
        "keepalive_probes": sock.probes_out,
        "linger": sock.linger_ms / 1000 if sock.linger else None,
        "accept_queue": (
            {"used": sock.ack_backlog, "max": sock.max_ack_backlog} if listener else None
        ),
        "uid": sock.uid,
        "cookie": sock.cookie or None,
    }


def process_object(explained: Explained) -> dict[str, Any] | None:
    """The owner, or the task that merely was on the CPU; ``role`` says which."""
    facts, main = explained.facts, explained.reset.main
    owner = facts.owner or facts.closer
    if owner:
        tid = main.task.tid if facts.actor and facts.actor.pid == owner.pid else None
        return _process(owner, tid, "owner")
    if main.task.pid:
        return _process(Process(main.task.pid, main.task.comm), main.task.tid, "current")
    return None


def container_object(home: Home | None) -> dict[str, Any] | None:
    """The container that a process lives in; null if it is in none, or only watches over one."""
    if home is None or home.monitor or not (home.container_id or home.pod):
        return None
    return {"id": home.container_id, "runtime": home.runtime, "pod": home.pod}


def place_object(place: Place | None) -> dict[str, Any] | None:
    """What the host said of the place of the reset; null if it was not asked."""
    if place is None:
        return None
    parts: dict[str, Any] = {name: getattr(place, name) for name in PLACE_PARTS}
    return {
        "settings": dict(place.settings),
        **{name: part and asdict(part, dict_factory=_no_empty) for name, part in parts.items()},
        "problems": dict(place.problems),
    }


def _no_empty(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """An empty text is one that does not apply."""
    return {name: None if value == "" else value for name, value in items}


def user_stack(explained: Explained) -> list[str]:
    """Names, or the bare addresses where there are none."""
    decided = explained.reset.decided
    names = explained.facts.user_frames
    return list(names) if names or not decided else [hex(a) for a in decided.ustack]


def _process(process: Process, tid: int | None, role: str) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "tid": tid,
        "comm": process.comm,
        "exe": process.exe or None,
        "cmdline": process.cmdline or None,
        "role": role,
    }


def reset_object(explained: Explained, wall_offset_ns: int) -> dict[str, Any]:
    """The ``reset`` object of the schema."""
    reset, verdict, flow = explained.reset, explained.verdict, explained.reset.flow
    decided, dropped = reset.decided, reset.trigger_drop or reset.judged
    wire, owner = reset.wire, explained.facts.owner or explained.facts.closer
    home = owner.home if owner else None
    return {
        "schema": SCHEMA,
        "type": "reset",
        "id": reset.id,
        "time": rfc3339(reset.time_ns + wall_offset_ns),
        "monotonic_ns": reset.time_ns,
        "count": explained.count,
        "direction": reset.direction,
        "cause": verdict.cause,
        "confidence": verdict.confidence,
        "summary": verdict.summary,
        "evidence": list(verdict.evidence),
        "remedies": list(verdict.remedies),
        "benign": verdict.benign,
        "phase": verdict.phase or None,
        "initiator": verdict.initiator,
        "log_term": verdict.log_term,
        "missing": verdict.missing or None,
        "family": flow.family,
        "local": {"address": flow.local, "port": flow.lport},
        "remote": {"address": flow.remote, "port": flow.rport},
        "state": reset.state,
        "state_before": reset.state_before,
        "errno": verdict.errno,
        "reset_reason": reset.reason,
        "reset_reason_raw": decided.reason_raw if decided and decided.reason else None,
        "drop_reason": reset.drop_reason,
        "drop_reason_raw": dropped.drop_reason_raw if dropped and dropped.drop_reason else None,
        "process": process_object(explained),
        "netns": {"inode": flow.netns or None, "name": explained.facts.netns_name},
        "cgroup": (owner.cgroup or None) if owner else None,
        "unit": home.unit if home else None,
        "container": container_object(home),
        "interface": wire.dev if wire and wire.dev else None,
        "packet": packet_object(reset.packet),
        "trigger": packet_object(reset.trigger),
        "socket": socket_object(reset),
        "kernel_stack": list(reset.frames),
        "user_stack": user_stack(explained),
        "place": place_object(explained.facts.place),
        "settings": dict(verdict.settings),
        "peer_id": reset.peer.id if reset.peer else None,
        "related": explained.related.id if explained.related else None,
        "suppressed_cause": verdict.suppressed_cause,
    }


def completeness_object(done: Completeness | None) -> dict[str, Any] | None:
    """The RSTs told, held against the kernel's own count; null in a replay."""
    if done is None:
        return None
    return {
        "explained": done.explained,
        "unexplained": done.unexplained,
        "outside_tcp": done.outside_tcp,
        "lost_records": done.lost,
        "tcp_out_rsts": done.counted,
        "told": done.told,
        "missing": done.missing if done.counted is not None else None,
        "surplus": done.surplus if done.counted is not None else None,
        "differs": done.differs,
        "namespaces": done.namespaces,
        "namespaces_gone": done.gone,
        "not_compared": done.why_not or None,
    }


class JsonSink:
    """One JSON object per line."""

    def __init__(self, wall_offset_ns: int) -> None:
        self._offset = wall_offset_ns

    def start(self, facts: dict[str, object]) -> str:
        """The ``start`` object: host, kernel, hooks."""
        return self._line({"type": "start", **facts})

    def reset(self, explained: Explained) -> str:
        """A ``reset`` object."""
        return json.dumps(reset_object(explained, self._offset), ensure_ascii=False)

    def lost(self, count: int) -> str:
        """A ``lost`` object: so many more records were lost."""
        return self._line({"type": "lost", "count": count})

    def summary(self, totals: Totals) -> str:
        """The ``summary`` object."""
        return self._line(
            {
                "type": "summary",
                "resets": totals.resets,
                "benign": totals.benign,
                "lost": totals.lost,
                "duration_s": round(totals.duration_s, 3),
                "directions": dict(totals.directions),
                "causes": [
                    {"cause": cause, "direction": direction, "count": count}
                    for (cause, direction), count in totals.causes.most_common()
                ],
                "completeness": completeness_object(totals.completeness),
            }
        )

    def _line(self, fields: dict[str, Any]) -> str:
        return json.dumps({"schema": SCHEMA, **fields}, ensure_ascii=False)
