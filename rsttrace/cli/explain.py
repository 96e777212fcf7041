"""``rsttrace explain``: a catalogue entry, a term, or a recording explained again."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from pathlib import Path
from typing import Any

import click

from rsttrace.cli.params import output_options
from rsttrace.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, RsttraceError


@click.command("explain")
@click.argument("what")
@output_options
def command(what: str, **options: Any) -> int:
    """Explain WHAT: a cause, a kernel reason, an errno, a counter, or a recording.

    \b
    rsttrace explain unread-data-on-close   a cause (see: rsttrace causes)
    rsttrace explain TCP_ABORT_ON_CLOSE     a reason the kernel gives
    rsttrace explain ECONNRESET             an error the application got
    rsttrace explain out.rec                a recording (rsttrace --record out.rec)
    """
    from rsttrace.causes import catalogue, words
    from rsttrace.sinks.pages import cause_page, word_page

    if what in catalogue():
        click.echo(cause_page(catalogue()[what]))
        return EXIT_OK
    word = _find_word(what)
    if word:
        click.echo(word_page(words()[word]))
        return EXIT_OK
    path = Path(what)
    if path.exists():
        return _replay(path, options)
    known = [*catalogue(), *words()]
    close = difflib.get_close_matches(what, known, 3, 0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else "List them with: rsttrace causes"
    raise RsttraceError(
        f"{what!r} is no cause, no term rsttrace knows, and no file.", hint, EXIT_USAGE
    )


def _find_word(what: str) -> str | None:
    """A term as it stands, or with the prefix that a kernel or nstat puts before it."""
    from rsttrace.causes import words

    names = {name.lower(): name for name in words()}
    prefixes = ("", "skb_drop_reason_", "sk_rst_reason_", "tcpext", "tcp", "mptcpext")
    text = _errno_name(what).lower()
    candidates = (text.removeprefix(prefix) for prefix in prefixes)
    return next((names[c] for c in candidates if c in names), None)


def _errno_name(what: str) -> str:
    """``Connection reset by peer`` and ``104`` are ECONNRESET."""
    texts = {os.strerror(number).lower(): name for number, name in errno.errorcode.items()}
    if what.isascii() and what.isdigit():
        return errno.errorcode.get(int(what), what)
    return texts.get(what.strip().lower(), what)


def _replay(path: Path, options: dict[str, Any]) -> int:
    from rsttrace.cli.show import make_sink
    from rsttrace.output import Output
    from rsttrace.recording import Recording
    from rsttrace.replay import replay
    from rsttrace.sinks.totals import Totals

    recording = Recording(path)
    explained = replay(recording)
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
    if recording.complete:
        return EXIT_OK
    click.echo(f"rsttrace: {path} was cut off; this is what it holds.", err=True)
    return EXIT_FAILURE
