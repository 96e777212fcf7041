"""What this kernel's events say of themselves (tracefs): the way in where there is no BTF.

``events/tcp/tcp_send_reset/format`` names the fields of the event with their offsets, and the
symbolic names of its numbers. The programs in bpf/nobtf read the events by that. Pure, but for
``read``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rsttrace.kernel.tracefs import fields

_ENDS = ("sport", "dport", "saddr", "daddr", "saddr_v6", "daddr_v6")
# hook: its event, and the fields that the program reads where a kernel has them
EVENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tcp_send_reset": ("tcp/tcp_send_reset", ("skbaddr", "skaddr", "state", "reason", *_ENDS)),
    "tcp_receive_reset": ("tcp/tcp_receive_reset", ("skaddr",)),
    "inet_sock_set_state": (
        "sock/inet_sock_set_state",
        ("skaddr", "oldstate", "newstate", "protocol", *_ENDS),
    ),
    "inet_sk_error_report": ("sock/inet_sk_error_report", ("error", "protocol", *_ENDS)),
    # sched_process_fork does not tell processes from threads
    "sched_process_fork": ("task/task_newtask", ("pid", "clone_flags")),
}
# the hook whose event has names for its field ``reason``: whose names
REASONS = {"tcp_send_reset": "sk_rst_reason", "kfree_skb": "skb_drop_reason"}
_PLACES = {**{hook: place for hook, (place, _) in EVENTS.items()}, "kfree_skb": "skb/kfree_skb"}
# not in every kernel's event; of the ends there is one form or the other
_OPTIONAL = ("reason", *_ENDS)
_V4_AND_V6 = ("sport", "dport", "saddr_v6", "daddr_v6")
_SYMBOL = re.compile(r'\{\s*(\d+),\s*"(\w+)"\s*\}')

Formats = Mapping[str, Mapping[str, int]]


def read(tracefs: Path) -> dict[str, str]:
    """The ``format`` files that are there, by hook. OSError if this is no tracefs."""
    (tracefs / "events").stat()
    found = {}
    for hook, place in _PLACES.items():
        try:
            found[hook] = (tracefs / "events" / place / "format").read_text()
        except FileNotFoundError:
            continue
    return found


def usable(texts: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Offsets of the fields in use, of each hook that has what its program cannot do without."""
    found = {}
    for hook, (_, wanted) in EVENTS.items():
        if hook not in texts:
            continue
        offsets = fields(texts[hook])
        here = {name: offsets[name] for name in wanted if name in offsets}
        needed = [name for name in wanted if name not in _OPTIONAL]
        if all(name in here for name in needed) and _has_ends(wanted, here):
            found[hook] = here
    return found


def _has_ends(wanted: Iterable[str], here: Mapping[str, int]) -> bool:
    """IPv4 and IPv6 apart with ports (before 6.10), or struct sockaddr."""
    if "saddr" not in wanted or all(name in here for name in _V4_AND_V6):
        return True
    return "sport" not in here and "saddr_v6" not in here and {"saddr", "daddr"} <= here.keys()


def enums(texts: Mapping[str, str]) -> dict[str, dict[int, str]]:
    """Reasons by number, in the words of features.probe(); empty where the event has none."""
    return {enum: _names(texts.get(hook, "")) for hook, enum in REASONS.items()}


def _names(text: str) -> dict[int, str]:
    _, _, rest = text.partition("__print_symbolic(REC->reason,")
    found = _SYMBOL.findall(rest.partition(")")[0])
    return {int(number): name.removeprefix("SKB_") for number, name in found}


def flags(formats: Formats) -> list[str]:
    """-DAT_hook__field for every field in EVENTS, -1 where this kernel's event lacks it."""
    return [
        f"-DAT_{hook}__{name}={formats.get(hook, {}).get(name, -1)}"
        for hook, (_, wanted) in EVENTS.items()
        for name in wanted
    ]
