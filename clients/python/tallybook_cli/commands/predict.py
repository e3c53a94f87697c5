"""`tallybook predict`."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

import tallybook_client as tb
from tallybook_cli.costs import print_cost
from tallybook_cli.errors import CommandError
from tallybook_cli.event_json import read_events
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import Instant, json_option, pairs, server_options
from tallybook_cli.output import console, print_json
from tallybook_cli.target import Target


@click.command()
@click.option("--customer", default="", metavar="REFERENCE", help="The customer.")
@click.option("--meter", default="", metavar="REFERENCE", help="The meter.")
@click.option("--value", "values", multiple=True, metavar="NAME=NUMBER", help="What was measured; may be repeated.")
@click.option("--property", "properties", multiple=True, metavar="NAME=TEXT", help="May be repeated.")
@click.option("--time", type=Instant(), metavar="TIME", help="When it happens; now, if left out.")
@click.option("--reference", default="", metavar="TEXT", help="The event's key; a fresh one, if left out.")
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Events as JSON: one object, or one a line; - is standard input.",
)
@server_options
@json_option
def command(
    target: Target,
    customer: str,
    meter: str,
    values: tuple[str, ...],
    properties: tuple[str, ...],
    time: object,
    reference: str,
    file: Path | None,
    as_json: bool,
) -> ExitCode:
    """Say exactly what events would cost if they were stored now. Nothing is written.

    \b
    Example:
      tallybook predict --customer UA --meter flight --value miles=1400 --value seats=149 --property origin=EWR
      tallybook predict --file event.json --json
    """
    if file is not None and (customer or meter or values or properties or time or reference):
        raise CommandError("give --file, or the event by its parts, not both")
    if file is None and not (customer and meter):
        raise CommandError("of what? give --customer and --meter, or --file")
    events: list[tb.AnyEvent]
    if file is not None:
        events = list(read_events(file))
    else:
        events = [
            tb.Event(
                reference=reference or f"prediction-{secrets.token_hex(8)}",
                customer_reference=customer,
                meter_reference=meter,
                time=time,  # type: ignore[arg-type]
                values=pairs(values, "--value"),
                properties=pairs(properties, "--property"),
            )
        ]
    with target.connect() as client:
        results = client.predict(events)
    for result in results:
        if as_json:
            print_json(result.message)
        else:
            print_result(result)
    return ExitCode.FAILURE_FOUND if any(result.fault for result in results) else ExitCode.OK


def print_result(result: tb.EventResult) -> None:
    """What became of an event, or would."""
    words = [result.status] if result.match is tb.Match.MATCH_UNSPECIFIED else [result.status, result.match]
    console().print(f"[bold]{' '.join(words)}[/bold] {result.event_id}".rstrip())
    if result.fault is not None:
        console().print(f"  {result.fault.reason} {result.fault.field}: {result.fault.text}", markup=False)
    if result.cost is not None:
        print_cost(result.cost)
