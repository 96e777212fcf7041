"""``rsttrace explain``: a catalogue entry, a term, or a recording explained again."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsttrace.cli.params import output_options
from rsttrace.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, RsttraceError

if TYPE_CHECKING:
    from rsttrace.causes import Word
    from rsttrace.explain import Explained
    from rsttrace.recording import Recording

NO_RESET = "No reset is known to depend on it."


@click.command("explain")
@click.argument("what")
@click.option("-r", "--report", is_flag=True, help="Of a recording: one report, as diagnose.")
@output_options
def command(what: str, **options: Any) -> int:
    """Explain WHAT: a cause, a kernel reason, an errno, a counter, a message, or a recording.

    \b
    rsttrace explain unread-data-on-close   a cause (see: rsttrace causes)
    rsttrace explain TCP_ABORT_ON_CLOSE     a reason the kernel gives
    rsttrace explain ECONNRESET             an error the application got
    rsttrace explain "socket hang up"       a message, or a pasted line of a log
    rsttrace explain out.rec                a recording (rsttrace --record out.rec)
    rsttrace explain out.rec --report       the same as one report, the worst first
    """
    from rsttrace.causes import catalogue, words
    from rsttrace.causes.lookup import find_in_text, find_word
    from rsttrace.sinks.pages import cause_page, word_page

    if options["report"] and not _is_path(what):
        raise RsttraceError(f"{what!r} is no file.", "--report needs a recording.", EXIT_USAGE)
    if options["report"]:
        _check_report(options)
        return _replay(Path(what), options)
    if what in catalogue():
        click.echo(cause_page(catalogue()[what]))
        return EXIT_OK
    word = find_word(what)
    if not word and _is_path(what):
        return _replay(Path(what), options)
    word = word or find_in_text(what) or _other_word(what)
    if word:
        click.echo(word_page(word))
        return EXIT_OK
    known = [*catalogue(), *words()]
    close = difflib.get_close_matches(what, known, 3, 0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else "List them with: rsttrace causes"
    raise RsttraceError(
        f"{what!r} is no cause, no term rsttrace knows, and no file.", hint, EXIT_USAGE
    )


def _check_report(options: dict[str, Any]) -> None:
    """Options of how resets are listed mean nothing for a report."""
    for name, option in (("oneline", "-1"), ("wide", "-w"), ("relative", "-t")):
        if options[name]:
            raise click.UsageError(f"{option} has no place with --report, which lists no resets.")


def _is_path(what: str) -> bool:
    """Is there such a file? A pasted text can be too long for a name, or hold what no name may."""
    try:
        return Path(what).exists()
    except (OSError, ValueError):
        return False


def _other_word(what: str) -> Word | None:
    """A name that only the kernel or the C library knows: then no reset depends on it."""
    from rsttrace.causes import Word
    from rsttrace.causes.lookup import errno_name
    from rsttrace.kernel.names import kernel_name

    name = errno_name(what.strip()).upper()
    number = getattr(errno, name, None) if name.isalnum() else None
    if isinstance(number, int):
        text = f"An errno of this system ({number}): '{os.strerror(number)}'. {NO_RESET}"
        return Word(name, "errno", text, ())
    found = kernel_name(what)
    return Word(found.name, found.kind, f"{found.text} {NO_RESET}", ()) if found else None


def _replay(path: Path, options: dict[str, Any]) -> int:
    from rsttrace.recording import Recording
    from rsttrace.replay import replay

    recording = Recording(path)
    explained = replay(recording)
    (_report if options["report"] else _tell)(recording, explained, options)
    if recording.complete:
        return EXIT_OK
    click.echo(f"rsttrace: {path} was cut off; this is what it holds.", err=True)
    return EXIT_FAILURE


def _tell(recording: Recording, explained: list[Explained], options: dict[str, Any]) -> None:
    """One reset after the other."""
    from rsttrace.cli.show import make_sink
    from rsttrace.output import Output
    from rsttrace.sinks.totals import Totals

    start = explained[0].reset.time_ns if explained else 0
    sink = make_sink(options, recording.host.get("wall_offset_ns", 0), start)
    output, totals = Output(sys.stdout), Totals(lost=recording.lost)
    output.write(sink.start(dict(recording.host)))
    if recording.lost:
        output.write(sink.lost(recording.lost))
    for one in explained:
        totals.add(one)
        output.write(sink.reset(one))
    output.write(sink.summary(totals))


def _report(recording: Recording, explained: list[Explained], options: dict[str, Any]) -> None:
    """All in one."""
    from rsttrace.output import Output, terminal_width, wants_colour
    from rsttrace.report.model import Watch
    from rsttrace.report.sink import ReportSink
    from rsttrace.sinks.totals import Totals

    sink = ReportSink(
        width=terminal_width(sys.stdout),
        colour=wants_colour(options["color"], sys.stdout),
        verbose=options["verbose"],
        as_json=options["as_json"],
        wall_offset_ns=recording.host.get("wall_offset_ns", 0),
    )
    totals = Totals(lost=recording.lost)
    for one in explained:
        totals.add(one)
        sink.reset(one)
    what = f"this host, from the recording {recording.path.name}"
    Output(sys.stdout).write(sink.report(totals, Watch(what, recording.host, 0.0)))
