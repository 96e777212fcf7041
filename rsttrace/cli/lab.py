"""``rsttrace lab``: make a real kernel reset a connection, and check what is said about it."""

from __future__ import annotations

import sys
from typing import Any

import click

from rsttrace.cli.params import output_options
from rsttrace.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, RsttraceError


@click.group("lab")
def command() -> None:
    """Reproduce causes in throw-away network namespaces and check the verdict."""


@command.command("list")
def list_labs() -> None:
    """List the labs."""
    from tabulate import tabulate

    from rsttrace.lab import labs

    rows = [(spec.name, spec.doc.strip().partition("\n")[0]) for spec in labs()]
    click.echo(tabulate(rows, ("lab", "what happens"), tablefmt="simple"))


@command.command("run")
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 only.")
@output_options
def run_labs(names: tuple[str, ...], family: int | None, **options: Any) -> int:
    """Run labs by NAME, or all: shows the trace and says right or wrong.

    Everything happens in network namespaces made for it; they are removed at the end, also
    after Ctrl-C. Exit code 1 if a verdict was wrong.
    """
    import socket

    from rsttrace.cli.show import make_sink
    from rsttrace.lab.runner import run_lab
    from rsttrace.output import Output
    from rsttrace.session import Session

    specs = _find(names)
    families = {4: (socket.AF_INET,), 6: (socket.AF_INET6,)}.get(
        family or 0, (socket.AF_INET, socket.AF_INET6)
    )
    output = Output(sys.stdout)
    wrong = ran = 0
    with Session() as session:
        session.learn_host()
        session.pipeline.since_ns = None  # the labs' namespaces are younger than the trace
        sink = make_sink(options, session.wall_offset_ns, session.started_ns)
        output.write(sink.start(session.host_facts()))
        for spec in specs:
            for one in (f for f in families if f in spec.families):
                outcome = run_lab(session, spec, one)
                for explained in outcome.explained:
                    output.write(sink.reset(explained))
                click.echo(f"== {outcome.name}: {outcome.verdict} {outcome.skipped}", err=True)
                for problem in outcome.problems:
                    click.echo(f"   {problem}", err=True)
                ran += not outcome.skipped
                wrong += bool(outcome.problems)
    click.echo(f"{ran - wrong} right, {wrong} wrong of {ran} runs.", err=True)
    return EXIT_FAILURE if wrong else EXIT_OK


def _find(names: tuple[str, ...]) -> list[Any]:
    from rsttrace.lab import find, labs

    if "all" in names:
        return list(labs())
    specs: list[Any] = []
    for name in names:
        found = find(name)
        if not found:
            raise RsttraceError(
                f"there is no lab {name!r}.", "List them with: rsttrace lab list", EXIT_USAGE
            )
        specs += found
    return specs
