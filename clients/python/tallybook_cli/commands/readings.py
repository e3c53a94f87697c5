"""`tallybook readings`."""

from __future__ import annotations

from datetime import datetime

import click

import tallybook_client as tb
from tallybook_cli.commands.readings_import import command as import_command
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, stored_options
from tallybook_cli.output import print_listed
from tallybook_cli.target import Target


@click.group()
def command() -> None:
    """Meter readings of the book: store files of them, list them.

    \b
    Example:
      tallybook readings import meter.csv.gz --dry-run
      tallybook readings list m1 load --from 2026-01-01 --to 2026-02-01
    """


command.add_command(import_command, "import")


@command.command("list")
@click.argument("datasource")
@click.argument("channel")
@stored_options
@server_options
@json_option
def list_command(
    target: Target,
    datasource: str,
    channel: str,
    start_time: datetime | None,
    end_time: datetime | None,
    as_of: int,
    superseded: bool,
    limit: int,
    as_json: bool,
) -> ExitCode:
    """List the stored readings of a datasource's channel by timestamp: of each the last delivery.

    \b
    Example:
      tallybook readings list m1 load --from 2026-01-01 --to 2026-02-01
      tallybook readings list m1 load --superseded --json
    """
    with target.connect() as client:
        listed = client.list_readings(
            datasource, channel, start_time, end_time, as_of_sequence=as_of, include_superseded=superseded
        )
        columns = ["time", "value>", "unit", "quality", "sequence>", "received", "superseded"]
        print_listed(listed, limit, columns, _row, as_json)
    return ExitCode.OK


def _row(each: tb.StoredReading) -> list[object]:
    superseded = "yes" if each.superseded else ""
    return [each.time, each.value, each.unit, each.quality, each.sequence, each.receipt_time, superseded]
