"""Sources of a ``Place``: one module each. All run in a child of the helper process.

A module has ``NAME`` (the field of Place it fills), ``ask(question)``, called inside the namespace
of the question, which returns something JSON can say, and ``read(value)``, which makes the field
out of that again; ``read`` raises ValueError for anything else, since recordings can be foreign.

``ask`` may raise anything: its text becomes the reason why the field is unknown. ``NotKnown`` has
a text for people. What is true but not the whole truth has the key ``problem`` with the reason.
An ``ask`` is cut by ``TookTooLong``; it stays in the namespace it was called in.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

from rsttrace.enrich.place import Place, Question
from rsttrace.enrich.sources import _values
from rsttrace.output import printable

# in the order in which they are asked: what most verdicts need first, what can take long last
ORDER = ("settings", "sockets", "conntrack", "path", "peer")
MODULES = tuple(f"{__name__}.{name}" for name in ORDER)  # imported when first asked: 7 ms
# modules that an ask() imports: before its time runs, since a cut leaves half of a module behind
NEEDED = {
    "sockets": ("pyroute2.netlink.diag",),
    "conntrack": ("pyroute2.netlink.nfnetlink.nfctsocket",),
    "path": tuple(
        f"pyroute2.netlink.rtnl.{name}" for name in ("ifinfmsg", "ndmsg", "nsidmsg", "rtmsg")
    ),
}
SOURCE_SECONDS = 0.06
AGAIN_SECONDS = 0.01
LONGEST_REASON = 120  # characters


class NotKnown(Exception):
    """A source cannot tell; the text says why, for people."""


class TookTooLong(BaseException):
    """Raised out of the alarm. No Exception, so that no source takes it for one of its own."""


def ask_all(question: Question, budget_s: float = 0.15) -> dict[str, Any]:
    """Ask the sources that the question wants, in this process, which must be its main thread.

    ``{"time_ns": CLOCK_MONOTONIC, "values": {name: value}, "problems": {name: reason}}``. Takes
    ``budget_s`` seconds at most, unless an import takes longer, and raises nothing.
    """
    end = time.monotonic() + budget_s
    values: dict[str, Any] = {}
    problems = {name: "there is no such source" for name in question.wants if name not in ORDER}
    time_ns = time.monotonic_ns()
    for name in ORDER:
        if name in question.wants:
            if time.monotonic() < end:
                _import(name)
            value, problem = _ask(name, question, min(SOURCE_SECONDS, end - time.monotonic()))
            if value is not None:
                values[name] = value
            if problem:
                problems[name] = problem
    return {"time_ns": time_ns, "values": values, "problems": problems}


def _import(name: str) -> None:
    """What fails here is told when the source is asked."""
    for module in (f"{__name__}.{name}", *NEEDED.get(name, ())):
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _ask(name: str, question: Question, seconds: float) -> tuple[Any, str]:
    """What one source says, and what is wrong with that."""
    if seconds <= 0:
        return None, "no time was left"
    try:
        with _limit(seconds):
            value = _module(name).ask(question)
    except TookTooLong:
        return None, "took too long"
    except Exception as err:
        return None, reason(err)
    return value, value.pop("problem", "") if isinstance(value, dict) else ""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in the body after this time, and again if somebody swallows it."""
    before = signal.signal(signal.SIGALRM, _cut)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _cut(_number: int, _frame: FrameType | None) -> None:
    raise TookTooLong


def reason(err: Exception) -> str:
    """Why a source failed, in a few words."""
    if isinstance(err, NotKnown):
        words = str(err)
    elif isinstance(err, ImportError):
        words = f"the Python module {err.name} is missing"
    elif isinstance(err, OSError) and err.errno:
        words = f"the kernel says: {os.strerror(err.errno)}"
    else:
        words = f"{type(err).__name__}: {err}"
    return printable(words)[:LONGEST_REASON]


def place_from_json(value: Any) -> Place:
    """The Place out of what ask_all() said; ValueError for anything else.

    Sources that this version does not know are left out.
    """
    answer = _values.fields(value)
    values = _values.fields(answer.get("values"))
    return Place(
        time_ns=_values.whole(answer.get("time_ns")),
        problems=_values.texts_by_name(answer.get("problems")),
        **_read(values),
    )


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _module(name).read(values[name]) for name in ORDER if name in values}
