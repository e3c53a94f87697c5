"""`tallybook readings`."""

from __future__ import annotations

from datetime import datetime

import click

import tallybook_client as tb
from tallybook_cli.commands.readings_import import command as import_command
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, stored_options, stretch_options
from tallybook_cli.output import console, print_json, print_listed
from tallybook_cli.target import Target


@click.group()
def command() -> None:
    """Meter readings of the book: store files of them, list them, take them back.

    \b
    Example:
      tallybook readings import meter.csv.gz --dry-run
      tallybook readings list m1 load --from 2026-01-01 --to 2026-02-01
      tallybook readings delete m1 load --sequence 17
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
        columns = ["time", "value>", "unit", "quality", "sequence>", "received", "counts"]
        print_listed(listed, limit, columns, _row, as_json)
    return ExitCode.OK


def _row(each: tb.StoredReading) -> list[object]:
    counts = "superseded" if each.superseded else "yes"
    if each.deleted_sequence:
        counts = f"taken back in {each.deleted_sequence}"
    return [each.time, each.value, each.unit, each.quality, each.sequence, each.receipt_time, counts]


@command.command()
@click.argument("datasource")
@click.argument("channel")
@stretch_options
@click.option("--sequence", type=click.IntRange(1), metavar="N", help="Only what commit N delivered.")
@server_options
@json_option
def delete(
    target: Target,
    datasource: str,
    channel: str,
    start_time: datetime | None,
    end_time: datetime | None,
    sequence: int | None,
    as_json: bool,
) -> ExitCode:
    """Take stored readings of a datasource's channel back: a delivery by its commit, a stretch of time, or both.

    They count no more, and stay for audit: `tallybook readings list --superseded` shows them. What was calculated of
    them stays as it is until it is calculated again. Safe to repeat.

    \b
    Example:
      tallybook readings delete m1 load --sequence 17
      tallybook readings delete m1 load --from 2026-01-01 --to 2026-02-01
    """
    if sequence is None and start_time is None and end_time is None:
        raise click.UsageError("say which: give --sequence, --from or --to")
    with target.connect() as client:
        found = client.delete_readings(datasource, channel, start_time, end_time, sequence=sequence or 0)
    if as_json:
        print_json(found.message)
    elif found.deleted_count:
        console().print(f"{found.deleted_count:,} readings taken back in sequence {found.sequence:,}")
    else:
        console().print("nothing to take back: no such reading is stored, or all were taken back before")
    return ExitCode.OK
