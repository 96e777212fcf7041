"""Until when the child that answers may live. What it starts should end before, so that there is
an answer: "it took too long".
"""

from __future__ import annotations

import time

UNLIMITED_S, MARGIN_S, LEAST_S = 60.0, 0.1, 0.05
_until: float | None = None


def live_until(until: float | None) -> None:
    """A time of time.monotonic(); None: no limit is known."""
    global _until
    _until = until


def left() -> float:
    """Seconds that a command may take now."""
    if _until is None:
        return UNLIMITED_S
    return max(LEAST_S, _until - time.monotonic() - MARGIN_S)
