"""What this kernel does not tell, and what stands in for it; by presence, never by version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rsttrace.kernel.features import NOT_IN_EVENTS, Features


@dataclass(frozen=True)
class Gap:
    """``text``: what is not told. ``instead``: what rsttrace goes by there, empty if nothing is."""

    text: str
    instead: str
    exists: Callable[[Features], bool]


def _lacks(hook: str, field: str, number: int) -> Callable[[Features], bool]:
    """Has this kernel's hook fewer arguments, or without BTF the event no such field?"""

    def lacks(features: Features) -> bool:
        if hook not in features.args:
            return False
        if features.no_btf:
            return field not in features.formats.get(hook, ())
        return features.args[hook] < number

    return lacks


def _no_reason(name: str) -> Callable[[Features], bool]:
    return lambda features: name not in features.enums["skb_drop_reason"].values()


GAPS: Mapping[str, Gap] = {
    "btf": Gap(
        "this kernel does not describe its types (no BTF), so sockets, packets and network "
        "namespaces cannot be read",
        "the fields of the kernel's own events",
        lambda features: bool(features.no_btf),
    ),
    "unseen-strays": Gap(
        "tcp_send_reset is silent about segments that met no full socket (before 6.10); without "
        "BTF nothing else tells of the resets that answer them",
        "",
        lambda features: bool(features.no_btf and _lacks("tcp_send_reset", "reason", 3)(features)),
    ),
    "reset-reason": Gap(
        "tcp_send_reset gives no reason (before 6.10)",
        "the stack and the state of the socket",
        _lacks("tcp_send_reset", "reason", 3),
    ),
    "strays": Gap(
        "tcp_send_reset is silent about segments that met no full socket (before 6.10)",
        "the RST on its way out, and the drop of the segment that it answers",
        _lacks("tcp_send_reset", "reason", 3),
    ),
    "drop-reason": Gap(
        "kfree_skb gives no reason (before 5.17)",
        "the stack, and the connections that ended during the trace",
        _no_reason("NO_SOCKET"),
    ),
    "quiet-drops": Gap(
        "TCP drops RSTs that it refuses without a word (before 5.19)",
        "the sequence numbers of the socket when the RST came in",
        _no_reason("TCP_RESET"),
    ),
    "drop-socket": Gap(
        "kfree_skb does not name the socket (before 6.11)",
        "the sockets that changed their state during the trace",
        _lacks("kfree_skb", "rx_sk", 4),
    ),
    "error-report": Gap(
        "there is no inet_sk_error_report (before 5.14)",
        "the error that a socket has when it is closed",
        lambda features: set(features.missing_hooks) > set(lost_hooks(features)),
    ),
}


# hooks whose absence is one of GAPS, as long as the other hook is there
STOOD_IN = {"inet_sk_error_report": "inet_sock_set_state"}


def lost_hooks(features: Features) -> tuple[str, ...]:
    """Hooks that this kernel does not have, and nothing stands in for."""
    if features.no_btf:  # it has those, but they show nothing
        return tuple(h for h in features.missing_hooks if h not in NOT_IN_EVENTS)
    return tuple(h for h in features.missing_hooks if STOOD_IN.get(h) not in features.args)


# without BTF what stands in for the others cannot be read either
WITHOUT_BTF = ("btf", "unseen-strays", "reset-reason")


def gaps_of(features: Features) -> tuple[str, ...]:
    """Ids of GAPS, those that this kernel has."""
    names = WITHOUT_BTF if features.no_btf else tuple(GAPS)
    return tuple(name for name in names if GAPS[name].exists(features))
