"""A catalogue entry or a term as a page of text."""

from __future__ import annotations

import textwrap

from rsttrace.causes import Cause, Word, catalogue

WIDTH = 80


def _section(title: str, body: str) -> str:
    text = textwrap.fill(" ".join(body.split()), WIDTH, initial_indent="  ", subsequent_indent="  ")
    return f"{title}\n{text}" if body.strip() else ""


def _items(title: str, items: tuple[str, ...]) -> str:
    rows = [
        textwrap.fill(item, WIDTH, initial_indent="  - ", subsequent_indent="    ")
        for item in items
    ]
    return "\n".join([title, *rows]) if rows else ""


def _named(cause: str) -> str:
    """A cause with its title, or that this version does not tell it yet."""
    entry = catalogue().get(cause)
    return f"{cause} ({entry.title})" if entry else f"{cause} (not told by this version)"


def cause_page(cause: Cause) -> str:
    """Everything the catalogue says about one cause."""
    head = f"{cause.id}: {cause.title}"
    kind = [", ".join(cause.direction), cause.phase, "harmless" if cause.benign else ""]
    parts = [
        f"{head}\n{', '.join(k for k in kind if k)}",
        _section("WHAT HAPPENED", cause.explanation),
        "DIAGRAM\n" + textwrap.indent(cause.diagram.strip("\n"), "  ") if cause.diagram else "",
        _section("THE END THAT SENDS THE RESET SEES", cause.sender_sees),
        _section("THE END THAT GETS IT SEES", cause.receiver_sees),
        _items("WHAT TO CHANGE", cause.remedies),
        _section("SETTINGS THAT BEAR ON IT (SYSCTL)", ", ".join(cause.settings)),
        _items("HOW TO CONFIRM", cause.confirm),
        _items("TOLD APART FROM", tuple(f"{_named(a)}: {b}" for a, b in cause.told_apart_from)),
        _section("KERNEL REASONS", ", ".join(cause.kernel_reasons)),
        _section("DROP REASONS", ", ".join(cause.drop_reasons)),
        _section("COUNTERS THAT MOVE", ", ".join(cause.counters)),
        _section("IN FLOW LOGS", ", ".join(cause.log_terms)),
        _section("STANDARDS", ", ".join(cause.rfc)),
        f"TRY IT\n  sudo rsttrace lab run {cause.lab}" if cause.lab else "",
    ]
    return "\n\n".join(p for p in parts if p)


def word_page(word: Word) -> str:
    """What a term means here, and which causes go with it."""
    parts = [
        f"{word.name} ({word.kind})",
        _section("MEANING", word.text),
        _items("CAUSES", tuple(map(_named, word.causes)))
        + ("\n  See: rsttrace explain CAUSE" if word.causes else ""),
    ]
    return "\n\n".join(p for p in parts if p)
