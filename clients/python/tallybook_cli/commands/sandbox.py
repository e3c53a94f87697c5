"""`tallybook sandbox`."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

import tallybook_client as tb
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import Instant, json_option, server_options
from tallybook_cli.output import console, fields_of, print_json, print_table
from tallybook_cli.target import Target

COLUMNS = ("sandbox", "name", "made", "ends", "catalogue>", "copied events>", "stored bytes>")


@click.group()
def command() -> None:
    """Make, list and end sandboxes: books in memory that begin with the catalogue of the key's book.

    Every command works in a sandbox with its access token as the key, and the book it was made of never notices.

    \b
    Example:
      tallybook sandbox create --name next-year --hours 8
      TALLYBOOK_KEY=tbs_... tallybook apply next-year.yaml
      tallybook sandbox list
      tallybook sandbox delete sbx_6f1d0c52a97b3e84
    """


@command.command()
@click.option("--name", default="", metavar="TEXT", help="To know it by.")
@click.option(
    "--hours", default=1.0, show_default=True, type=click.FloatRange(0, 168, min_open=True), help="How long it lives."
)
@click.option("--from", "start_time", type=Instant(), metavar="TIME", help="Copy events from this time on (UTC).")
@click.option("--to", "end_time", type=Instant(), metavar="TIME", help="And before this one (UTC).")
@click.option("--customer-id", "customer_ids", multiple=True, metavar="ID", help="Events of this one; repeatable.")
@server_options
@json_option
def create(
    target: Target,
    name: str,
    hours: float,
    start_time: datetime | None,
    end_time: datetime | None,
    customer_ids: tuple[str, ...],
    as_json: bool,
) -> ExitCode:
    """Make a sandbox and show its access token, this once.

    With --from and --to it begins with the book's events of that time, in whole accumulation periods.

    \b
    Example:
      tallybook sandbox create --name next-year --hours 8
      tallybook sandbox create --from 2026-01-01 --to 2027-01-01 --customer-id acme
    """
    if (start_time is None) != (end_time is None) or (customer_ids and start_time is None):
        raise CommandError("events to copy are said by --from and --to together")
    recorded = None if start_time is None or end_time is None else (start_time, end_time)
    with target.connect() as client:
        made = client.create_sandbox(
            name, timedelta(seconds=round(hours * 3600)), recorded_usage=recorded, customer_ids=customer_ids
        )
    if as_json:
        print_json({"sandbox": fields_of(made.sandbox.message), "access_token": made.access_token})
    else:
        _print([made.sandbox])
        console().print("its key, which is not shown again:")
        click.echo(made.access_token)
    return ExitCode.OK


@command.command("list")
@server_options
@json_option
def list_sandboxes(target: Target, as_json: bool) -> ExitCode:
    """List the book's sandboxes, oldest first.

    \b
    Example:
      tallybook sandbox list
    """
    with target.connect() as client:
        found = client.list_sandboxes()
    if as_json:
        for each in found:
            print_json(each.message)
    else:
        _print(found)
    return ExitCode.OK


@command.command()
@click.argument("sandbox_id", metavar="SANDBOX")
@server_options
@json_option
def show(target: Target, sandbox_id: str, as_json: bool) -> ExitCode:
    """Show one sandbox.

    \b
    Example:
      tallybook sandbox show sbx_6f1d0c52a97b3e84
    """
    with target.connect() as client:
        found = client.get_sandbox(sandbox_id)
    if as_json:
        print_json(found.message)
    else:
        _print([found])
    return ExitCode.OK


@command.command()
@click.argument("sandbox_id", metavar="SANDBOX")
@server_options
@json_option
def delete(target: Target, sandbox_id: str, as_json: bool) -> ExitCode:
    """End a sandbox now, with all that was stored in it.

    \b
    Example:
      tallybook sandbox delete sbx_6f1d0c52a97b3e84
    """
    with target.connect() as client:
        client.delete_sandbox(sandbox_id)
    if as_json:
        print_json({"sandbox_id": sandbox_id})
    else:
        console().print(f"{sandbox_id} is gone")
    return ExitCode.OK


def _print(sandboxes: list[tb.Sandbox]) -> None:
    rows = (
        [
            each.sandbox_id,
            each.display_name,
            each.create_time,
            each.expire_time,
            each.catalog_version,
            each.recorded_usage.event_count if each.recorded_usage else None,
            each.stored_bytes,
        ]
        for each in sandboxes
    )
    print_table("", COLUMNS, rows)
