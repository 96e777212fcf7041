"""Who and where: the processes of one explained reset, and the service it was about. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rsttrace.causes.case import CLIENT, SERVER, Case, how_it_ended
from rsttrace.enrich import Process
from rsttrace.explain import Explained, role_of_local_end
from rsttrace.model import FORWARDED, NONE, RECEIVED, REJECTED
from rsttrace.records import at

# what happened, seen from this host
OUT, IN, THROUGH, QUIET = "out", "in", "through", "quiet"
_ACTS = {RECEIVED: IN, REJECTED: IN, FORWARDED: THROUGH, NONE: QUIET}


def act_of(one: Explained) -> str:
    """``out`` (sent or suppressed), ``in`` (received or rejected), ``through``, ``quiet``."""
    return _ACTS.get(one.reset.direction, OUT)


@dataclass(frozen=True)
class Service:
    """The end that clients connect to, by an address and port that stay the same.

    ``here``: it is this host's end. ``sure``: the roles are known, else they were guessed.
    """

    address: str
    port: int
    here: bool
    sure: bool

    @property
    def key(self) -> tuple[str, int]:
        """Of a server all its addresses count as one."""
        return ("", self.port) if self.here else (self.address, self.port)

    @property
    def text(self) -> str:
        """``10.0.0.5:8080``."""
        return at(self.address, self.port)


def service_of(one: Explained) -> Service:
    """Which of the two ends is the service."""
    flow = one.reset.flow
    role = role_of_local_end(Case(one.reset, one.facts))
    here = role == SERVER if role in (CLIENT, SERVER) else _looks_like_server(one)
    address, port = (flow.local, flow.lport) if here else (flow.remote, flow.rport)
    return Service(address, port, here, role is not None)


def _looks_like_server(one: Explained) -> bool:
    """By what listens anywhere on this host, else by the lower port."""
    flow, table, time_ns = one.reset.flow, one.facts.listeners, one.reset.time_ns
    if table:
        here, there = (bool(table.on_port(port, time_ns)) for port in (flow.lport, flow.rport))
        if here != there:
            return here
    return flow.lport <= flow.rport


def owner_of(one: Explained) -> Process | None:
    """Whose connection it was at this end."""
    return one.facts.owner or one.facts.closer


def doer_of(one: Explained) -> Process | None:
    """Who acted here, else whose connection it was, else who accepts there."""
    return one.facts.actor or owner_of(one) or one.facts.listener


def exit_of(one: Explained) -> str:
    """``was killed by SIGKILL`` if this end's process was ending, else empty."""
    decided, history = one.reset.decided, one.reset.history
    if decided and one.reset.active and decided.task.exiting:
        return how_it_ended(decided.task.exit_code)
    if history and not history.closed and history.closed_by_exit:
        return how_it_ended(history.close_exit_code)
    return ""
