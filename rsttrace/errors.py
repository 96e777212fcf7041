"""The one error type that reaches the user: a line, a remedy and an exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_CANNOT_TRACE = 3
EXIT_INCOMPLETE = 4


class RsttraceError(Exception):
    """Something the user can understand and mostly fix.

    ``message`` is one line, ``hint`` the command or change that helps (may be empty),
    ``exit_code`` one of the ``EXIT_*`` numbers.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip() if self.hint else self.message


class CannotTrace(RsttraceError):
    """This kernel or this user cannot trace (exit code 3)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, EXIT_CANNOT_TRACE)
