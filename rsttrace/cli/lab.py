"""``rsttrace lab``: make a real kernel reset a connection, and check what is said about it."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from rsttrace.cli import EXIT_INTERRUPTED
from rsttrace.cli.params import output_options
from rsttrace.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, RsttraceError

if TYPE_CHECKING:
    from rsttrace.lab.runner import Outcome
    from rsttrace.output import Output
    from rsttrace.sinks import Sink


@click.group("lab", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Reproduce causes in throw-away network namespaces and check the verdict."""
    if ctx.invoked_subcommand is None:
        raise click.UsageError("Missing command: list or run.", ctx)


@command.command("list")
def list_labs() -> None:
    """List the labs."""
    from tabulate import tabulate

    from rsttrace.lab import labs, server_labs
    from rsttrace.output import terminal_width

    specs = [*labs(), *server_labs()]
    room = terminal_width(sys.stdout) - max(len(spec.name) for spec in specs) - 2
    rows = [(spec.name, textwrap.fill(_first_sentence(spec.doc), max(room, 30))) for spec in specs]
    click.echo(tabulate(rows, ("lab", "what happens"), tablefmt="simple"))


def _first_sentence(doc: str) -> str:
    """In one line, without the marks of code; a dot within a name or number ends nothing."""
    text = " ".join(doc.replace("``", "").split())
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]


@command.command("run")
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 only.")
@click.option(
    "--change-global-limits",
    is_flag=True,
    help="Also run labs that change a limit of the whole host for a moment.",
)
@output_options
def run_labs(
    names: tuple[str, ...], family: int | None, change_global_limits: bool, **options: Any
) -> int:
    """Run labs by NAME, or all: shows the trace and says right or wrong.

    "servers" are those with real servers, "servers/nginx" those with one of them; they are skipped
    where the program is not installed.

    Everything happens in network namespaces made for it; they are removed at the end. Labs that
    change a limit of the whole host are skipped without --change-global-limits. Ctrl-C ends
    after the lab that runs. Exit code 1 if a verdict was wrong, 130 after Ctrl-C.
    """
    import socket

    from rsttrace.cli.show import make_sink
    from rsttrace.kernel.filters import c_expression
    from rsttrace.kernel.loader import load_in_background, prepare
    from rsttrace.lab.runner import LAB_PATIENCE_S, only_labs, run_lab
    from rsttrace.output import Output
    from rsttrace.session import Session
    from rsttrace.tracing import Stopper

    specs = _find(names)
    families = {4: (socket.AF_INET,), 6: (socket.AF_INET6,)}.get(
        family or 0, (socket.AF_INET, socket.AF_INET6)
    )
    runs = [(spec, one) for spec in specs for one in families if one in spec.families]
    output = Output(sys.stdout)
    # a KeyboardInterrupt while a namespace is made or removed would leave it behind
    stopper = Stopper()
    wrong = weaker = ran = 0
    with Session(load_in_background(prepare(), c_expression(only_labs()))) as session:
        session.learn_host()
        session.warm_up(LAB_PATIENCE_S)  # nobody waits for these resets
        session.pipeline.since_ns = None  # the labs' namespaces are younger than the trace
        sink = make_sink(options, session.wall_offset_ns, session.started_ns)
        output.write(sink.start(session.host_facts()))
        for spec, one in runs:
            if not stopper.asked:
                outcome = run_lab(session, spec, one, change_global_limits=change_global_limits)
            if stopper.asked:  # Ctrl-C also hits the commands a lab runs: this one says nothing
                break
            _tell(outcome, sink, output)
            ran += not outcome.skipped
            wrong += outcome.verdict == "WRONG"
            weaker += outcome.verdict == "weaker"
    stopped = f", stopped before the end of {len(runs)}" if stopper.asked else ""
    less = f", {weaker} right but less sure" if weaker else ""
    right = ran - wrong - weaker
    click.echo(f"{right} right{less}, {wrong} wrong of {ran} runs{stopped}.", err=True)
    if stopper.asked:
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if wrong else EXIT_OK


def _tell(outcome: Outcome, sink: Sink, output: Output) -> None:
    for explained in outcome.explained:
        output.write(sink.reset(explained))
    click.echo(f"== {outcome.name}: {outcome.verdict} {outcome.skipped}", err=True)
    for problem in (*outcome.problems, *outcome.weaker):
        click.echo(f"   {problem}", err=True)


def _find(names: tuple[str, ...]) -> list[Any]:
    from rsttrace.lab import find, labs, server_labs

    if "all" in names:
        return [*labs(), *server_labs()]
    specs: list[Any] = []
    for name in names:
        found = find(name)
        if not found:
            raise RsttraceError(
                f"there is no lab {name!r}.", "List them with: rsttrace lab list", EXIT_USAGE
            )
        specs += found
    return specs
