"""`tallybook readings`."""

from __future__ import annotations

import itertools
from datetime import datetime

import click

from tallybook_cli.commands.readings_import import command as import_command
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, stored_options
from tallybook_cli.output import console, print_json, print_table
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
        readings = list(itertools.islice(listed, limit + 1))
    shown = readings[:limit]
    if as_json:
        for reading in shown:
            print_json(reading.message)
        return ExitCode.OK
    columns = ["time", "value>", "unit", "quality", "sequence>", "received", "superseded"]
    print_table(
        "",
        columns,
        (
            [
                each.time,
                each.value,
                each.unit,
                each.quality,
                each.sequence,
                each.receipt_time,
                "yes" if each.superseded else "",
            ]
            for each in shown
        ),
    )
    if len(readings) > limit:
        console().print(f"the first {limit:,}; --limit shows more")
    return ExitCode.OK
