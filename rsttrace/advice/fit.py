"""What one adviser found to say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fit:
    """Remedies that fit this very reset, the best first, and the facts they rest on.

    A remedy is one sentence, or one command with ``# why`` behind it, so that the whole line can be
    pasted. ``instead``: they answer all that the general remedies say, which are left out then;
    ``settles``: those that contain one of these texts do not apply, or are answered.
    ``in_code``: they change the program; a setting of a known program comes before them.
    """

    remedies: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    instead: bool = False
    settles: tuple[str, ...] = ()
    in_code: bool = False
