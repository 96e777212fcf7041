"""Who did what to whom, in one line: the catalogue's ``headline`` with the words of one group.

Placeholders of a template: ``{here}`` the process at this end, ``{there}`` the other end,
``{actor}`` who acted from outside, ``{service}`` the end that clients connect to, ``{local}``
this end's address, ``{count}`` ``3 of 12 resets``, ``{times}`` ``once`` or ``3 times`` (of what
is no reset), ``{act}`` which way the resets went, ``{dropper}`` what on this host dropped them,
``{queue}`` what kept a connection from its queue.
"""

from __future__ import annotations

from rsttrace.causes import catalogue
from rsttrace.causes.case import CERTAIN, LIKELY, POSSIBLE
from rsttrace.causes.rules import reset_suppressed
from rsttrace.model import REJECTED, SUPPRESSED
from rsttrace.output import printable
from rsttrace.report.ends import IN, OUT, QUIET, THROUGH, service_of
from rsttrace.report.group import Group
from rsttrace.report.tops import Tops

SOMEBODY = "a program on this host"
PROBE = "rsttrace"
UNSURE = {LIKELY: "probably ", POSSIBLE: "perhaps "}

# harmless resets by the dozen: (one, many)
NOUNS = {
    "ack-to-listener": ("segment outside any connection", "segments outside any connection"),
    "bad-syn": ("scan with odd flags", "scans with odd flags"),
    "blind-reset-rejected": ("forged reset fended off", "forged resets fended off"),
    "blind-syn-rejected": ("repeated opening answered", "repeated openings answered"),
    "closed-port": ("knock on a closed port", "knocks on closed ports"),
    "connect-and-abort": ("health check or scan", "health checks or scans"),
    "data-after-close": ("segment after close", "segments after close"),
    "fastopen-reset": ("second Fast Open opening", "second Fast Open openings"),
    "handshake-aborted": ("aborted handshake", "aborted handshakes"),
    "late-segment": ("late segment", "late segments"),
    "linger-zero": ("intended reset", "intended resets"),
    "mptcp-reset": ("MPTCP path reset", "MPTCP path resets"),
    "out-of-window-reset": ("odd reset ignored", "odd resets ignored"),
    "peer-closed-first": ("reset after both had closed", "resets after both had closed"),
    "peer-reset": ("reset of a finished connection", "resets of finished connections"),
    "reset-after-fin": ("reset after the goodbye", "resets after the goodbye"),
    "reset-no-socket": ("reset without a connection", "resets without a connection"),
    "stale-connection": ("answer to a closed connection", "answers to closed connections"),
    "timewait-assassination": ("reset after the end", "resets after the end"),
    "tls-close-notify": ("TLS goodbye", "TLS goodbyes"),
    "unread-data-on-close": ("reset that nobody minded", "resets that nobody minded"),
    "unexpected-syn-ack": ("answer nobody waited for", "answers nobody waited for"),
}


def headline(group: Group, total: int, probe: frozenset[tuple[str, int]] = frozenset()) -> str:
    """One line. ``total``: of all incidents; ``probe``: the ends that this program opened."""
    words = _words(group, total, probe)
    template = catalogue()[group.cause].headline
    text = unsure_of(group) + template.format_map(words)
    if all_dropped(group):
        text += ", but this host's firewall dropped " + ("it" if group.count == 1 else "them")
    elif group.act == OUT and not group.harmed:
        text += ", without harm"
    if not _begins_with_a_name(group, text) and text.split(" ", 1)[0].rstrip("':").isalpha():
        text = text[0].upper() + text[1:]
    return printable(" ".join(text.split()))


def all_dropped(group: Group) -> bool:
    """Did a firewall of this host keep all of them from the other end, where TCP never saw them?"""
    dropped = group.told_there.counts[reset_suppressed.CAUSE]
    return group.act == OUT and group.count == group.received == dropped


def unsure_of(group: Group) -> str:
    """``probably `` or ``perhaps ``; nothing if it is certain, or not known at all."""
    return UNSURE.get(group.usual_confidence, "")


def _begins_with_a_name(group: Group, text: str) -> bool:
    """Of a process: nginx is not Nginx."""
    known = (names(group.owners), names(group.actors), PROBE)
    return any(name and text.startswith(name) for name in known)


