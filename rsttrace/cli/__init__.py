"""The command line: argv in, exit code out. One file for each command."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from rsttrace import __version__
from rsttrace.errors import EXIT_FAILURE, EXIT_OK, RsttraceError
from rsttrace.output import ReaderGone, fill_standard_files, silence_stdout

COMMANDS = ("trace", "diagnose", "explain", "causes", "lab", "doctor")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EXIT_INTERRUPTED = 130  # as a shell says it
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
OWN_OPTIONS = ("-h", "--help", "-V", "--version")

EPILOG = """\b
Examples:
  sudo rsttrace                       explain every reset as it happens
  sudo rsttrace -P 443 -1             port 443 only, one line for each
  sudo rsttrace -d 60 -j > out.jsonl  one minute as JSON Lines
  sudo rsttrace diagnose              watch for 30 s, then one report
  sudo rsttrace diagnose -- curl URL  why does this command get reset?
  sudo rsttrace --record out.rec      keep it; later: rsttrace explain out.rec
  rsttrace explain linger-zero        what a cause means and what to change
  sudo rsttrace lab run closed-port   make a reset happen and see it explained
"""


class DefaultGroup(click.Group):
    """``rsttrace -P 80`` means ``rsttrace trace -P 80``. Commands are imported when used."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``trace`` in front unless a command or an option of the group comes first."""
        if not args or (args[0].startswith("-") and args[0] not in OWN_OPTIONS):
            args = ["trace", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A usage error with a hint for a word that is no command."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            from rsttrace.cli.hints import hint

            ctx.fail(f"No such command {args[0]!r}. {hint(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's module."""
        if name not in COMMANDS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"rsttrace.cli.{name}").command
        return command


@click.group(cls=DefaultGroup, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, "-V", "--version", prog_name="rsttrace")
def cli() -> None:
    """Explain every TCP reset on this host: who sent it, why, does it matter, what to change.

    Without a command it traces live (see: rsttrace trace --help).
    """


def main() -> NoReturn:
    """Run and exit; whatever the user can fix is one line on stderr, never a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command line and return its exit code."""
    if not fill_standard_files():
        complain(RsttraceError("standard output is closed.", "Send it to a file or /dev/null."))
        return EXIT_FAILURE
    try:
        result = _invoke(args)
        sys.stdout.flush()
    except click.exceptions.Exit as err:
        return err.exit_code
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except RsttraceError as err:
        complain(err)
        return err.exit_code
    except (ReaderGone, BrokenPipeError):
        silence_stdout()
        return EXIT_OK
    except (KeyboardInterrupt, click.exceptions.Abort):
        silence_stdout()  # perhaps it was stuck in a pipe that nobody reads
        return EXIT_INTERRUPTED
    except OSError as err:
        silence_stdout()  # the interpreter's last flush would fail once more
        what = err.filename or ("standard output" if err.errno in DISK_ERRORS else "")
        complain(RsttraceError(f"{f'{what}: ' if what else ''}{err.strerror or err}."))
        return EXIT_FAILURE
    except Exception as err:
        if os.environ.get("RSTTRACE_DEBUG"):
            raise
        complain(
            RsttraceError(
                f"this is a fault in rsttrace: {type(err).__name__}: {err}.",
                "Run it again with RSTTRACE_DEBUG=1 and report what it prints.",
            )
        )
        return EXIT_FAILURE
    return result if isinstance(result, int) else EXIT_OK


def _invoke(args: list[str]) -> object:
    """What click's main() does, but for a closed pipe, which is no failure here."""
    if "_RSTTRACE_COMPLETE" in os.environ:  # a shell asks for completions
        return cli.main(args=args, prog_name="rsttrace", standalone_mode=False)
    with cli.make_context("rsttrace", list(args)) as context:
        return cli.invoke(context)


def complain(err: RsttraceError) -> None:
    """One line, and the remedy below it."""
    click.echo(f"rsttrace: {err.message}", err=True)
    if err.hint:
        click.echo(f"  {err.hint}", err=True)
