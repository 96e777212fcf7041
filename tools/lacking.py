"""Prints what this interpreter lacks of pyproject.toml, as pip wants it: ``click>=8.0``.

Run-time dependencies and what builds the package; a version that is too old is lacking. One in each
line, so that install.sh can look for it in the distribution, then ask PyPI.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
LISTS = re.compile(r"^(?:requires|dependencies) = \[(.*?)\]$", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"\"([\w-]+)>=([\d.]+)(?:; python_version < '3\.(\d+)')?\"")


def wanted(text: str, minor: int) -> list[tuple[str, str]]:
    """Names and oldest versions for Python 3.``minor``."""
    found = [entry for line in LISTS.findall(text) for entry in ENTRY.findall(line)]
    return [(name, oldest) for name, oldest, before in found if not before or minor < int(before)]


def is_there(name: str, oldest: str) -> bool:
    """Is it installed, and new enough?"""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return _numbers(version) >= _numbers(oldest)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


if __name__ == "__main__":
    for name, oldest in wanted(PROJECT.read_text(encoding="utf-8"), sys.version_info.minor):
        if not is_there(name, oldest):
            print(f"{name}>={oldest}")
