"""``rsttrace doctor``: what this kernel can show, what is missing, and what fixes it."""

from __future__ import annotations

import json

import click

from rsttrace.errors import EXIT_CANNOT_TRACE, EXIT_OK


@click.command("doctor")
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Also what is there, and all causes by name.")
def command(as_json: bool, verbose: bool) -> int:
    """Check this host: rights, bcc, BTF, hooks, symbols, and what names and rules it shows.

    Says what each missing piece costs in verdicts, and what mends it. Exit code 3 if this host
    cannot trace.
    """
    from rsttrace.doctor import examine
    from rsttrace.doctor.text import can_trace, document, report

    checks = examine()
    click.echo(json.dumps(document(checks)) if as_json else report(checks, verbose))
    return EXIT_OK if can_trace(checks) else EXIT_CANNOT_TRACE
