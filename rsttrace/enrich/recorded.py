"""Answers about a host as a recording kept them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rsttrace.enrich import Process
from rsttrace.enrich.answering import place_of
from rsttrace.enrich.firewall import Firewall, from_json, said_for
from rsttrace.enrich.place import Place, Question
from rsttrace.enrich.userstack import UserStacks


def typed(value: Any, *kinds: type) -> Any:
    """The value; ValueError if it is of none of these types. A bool is no number here."""
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{value!r:.40} in place of {' or '.join(k.__name__ for k in kinds)}")
    return value


class RecordedContext:
    """Context of the host where the recording was made: see enrich.Context."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._owners: dict[int, int] = {}
        self._netns: dict[int, str | None] = {}
        self._firewalls: dict[int, list[tuple[int, Firewall]]] = {}
        self._places: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self._stacks = UserStacks()

    def learn(self, kind: str, key: str, value: Any) -> None:
        """One ``context`` line; KeyError, TypeError or ValueError if it is damaged."""
        if kind == "process":
            texts = [typed(text, str) for text in typed(value, list)]
            comm, exe, cmdline, cgroup = (*texts, "", "", "", "")[:4]
            threads = tuple(texts[4:])
            self._processes[int(key)] = Process(int(key), comm, exe, cmdline, cgroup, threads)
        elif kind == "owner":
            self._owners[int(key)] = typed(value, int)
        elif kind == "netns":
            self._netns[int(key)] = typed(value, str, type(None))
        elif kind == "firewall":
            rules = self._firewalls.setdefault(int(key), [])
            known = bool(rules) and "rules" not in typed(value, dict)
            told = rules[-1][1] if known else from_json(value)
            rules.append((typed(value["time_ns"], int), told))
        elif kind == "place":
            places = self._places.setdefault(key, [])
            last = places[-1][1] if places else {}
            places.append((typed(value["time_ns"], int), {**last, **typed(value, dict)}))
        elif kind == "user_frame":
            self._stacks.learn(key, value)

    def process(self, pid: int) -> Process | None:
        """A process of the recording host."""
        return self._processes.get(pid)

    def socket_owner(self, inode: int, likely: Iterable[int] = ()) -> int | None:
        """Who had this socket open."""
        return self._owners.get(inode)

    def netns_name(self, inode: int) -> str | None:
        """Name of a namespace of the recording host."""
        return self._netns.get(inode)

    def firewall(self, netns: int, time_ns: int) -> Firewall | None:
        """The rules there, as they were told first after this time."""
        return said_for(self._firewalls.get(netns, []), time_ns)

    def place(self, question: Question, time_ns: int) -> Place | None:
        """What the host said there first after this time."""
        value = said_for(self._places.get(question.key, []), time_ns)
        return None if value is None else place_of(value, question)

    def user_frames(
        self, pid: int, addresses: tuple[int, ...], words: tuple[int, ...]
    ) -> tuple[str, ...]:
        """Names of a process's own stack."""
        return self._stacks.names(pid, addresses, words)