def nouns(cause: str, count: int) -> str:
    """``30 late segments``."""
    one, many = NOUNS.get(cause, (cause, cause))
    return f"{count:,} {one if count == 1 else many}"


def _words(group: Group, total: int, probe: frozenset[tuple[str, int]]) -> dict[str, str]:
    flow = group.example.reset.flow
    ours, theirs = (flow.local, flow.lport) in probe, (flow.remote, flow.rport) in probe
    here = PROBE if ours else here_words(group)
    there = PROBE if theirs else there_words(group)
    return {
        "here": here,
        "there": there,
        "actor": names(group.actors) or SOMEBODY,
        "service": service_words(group),
        "local": _local(group),
        "count": count_words(group, total),
        "times": "once" if group.count == 1 else f"{group.count:,} times",
        "act": _act(group, here, there),
        "dropper": reset_suppressed.dropper(group.example.reset.judged),
        "queue": _queue(group),
    }


def count_words(group: Group, total: int) -> str:
    """``3 of 12 resets``, ``1 reset``; what ended without a RST is none."""
    if group.act == QUIET:
        return f"{group.count:,} connection{'s' if group.count > 1 else ''}"
    if total == group.count == 1:
        return "1 reset"
    return f"{group.count:,} of {total:,} resets"


def names(processes: Tops) -> str:
    """``nginx[1432]``, ``nginx (4 processes)``, ``python3 and others``."""
    if not processes or processes.only:
        return processes.only
    programs = [name.rsplit("[", 1)[0] for name, _ in processes.most()]
    if len(set(programs)) > 1:
        return f"{programs[0]} and others"
    return f"{programs[0]} ({processes.how_many} processes)"


def here_words(group: Group) -> str:
    """The process at this end, or as much as is known of it."""
    if group.act == THROUGH:
        return service_words(group) if _is_here(group) else _hosts(group.locals)
    if known := names(group.owners):
        return known
    if listener := names(group.listeners):
        return f"the service of {listener}"
    service = group.service
    if service and service.here and service.sure:
        return f"the service on {service_words(group)}"
    return SOMEBODY


def there_words(group: Group) -> str:
    """The other end: clients by their address, a service by address and port."""
    service = group.service
    if service and not service.here:
        return service.text
    if service is None and not _is_here(group):
        return service_words(group)
    if group.remotes.only:
        return f"client {group.remotes.only}" if service and service.sure else group.remotes.only
    return "clients" if service and service.sure else _hosts(group.remotes)


def service_words(group: Group) -> str:
    """``10.0.0.5:8080``, ``port 8080``, ``11 ports``."""
    if group.services.only:
        return group.services.only
    if group.service and group.service.here:
        return f"port {group.service.port}"
    what = "ports" if _is_here(group) else "services"
    return f"{group.services.how_many} {what}"


def _is_here(group: Group) -> bool:
    """Is the service at this end? Of a group of many services, by its example."""
    return (group.service or service_of(group.example)).here


def _local(group: Group) -> str:
    return service_words(group) if _is_here(group) else _hosts(group.locals)


def _hosts(addresses: Tops) -> str:
    return addresses.only or f"{addresses.how_many} hosts"


def _receiver(group: Group, here: str) -> str:
    """Who did not get it: with no socket in sight, the address."""
    return _local(group) if here == SOMEBODY else here


def _queue(group: Group) -> str:
    if group.usual_confidence == CERTAIN:
        return "queue of new connections full"
    return "or memory or a route was missing"


def _act(group: Group, here: str, there: str) -> str:
    direction = group.example.reset.direction
    if direction == SUPPRESSED:
        sender = names(group.owners) or "this host"
        return f"from {sender} to {there}, stopped on the way out"
    if direction == REJECTED and group.cause == reset_suppressed.CAUSE:
        way = reset_suppressed.way_of(group.example.reset.judged)
        return f"from {there} to {_receiver(group, here)}, stopped on the way {way}"
    if direction == REJECTED:
        return f"from {there} to {here}, not believed"
    if group.act == IN:
        return f"from {there} to {here}"
    if group.act == THROUGH:
        return f"from {here} to {there}, passing through"
    if group.act == QUIET:
        return f"of {here} with {there}, ended without a reset"
    return f"sent by {here} to {there}"
