"""tracefs: where it is mounted, and what its format files say.

Tracing does not need it (raw tracepoints). Its format files name the same fields and enum
values that BTF gives; the tests hold the two against each other.
"""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/mounts")
_FIELD = re.compile(r"field:(?P<type>[^;]*?)(?P<name>\w+)(?:\[\d+\])?;\s*offset:(?P<offset>\d+);")
_SYMBOL = re.compile(r'\{\s*(\d+),\s*"(\w+)"\s*\}')


def mounted(mounts: Path = MOUNTS) -> Path | None:
    """Where tracefs is mounted, None if it is not."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) > 2 and fields[2] == "tracefs":
            return Path(fields[1])
    return None


def fields(text: str) -> dict[str, int]:
    """Offsets of the fields in the text of a ``format`` file."""
    return {m["name"]: int(m["offset"]) for m in _FIELD.finditer(text)}


def symbols(text: str) -> dict[int, str]:
    """Numbers and names in the last ``__print_symbolic`` list of a ``format`` file."""
    _, _, last = text.rpartition("__print_symbolic")
    return {int(number): name for number, name in _SYMBOL.findall(last)}
