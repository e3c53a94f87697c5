"""`tallybook`: the command line. Commands are imported when they are called, so that help is instant."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from tallybook_cli.errors import CommandError, report
from tallybook_cli.exit_codes import ExitCode

COMMANDS: dict[str, str] = {
    "serve": "Start the server.",
    "apply": "Apply a catalogue file, or show what it would change.",
    "ingest": "Store the events of a Parquet, CSV or NDJSON file.",
    "predict": "Say what events would cost, storing nothing.",
    "quote": "Price a quantity by a plan file, without a server.",
    "dates": "Show a contract's billing periods, without a server.",
    "invoice": "Preview what a contract tree comes to in a billing period.",
    "simulate": "Run contracts over usage, under today's catalogue and under scenarios.",
    "simulated": "List the charges of a simulation that is over.",
    "sandbox": "Make, list and end sandboxes: books to try things in.",
    "readings": "Store meter readings of files, and list them.",
    "determinants": "Compute billing determinants of a meter's readings.",
    "holidays": "Write a country's public holidays down as a catalogue file.",
    "billing": "Read the outbox of billing messages, and stored determinants.",
    "events": "List stored events.",
    "usage": "Show running totals.",
    "charges": "Show charge lines.",
    "explain": "Explain an event's cost, rule by rule.",
    "delete": "Take events back.",
    "reprocess": "Rate stored events under the current catalogue.",
    "verify": "Recompute every line of a data directory and compare.",
    "export": "Write charges or events to Parquet or CSV.",
    "keys": "Create, list and revoke keys.",
}
"""Name -> one line of help, in the order in which a newcomer meets them."""


TRACEBACK_VARIABLE = "TALLYBOOK_TRACEBACK"
"""Set it to see where a fault of the program itself comes from."""


class Commands(click.Group):
    """The commands of COMMANDS, each in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click names the parameters
        """The names, in their order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"tallybook_cli.commands.{cmd_name}").command
        command.short_help = COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tallybook")
def cli() -> None:
    """Measured usage becomes exact money.

    \b
    Example:
      tallybook serve &
      tallybook apply examples/flights/catalog.yaml
      tallybook predict --customer UA --meter flight --value miles=1400 --property origin=EWR

    Exit codes: 0 done, 1 the job found a failure, 2 usage, 3 server unavailable, 4 not allowed, 5 refused,
    6 server fault, 130 interrupted.
    """


def run(arguments: list[str] | None = None) -> ExitCode:
    """Run a command line; the exit code, after any failure was written to standard error."""
    try:
        return ExitCode(cli.main(arguments, prog_name="tallybook", standalone_mode=False) or ExitCode.OK)
    except CommandError as error:
        report(error)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return ExitCode.OK
    except click.UsageError as error:
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        report(CommandError(f"{error.format_message()}{where}"))
        return ExitCode.USAGE
    except click.ClickException as error:
        report(CommandError(error.format_message()))
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        report(CommandError("stopped; it is safe to run again"))
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has enough; keep Python from complaining when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        where = f"{TRACEBACK_VARIABLE}=1 shows where"
        report(CommandError(f"a fault of tallybook itself: {type(error).__name__}: {error} ({where})"))
        return ExitCode.SERVER_FAULT


def main() -> NoReturn:
    """The program."""
    sys.exit(run())
