"""`tallybook billing`."""

from __future__ import annotations

from datetime import datetime

import click

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, stored_options
from tallybook_cli.output import console, print_json, print_listed
from tallybook_cli.target import Target


@click.group()
def command() -> None:
    """Stored determinants: values of BILLING channels, and the outbox of billing messages.

    \b
    Example:
      tallybook billing messages --json
      tallybook billing acknowledge msg_0000000004000000
      tallybook billing readings m1 BILLING_ACTIVE_PMAX_POWER
    """


@command.command()
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
@server_options
@json_option
def messages(target: Target, limit: int, as_json: bool) -> ExitCode:
    """List billing messages that are not acknowledged, first to last. They stay until they are.

    \b
    Example:
      tallybook billing messages
      tallybook billing messages --json
    """
    with target.connect() as client:
        columns = ["message", "datasource", "stored", "sequence>", "bytes>"]
        print_listed(client.billing_messages(), limit, columns, _message_row, as_json)
    return ExitCode.OK


def _message_row(each: tb.BillingMessage) -> list[object]:
    return [each.message_id, each.datasource, each.storage_time, each.sequence, len(each.document.encode())]


@command.command()
@click.argument("message_ids", metavar="MESSAGE...", nargs=-1, required=True)
@server_options
@json_option
def acknowledge(target: Target, message_ids: tuple[str, ...], as_json: bool) -> ExitCode:
    """Take billing messages out of the outbox. Safe to repeat; exits with 1 where a message is unknown.

    \b
    Example:
      tallybook billing acknowledge msg_0000000004000000 msg_0000000005000000
    """
    with target.connect() as client:
        found = client.acknowledge(message_ids)
    if as_json:
        print_json(found.message)
    else:
        before = found.already_acknowledged_count
        console().print(f"{found.acknowledged_count:,} acknowledged, {before:,} before")
        for unknown in found.unknown_ids:
            console().print(f"there is no message {unknown}")
    return ExitCode.FAILURE_FOUND if found.unknown_ids else ExitCode.OK


@command.command()
@click.argument("datasource")
@click.argument("billing_channel")
@stored_options
@server_options
@json_option
def readings(
    target: Target,
    datasource: str,
    billing_channel: str,
    start_time: datetime | None,
    end_time: datetime | None,
    as_of: int,
    superseded: bool,
    limit: int,
    as_json: bool,
) -> ExitCode:
    """List the stored determinants of a BILLING channel by the ends of their periods: of each the last calculation.

    \b
    Example:
      tallybook billing readings m1 BILLING_ACTIVE_INTERVAL_MONTH --from 2026-01-01
    """
    with target.connect() as client:
        listed = client.list_billing_readings(
            datasource, billing_channel, start_time, end_time, as_of_sequence=as_of, include_superseded=superseded
        )
        columns = ["from", "to", "value>", "unit", "quality", "calculated", "message", "superseded"]
        print_listed(listed, limit, columns, _row, as_json)
    return ExitCode.OK


def _row(each: tb.BillingReading) -> list[object]:
    return [
        each.start_time,
        each.end_time,
        "withdrawn" if each.value is None else each.value,
        each.unit,
        each.quality,
        each.annotations["calculation_time"],
        each.message_id,
        "yes" if each.superseded else "",
    ]
