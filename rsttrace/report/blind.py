"""What the kernel of this host could not show, and which verdicts that costs, as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsttrace.doctor.costs import Cost

NAMED = 4  # causes in a sentence


def blind_spots(host: Mapping[str, Any]) -> tuple[str, ...]:
    """``host``: Session.host_facts(), also of a recording; what it does not say is not told."""
    hooks, members = host.get("missing_hooks") or (), host.get("missing_members") or ()
    found = [*_gaps(host.get("gaps") or ()), *_hooks(hooks), *_members(members)]
    if host.get("symbols") is False:
        found.append(_symbols())
    return tuple(found)


def _hooks(names: Sequence[str]) -> Iterator[str]:
    """Tracepoints that this kernel does not have."""
    if not names:
        return
    from rsttrace.doctor.costs import without_hook
    from rsttrace.kernel.features import HOOKS

    for name in names:
        if name in HOOKS:
            lost = f"It would show {HOOKS[name]}. {_meaning(without_hook(name))}"
            yield f"This kernel has no tracepoint {name}. {lost}".rstrip()


def _gaps(names: Sequence[str]) -> Iterator[str]:
    """What newer kernels tell."""
    if not names:
        return
    from rsttrace.kernel.gaps import GAPS

    for name in names:
        if name in GAPS:
            gap = GAPS[name]
            costs = f" {_without_btf()}" if name == "btf" else ""
            instead = f" Told by {gap.instead} instead." if gap.instead else ""
            yield f"{gap.text[0].upper()}{gap.text[1:]}.{instead}{costs}"


def _without_btf() -> str:
    """The gap that costs most."""
    from rsttrace.doctor.costs import without_btf

    return f"{_meaning(without_btf())} A kernel with CONFIG_DEBUG_INFO_BTF=y shows more."


def _members(names: Sequence[str]) -> Iterator[str]:
    """Members of its structs; those that no verdict needs are not worth a word."""
    if not names:
        return
    from rsttrace.doctor.costs import without_fields
    from rsttrace.doctor.members import empty_fields
    from rsttrace.kernel.loader import read_sources

    costs = {
        name: without_fields(fields)
        for name, fields in empty_fields(read_sources(), names).items()
        if fields
    }
    for name, cost in costs.items():
        if cost:
            yield f"This kernel does not keep {name}. {_meaning(cost)}"


def _symbols() -> str:
    from rsttrace.doctor.costs import without_symbols

    return (
        "Kernel addresses are hidden (kernel.kptr_restrict), so the kernel's stacks have no names. "
        f"{_meaning(without_symbols())} rsttrace doctor says how to show them."
    )


def _meaning(cost: Cost) -> str:
    """Which causes suffer; that others have less evidence only if none does worse."""
    parts = [
        f"{text} {_listed(causes)}."
        for text, causes in (
            ("Resets not seen at all:", cost.unseen),
            ("Resets not explained:", cost.unknown),
            ("Less sure:", cost.unsure),
        )
        if causes
    ]
    if not parts and cost.evidence:
        parts.append(f"Less evidence for {_listed(cost.evidence)}.")
    return " ".join(parts)


def _listed(causes: Sequence[str]) -> str:
    more = len(causes) - NAMED
    return ", ".join(causes[:NAMED]) + (f" and {more} more" if more > 0 else "")
