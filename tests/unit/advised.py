"""What the tests of the advice share: a place with all answers, one with none, and cases."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from rsttrace.advice import SOURCES, advise
from rsttrace.advice.fit import Fit
from rsttrace.advice.fits import advisers
from rsttrace.causes import catalogue
from rsttrace.causes.case import Case, Sender
from rsttrace.causes.rules import rules
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.place import Listening, Path, Peer, Place, Sockets, Tracked
from rsttrace.explain import Explained, Verdict, explain, sender_of
from rsttrace.model import RECEIVED, REJECTED, Reset
from rsttrace.records import at

from .build import MS, T
from .labfiles import LabFile

SERVICE = Process(1432, "nginx", "/usr/sbin/nginx", "nginx: worker", "/system.slice/web.service")
ON_HOST = Facts(owner=SERVICE, netns_name="host")
PROBLEMS = Place(T + 3 * MS, problems=dict.fromkeys(SOURCES, "took too long"))
ALL_SETTINGS = {
    "net.core.somaxconn": "4096",
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.tcp_abort_on_overflow": "1",
    "net.ipv4.tcp_challenge_ack_limit": "1000",
    "net.ipv4.tcp_fin_timeout": "47",
    "net.ipv4.tcp_keepalive_intvl": "75",
    "net.ipv4.tcp_keepalive_probes": "9",
    "net.ipv4.tcp_keepalive_time": "7200",
    "net.ipv4.tcp_max_orphans": "131072",
    "net.ipv4.tcp_mem": "287901 383869 575802",
    "net.ipv4.tcp_migrate_req": "0",
    "net.ipv4.tcp_retries2": "15",
    "net.ipv4.tcp_syn_linear_timeouts": "4",
    "net.ipv4.tcp_syn_retries": "6",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv6.bindv6only": "0",
    "net.mptcp.close_timeout": "60",
    "net.mptcp.enabled": "1",
    "net.netfilter.nf_conntrack_tcp_be_liberal": "0",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "432000",
}


def full_place(one: Reset) -> Place:
    """Everything was learnt, 3 ms after the reset."""
    flow = one.flow
    return Place(
        one.time_ns + 3 * MS,
        ALL_SETTINGS,
        Sockets(Listening(flow.local, flow.lport, 777, 33, 129, 128, 7)),
        Path("eth0", "veth", True, "", "web eth0", "10.0.0.1", flow.local, "unicast", "FAILED"),
        Peer(False, ("web",)),
        Tracked(True, "ESTABLISHED", 60, True, f"{at(flow.remote, flow.rport)} > 10.9.9.9:8443"),
    )


def settings(**values: Any) -> dict[str, str]:
    """``settings(tcp_retries2=15)``: sysctls of net.ipv4."""
    return {f"net.ipv4.{name}": str(value) for name, value in values.items()}


def advised(one: Reset, place: Place | None = None, facts: Facts = ON_HOST) -> Verdict:
    """All rules, then the advice."""
    facts = replace(facts, place=place)
    return advise(Case(one, facts), explain(one, facts))


def told_of(file: LabFile) -> Iterator[tuple[Explained, Sender | None]]:
    """The resets of a recording, each with what the other end says of it."""
    senders: dict[int, Sender] = {}
    for one in sorted(file.explained, key=lambda e: e.reset.direction in (RECEIVED, REJECTED)):
        known = one.reset.peer and one.reset.direction in (RECEIVED, REJECTED)
        yield one, senders.get(one.reset.peer.id) if known and one.reset.peer else None
        senders[one.reset.id] = sender_of(one)


@cache
def _said(cause: str) -> str:
    """All general remedies that a verdict of this cause can have: the catalogue's, the rule's."""
    ask = next(rule.ask for rule in rules() if rule.cause == cause)
    module = inspect.getmodule(ask)
    assert module
    texts = [
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join((*catalogue()[cause].remedies, *texts))


def ask(cause: str, case: Case, place: Place) -> Fit:
    """What the adviser of this cause says; what it declares settled must be said somewhere."""
    fit = advisers()[cause].ask(case, place) or Fit()
    for text in fit.settles:
        assert text in _said(cause), f"{cause}: nobody says {text!r}"
    return fit
