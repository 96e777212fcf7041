"""``rsttrace [trace]``: every reset explained as it happens."""

from __future__ import annotations

import sys
from typing import Any

import click

from rsttrace.cli.params import Pid, file_options, output_options, packet_options

EPILOG = """\b
Examples:
  sudo rsttrace -P 80,443 -4          two ports, IPv4 only
  sudo rsttrace -a 10.0.0.7 -v        one peer, with evidence and stacks
  sudo rsttrace -N blue -c 1          the first reset in namespace blue, then stop
  sudo rsttrace -1 | grep linger      one line for each, of one kind

\b
Exit codes: 0 fine, 1 failure, 2 usage, 3 this kernel or user cannot trace,
4 records were lost (with --strict).
"""


@click.command("trace", epilog=EPILOG)
@packet_options
@click.option("-p", "--pid", metavar="PID", type=Pid(), help="Owner of the socket.")
@click.option("--sent", "direction", flag_value="sent", help="Only resets that leave.")
@click.option("--received", "direction", flag_value="received", help="Only resets that arrive.")
@click.option(
    "-d", "--duration", type=click.FloatRange(0, min_open=True), help="Stop after seconds."
)
@click.option("-c", "--count", type=click.IntRange(1), help="Stop after so many resets.")
@file_options
@click.option("-q", "--quiet", is_flag=True, help="No banner, no summary.")
@output_options
def command(**options: Any) -> int:
    """Explain every TCP reset of this host as it happens. Ctrl-C ends with a summary."""
    # heavy imports only after argv was found good, and most of them while the compiler works
    from rsttrace.kernel.filters import Filter, c_expression
    from rsttrace.kernel.loader import load_in_background, prepare

    wanted = Filter(
        addresses=options["address"],
        ports=options["port"],
        local_ports=options["local_port"],
        remote_ports=options["remote_port"],
        family=options["family"],
        netns=options["netns"],
        direction=options["direction"],
    )
    loading = load_in_background(prepare(), c_expression(wanted), wanted.skipped_hooks)

    from rsttrace.cli.show import make_sink
    from rsttrace.output import Output, for_terminal
    from rsttrace.privileges import drop_privileges
    from rsttrace.session import Session
    from rsttrace.tracing import Limits, Stopper, Tracing, exit_code, write_ready_file

    stopper = Stopper()
    with Session(loading, options["record"]) as session:
        if options["ready_file"]:
            write_ready_file(options["ready_file"])
        session.learn_host()
        drop_privileges()
        if not options["quiet"]:
            click.echo(for_terminal(_banner(session.host_facts()), sys.stderr), err=True)
        sink = make_sink(options, session.wall_offset_ns, session.started_ns)
        by_packet = ("address", "port", "local_port", "remote_port", "family")
        limits = Limits(
            seconds=options["duration"],
            count=options["count"],
            pid=options["pid"],
            direction=options["direction"],
            netns=options["netns"],
            only_netns=bool(options["netns"]),
            filtered=any(options[name] for name in by_packet),
        )
        tracing = Tracing(session, sink, Output(sys.stdout), limits, stopper)
        tracing.run(summary=not options["quiet"])
        if damaged := session.pipeline.damaged:
            click.echo(f"rsttrace: {damaged} records could not be decoded: report this.", err=True)
        return exit_code(tracing.totals, options["strict"])


def _banner(facts: dict[str, Any]) -> str:
    text = f"Tracing TCP resets on {facts['hostname']}, Linux {facts['kernel']}. Ctrl-C ends."
    if facts["missing_hooks"]:
        text += f" This kernel lacks: {', '.join(facts['missing_hooks'])}."
    if "btf" in facts["gaps"]:
        text += " It has no BTF, so packets and sockets cannot be read: verdicts will be less sure"
        text += " (rsttrace doctor)."
    if not facts["symbols"]:
        text += " Kernel symbols are hidden: verdicts will be less sure (rsttrace doctor)."
    return text
