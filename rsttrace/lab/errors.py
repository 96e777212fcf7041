"""What a lab raises: it went wrong, or this machine cannot run it."""

from __future__ import annotations

from rsttrace.errors import RsttraceError


class LabError(RsttraceError):
    """The lab did not do what it should: a time-out, a failed command, a wrong errno."""


class LabSkip(RsttraceError):
    """This kernel or machine lacks what the lab needs; the message says what."""
