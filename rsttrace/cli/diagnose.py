"""``rsttrace diagnose``: watch for a time, a command or a target; then one report."""

from __future__ import annotations

import difflib
from typing import Any

import click

from rsttrace.cli.params import Duration, Pid, colour_option, file_options, packet_options

EPILOG = """\b
Examples:
  sudo rsttrace diagnose                       this host for 30 s
  sudo rsttrace diagnose --for 5m -P 443       one port, five minutes
  sudo rsttrace diagnose -- curl http://web/   why does this command get reset?
  sudo rsttrace diagnose web.example:443 --tls connect, say hello, see what comes
  sudo rsttrace diagnose --pid 1432            a process and its children
  sudo rsttrace diagnose --container web       what happens in a container
  sudo rsttrace diagnose --fail-on harmful -q -- ./deploy-test

\b
A command runs as the user who called sudo. Its life ends when it and all its
children have ended; a child in a session of its own (setsid, a service) is not
waited for, and what a daemon starts for it (docker, systemd) is not its child.
If it still runs after --for or Ctrl-C, it is left alone.

\b
Exit codes: 0 fine, 1 failure, 2 usage (also: no such command), 3 this kernel or
user cannot trace, 4 records were lost (with --strict), 10 what --fail-on names
was seen. The command's own exit status is in the report.
"""

HARMFUL, ANY = "harmful", "any"
COMMAND = "rsttrace.command"  # key in click's meta
ONE_SUBJECT = "One thing at a time"


class FailOn(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """harmful, any, or the id of a cause."""

    name = "harmful|any|cause"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Also as people write it; a suggestion for what is nearly right."""
        from rsttrace.causes import catalogue

        known = (HARMFUL, ANY, *catalogue())
        typed = str(value).strip().lower().replace("_", "-")
        if typed not in known:
            close = difflib.get_close_matches(typed, known, 3, 0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else "see: rsttrace causes"
            self.fail(f"{value!r} is no cause: {hint}", param, ctx)
        return typed


class TargetType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """HOST:PORT, or a URL."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A Target."""
        from rsttrace.diagnose.target import Target, parse_target

        if isinstance(value, Target):
            return value
        try:
            return parse_target(value)
        except ValueError as err:
            raise click.UsageError(f"{err}. {_maybe_command(value)}".strip(), ctx) from None


class Diagnose(click.Command):
    """Everything after the first ``--`` is somebody else's command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep it away from click."""
        if "--" in args:
            place = args.index("--")
            args, words = args[:place], args[place + 1 :]
            if not words:
                ctx.fail("A command is missing after --.")
            ctx.meta[COMMAND] = tuple(words)
        rest = super().parse_args(ctx, args)
        _check(ctx)
        return rest


@click.command(
    "diagnose",
    cls=Diagnose,
    epilog=EPILOG,
    options_metavar="[OPTIONS] [HOST:PORT | -- CMD ARGS...]",
)
@click.argument("target", type=TargetType(), required=False, metavar="")
@click.option(
    "-d",
    "--for",
    "seconds",
    type=Duration(),
    help="How long: 30 (s), 500ms, 2m, 1h. Default: 30 s; CMD, HOST:PORT: to their end.",
)
@click.option(
    "-p",
    "--pid",
    multiple=True,
    metavar="PID",
    type=Pid(),
    help="Sockets of a process and its children.",
)
@click.option("--container", metavar="ID|NAME", help="What happens in a container.")
@packet_options
@click.option("--tls", is_flag=True, help="HOST:PORT: send a TLS hello.")
@click.option(
    "--timeout",
    type=Duration(),
    help="HOST:PORT: for the name, connect() and TLS, each; default 5 s.",
)
@click.option("--wait", type=Duration(), help="HOST:PORT: for what comes then; default 2 s.")
@click.option("--as-root", is_flag=True, help="CMD: run it as root, not as the caller of sudo.")
@click.option(
    "--fail-on",
    multiple=True,
    type=FailOn(),
    metavar="harmful|any|CAUSE",
    help="Exit with 10 if there was such a reset.",
)
@file_options
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON document (docs/report.md).")
@click.option("-v", "--verbose", is_flag=True, help="Add evidence, packets and stacks.")
@colour_option
def command(**options: Any) -> int:
    """Watch this host, a command or a target; then print one report.

    The worst finding comes first, with its evidence and what to change. Without HOST:PORT and CMD
    it watches for 30 s; Ctrl-C prints the report at once.
    """
    from rsttrace.diagnose.request import Request
    from rsttrace.kernel.filters import Filter

    target = options["target"]
    packets = Filter(
        addresses=options["address"],
        ports=options["port"],
        local_ports=options["local_port"],
        remote_ports=options["remote_port"],
        family=options["family"],
    )
    request = Request(
        seconds=options["seconds"],
        packets=packets,
        netns=options["netns"],
        pids=options["pid"],
        container=options["container"],
        command=click.get_current_context().meta.get(COMMAND, ()),
        as_root=options["as_root"],
        target=target,
        tls=options["tls"] or bool(target and target.tls),
        timeout_s=options["timeout"] or Request.timeout_s,
        wait_s=options["wait"] or Request.wait_s,
        as_json=options["as_json"],
        verbose=options["verbose"],
        quiet=options["quiet"],
        colour=options["color"],
        fail_on=options["fail_on"],
        strict=options["strict"],
        record=options["record"],
        ready_file=options["ready_file"],
    )
    from rsttrace.diagnose.run import diagnose

    return diagnose(request)


def _check(ctx: click.Context) -> None:
    """Combinations that mean nothing."""
    given = {name: value for name, value in ctx.params.items() if value not in (None, (), False)}
    target, words = given.get("target"), ctx.meta.get(COMMAND)
    if target and words:
        ctx.fail(f"{ONE_SUBJECT}: HOST:PORT or a command after --.")
    if (target or words) and "pid" in given:
        ctx.fail(f"{ONE_SUBJECT}: --pid has no place with {'HOST:PORT' if target else 'CMD'}.")
    if words and ("netns" in given or "container" in given):
        ctx.fail(
            "A command is followed wherever it goes: to run it in a namespace write "
            "-- ip netns exec NAME CMD (of a container: -- nsenter -n -t PID CMD)."
        )
    if "netns" in given and "container" in given:
        ctx.fail(f"{ONE_SUBJECT}: --netns or --container.")
    if target:
        _check_target(ctx, given)
    for name in ("tls", "timeout", "wait"):
        if name in given and not target:
            ctx.fail(f"--{name} is for HOST:PORT only.")
    if "as_root" in given and not words:
        ctx.fail("--as-root is for a command after -- only.")


def _check_target(ctx: click.Context, given: dict[str, Any]) -> None:
    for name in ("address", "port", "local_port", "remote_port"):
        if name in given:
            option = "--" + name.replace("_", "-")
            ctx.fail(f"HOST:PORT says it all: {option} has no place with it.")
    if len(given.get("netns", ())) > 1:
        ctx.fail("HOST:PORT is tried from one namespace only.")


def _maybe_command(text: str) -> str:
    """What people forget most."""
    import shutil

    found = shutil.which(text)
    return f"To watch a command: rsttrace diagnose -- {text} ..." if found else ""
