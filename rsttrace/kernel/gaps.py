"""What this kernel does not tell, and what stands in for it; by presence, never by version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rsttrace.kernel.features import Features


@dataclass(frozen=True)
class Gap:
    """``text``: what is not told. ``instead``: what rsttrace goes by there."""

    text: str
    instead: str
    exists: Callable[[Features], bool]


def _args(features: Features, hook: str) -> int | None:
    return features.args.get(hook)


def _fewer(hook: str, number: int) -> Callable[[Features], bool]:
    """This kernel's hook has fewer arguments than that."""
    return lambda features: 0 < (_args(features, hook) or 0) < number


def _no_reason(name: str) -> Callable[[Features], bool]:
    return lambda features: name not in features.enums["skb_drop_reason"].values()


GAPS: Mapping[str, Gap] = {
    "reset-reason": Gap(
        "tcp_send_reset gives no reason (before 6.10)",
        "the stack and the state of the socket",
        _fewer("tcp_send_reset", 3),
    ),
    "strays": Gap(
        "tcp_send_reset is silent about segments that met no full socket (before 6.10)",
        "the RST on its way out, and the drop of the segment that it answers",
        _fewer("tcp_send_reset", 3),
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
        _fewer("kfree_skb", 4),
    ),
    "error-report": Gap(
        "there is no inet_sk_error_report (before 5.14)",
        "the error that a socket has when it is closed",
        lambda features: "inet_sk_error_report" in features.missing_hooks,
    ),
}


def gaps_of(features: Features) -> tuple[str, ...]:
    """Ids of GAPS, those that this kernel has."""
    return tuple(name for name, gap in GAPS.items() if gap.exists(features))
