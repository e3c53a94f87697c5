"""`tallybook readings`."""

from __future__ import annotations

import click

from tallybook_cli.commands.readings_import import command as import_command


@click.group()
def command() -> None:
    """Meter readings of the book.

    \b
    Example:
      tallybook readings import meter.csv.gz --dry-run
    """


command.add_command(import_command, "import")
