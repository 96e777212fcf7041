"""TOML text to a dict. Python has a reader for it since 3.11; tomli is the same one for older."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads

__all__ = ["loads"]
