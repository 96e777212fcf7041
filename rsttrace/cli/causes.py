"""``rsttrace causes``: the catalogue as a table."""

from __future__ import annotations

import json

import click


@click.command("causes")
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(as_json: bool) -> None:
    """List every cause that rsttrace knows. Details: rsttrace explain CAUSE."""
    from dataclasses import asdict

    from tabulate import tabulate

    from rsttrace.causes import catalogue

    if as_json:
        for cause in catalogue().values():
            click.echo(json.dumps({"schema": 1, "type": "cause", **asdict(cause)}))
        return
    rows = [
        (c.id, ", ".join(c.direction), "harmless" if c.benign else "", c.title)
        for c in catalogue().values()
    ]
    click.echo(tabulate(rows, ("cause", "direction", "", "what happened"), tablefmt="simple"))
