"""``rsttrace doctor``: what this kernel can show, what is missing, and what fixes it."""

from __future__ import annotations

import os
import sys

import click

from rsttrace.errors import EXIT_CANNOT_TRACE, EXIT_OK


@click.command("doctor")
def command() -> int:
    """Check this host: rights, bcc, BTF, hooks, symbols. Exit code 3 if it cannot trace."""
    from rsttrace.doctor import examine

    checks = examine()
    click.echo(f"rsttrace doctor: Linux {os.uname().release}, {sys.executable}")
    for check in checks:
        click.echo(f"  {check.mark:7} {check.name}: {check.text}")
        if check.remedy:
            click.echo(f"          {check.remedy}")
    blocked = [c for c in checks if c.fatal]
    click.echo("This host cannot trace yet." if blocked else "This host can trace.")
    return EXIT_CANNOT_TRACE if blocked else EXIT_OK
