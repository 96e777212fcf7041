"""Many explained resets to few groups of equal incidents. Pure; memory is bounded.

One RST is one incident, wherever on this host it was seen: its other end, its forwarding, its
echoes and its consequences count in the group of the reset that began it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

from rsttrace.explain import Explained
from rsttrace.fold import ECHOES, RELATED_NS
from rsttrace.model import FORWARDED, RECEIVED, REJECTED, Reset
from rsttrace.report.ends import Service, service_of
from rsttrace.report.group import Family, Group, family_of

MAX_GROUPS = 256
MAX_SERVICES = 6  # of one family; more are told as one (a port scan)
REMEMBER = 4096
WAITING = 1024

INCIDENT, ECHO, EFFECT = "incident", "echo", "effect"
# What the other end of the same connection makes of it: effect, by its causes
EFFECTS = {
    "retransmit-timeout": ("reset-suppressed", "retransmit-timeout"),
    "keepalive-timeout": ("reset-suppressed", "retransmit-timeout"),
    "user-timeout": ("reset-suppressed", "retransmit-timeout"),
    "stale-connection": ("reset-suppressed", "retransmit-timeout"),
    "late-segment": ("reset-suppressed", "retransmit-timeout"),
    "bad-ack-in-handshake": ("blind-syn-rejected",),
}

MANY = ("*", 0)  # in place of a service: all that a family has

_Ends = tuple[str, int, str, int]
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Home:
    """Where a reset is counted: ``kind`` is INCIDENT, ECHO or EFFECT."""

    group: Group
    kind: str
    cause: str
    time_ns: int


@dataclass
class Rest:
    """What came after MAX_GROUPS kinds of incident were known."""

    count: int = 0
    benign: int = 0


@dataclass
class Groups:
    """Feed explained resets in about the order of time, then ask for the groups once."""

    rest: Rest = field(default_factory=Rest)
    causes: Counter[str] = field(default_factory=Counter)
    _families: dict[Family, dict[tuple[str, int], Group]] = field(default_factory=dict)
    _number: int = 0
    _homes: dict[int, Home] = field(default_factory=dict)
    _flows: dict[_Ends, Home] = field(default_factory=dict)
    _waiting: dict[int, Explained] = field(default_factory=dict)
    _awaited: dict[int, list[int]] = field(default_factory=dict)

    def add(self, one: Explained) -> None:
        """Count one explained reset."""
        self.causes[one.verdict.cause] += one.count
        if not self._joins(one) and not self._waits(one):
            self._stand_alone(one)
        self._wake(one.reset.id)

    def groups(self) -> list[Group]:
        """All of them, in order of their first incident. Whoever still waited stands for itself."""
        for one in list(self._waiting.values()):
            self._give_up(one)
        self._unite_unnamed()
        found = [group for services in self._families.values() for group in services.values()]
        return sorted(found, key=lambda group: group.first_ns)

    @property
    def harmful(self) -> bool:
        """Is there an incident that is not harmless? Unknown ones count as harmful."""
        return self.rest.count > self.rest.benign or not all(g.harmless for g in self.groups())

    # -- part of an incident that is known ---------------------------------------------------------

    def _joins(self, one: Explained) -> bool:
        """Is it a part of an incident that is known already?"""
        sender = _sender(one.reset)
        home = self._homes.get(sender.id) if sender else None
        if home:
            self._join_end(one, home)
            return True
        return self._joins_related(one) or self._joins_effect(one)

    def _join_end(self, one: Explained, home: Home) -> None:
        """The RST of this home, seen at the other end or on its way."""
        group = home.group.final
        if home.kind != INCIDENT:
            group.ends += one.count
        elif one.reset.direction == FORWARDED:
            group.forwarded += one.count
        else:
            group.receive(one)
        self._settle(one, home.group, home.kind)

    def _joins_related(self, one: Explained) -> bool:
        """An echo, or a series that goes on. A harmful one never hides behind a harmless one."""
        home = self._homes.get(one.related.id) if one.related else None
        if not home or not one.related:
            return False
        group, cause = home.group.final, one.verdict.cause
        if group.benign and not one.verdict.benign:
            return False
        if cause == one.related.cause and cause not in ECHOES:
            group.take(one, service_of(one))
            kind = INCIDENT
        else:
            kind = self._follow(one, group)
        self._settle(one, group, kind)
        return True

    def _joins_effect(self, one: Explained) -> bool:
        """What the other end of a connection made of it."""
        flow, causes = one.reset.flow, EFFECTS.get(one.verdict.cause, ())
        home = self._flows.get((flow.remote, flow.rport, flow.local, flow.lport))
        if not home or home.cause not in causes or home.group.final.benign:
            return False
        if not 0 <= one.reset.time_ns - home.time_ns <= RELATED_NS:
            return False
        self._settle(one, home.group, self._follow(one, home.group.final))
        return True

    def _follow(self, one: Explained, group: Group) -> str:
        if one.verdict.benign or one.verdict.cause in ECHOES:
            group.echoes += one.count
            return ECHO
        group.effects += one.count
        return EFFECT

    # -- waiting for the sender's record -----------------------------------------------------------

    def _waits(self, one: Explained) -> bool:
        """The two ends come in any order: keep it until the sender's record comes."""
        if not _sender(one.reset) and not (one.related and one.related.id in self._waiting):
            return False
        self._waiting[one.reset.id] = one
        for number in _awaits(one):
            self._awaited.setdefault(number, []).append(one.reset.id)
        if len(self._waiting) > WAITING:
            self._give_up(next(iter(self._waiting.values())))
        return True

    def _wake(self, number: int) -> None:
        """This reset has a home now: those that waited for it have one as well."""
        if number not in self._homes:
            return
        for waiting in self._awaited.pop(number, ()):
            one = self._waiting.get(waiting)
            if one and self._joins(one):
                self._forget(one)
                self._wake(waiting)

    def _give_up(self, one: Explained) -> None:
        """The sender's own record does not come: it is out of scope, or was folded into another."""
        if one.reset.id not in self._waiting:
            return  # woken meanwhile
        self._forget(one)
        sender = _sender(one.reset)
        home = self._flows.get(_ends(sender)) if sender else None
        if home and home.group.final.act == "out":
            home.group.final.ends += one.count
            self._settle(one, home.group, ECHO)
        elif not self._joins(one):
            self._stand_alone(one)
        self._wake(one.reset.id)

    def _forget(self, one: Explained) -> None:
        """It waits no more."""
        del self._waiting[one.reset.id]
        for number in _awaits(one):
            left = [n for n in self._awaited.get(number, ()) if n != one.reset.id]
            if left:
                self._awaited[number] = left
            else:
                self._awaited.pop(number, None)

    # -- an incident of its own --------------------------------------------------------------------

    def _stand_alone(self, one: Explained) -> None:
        service = service_of(one)
        group = self._group(one, service)
        if group is None:
            self.rest.count += one.count
            self.rest.benign += one.count * one.verdict.benign
            return
        group.take(one, service)
        self._settle(one, group, INCIDENT)

    def _group(self, one: Explained, service: Service) -> Group | None:
        """The group for it, made if there is room. What is harmless is not told by service."""
        family = family_of(one)
        services = self._families.get(family)
        if services is None:
            if self._number >= MAX_GROUPS:
                return None
            services = self._families[family] = {}
        key = MANY if one.verdict.benign or MANY in services else service.key
        found = services.get(key)
        if found:
            return found
        if len(services) < MAX_SERVICES and self._number < MAX_GROUPS:
            self._number += 1
            services[key] = Group.of(one, service)
            return services[key]
        return self._merge(services)

    def _merge(self, services: dict[tuple[str, int], Group]) -> Group:
        """One group in place of many that differ in the service only."""
        first, *others = services.values()
        for other in others:
            first.merge(other)
        first.service = None
        self._number -= len(others)
        services.clear()
        services[MANY] = first
        return first

    def _unite_unnamed(self) -> None:
        """A socket that was gone when its owner was looked up belongs to who has that service."""
        for family in [family for family in self._families if not family[2]]:
            cause, act, _, netns, benign = family
            named = [
                services
                for (c, a, name, n, b), services in self._families.items()
                if name and (c, a, n, b) == (cause, act, netns, benign)
            ]
            unnamed = self._families[family]
            for key in list(unnamed):
                homes = [services[key] for services in named if key in services]
                if len(homes) == 1:
                    homes[0].merge(unnamed.pop(key))
                    self._number -= 1
            if not unnamed:
                del self._families[family]

    def _settle(self, one: Explained, group: Group, kind: str) -> None:
        """Remember where this reset was counted."""
        home = Home(group, kind, one.verdict.cause, one.reset.time_ns)
        _remember(self._homes, one.reset.id, home)
        if kind == INCIDENT and one.reset.direction != FORWARDED:
            _remember(self._flows, _ends(one.reset), home)


def _sender(reset: Reset) -> Reset | None:
    """The record of the end that made this RST, when that is on this host."""
    if reset.direction in (RECEIVED, REJECTED):
        return reset.peer
    return reset.origin if reset.direction == FORWARDED else None


def _awaits(one: Explained) -> tuple[int, ...]:
    sender = _sender(one.reset)
    found = (sender.id if sender else 0, one.related.id if one.related else 0)
    return tuple(number for number in found if number)


def _ends(reset: Reset) -> _Ends:
    flow = reset.flow
    return flow.local, flow.lport, flow.remote, flow.rport


def _remember(table: dict[_Key, Home], key: _Key, home: Home) -> None:
    table.pop(key, None)
    table[key] = home
    if len(table) > REMEMBER:
        del table[next(iter(table))]
