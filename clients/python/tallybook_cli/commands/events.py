"""`tallybook events`."""

from __future__ import annotations

import click

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options, span_options
from tallybook_cli.output import print_listed
from tallybook_cli.target import Target

MATCHES = [match.value for match in tb.Match if match is not tb.Match.MATCH_UNSPECIFIED]


@click.command()
@span_options
@click.option("--meter", default="", metavar="REFERENCE", help="Only this meter's.")
@click.option("--match", "matches", multiple=True, type=click.Choice(MATCHES), help="May be repeated.")
@click.option("--deleted", is_flag=True, help="Also events that were deleted.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
@server_options
@json_option
def command(
    target: Target,
    span: tb.Span,
    meter: str,
    matches: tuple[str, ...],
    deleted: bool,
    limit: int,
    as_json: bool,
) -> ExitCode:
    """List stored events in the order of their storing.

    \b
    Example:
      tallybook events --customer UA --from 2013-07-01 --to 2013-07-02
      tallybook events --match NO_CUSTOMER --match NO_CONTRACT --json
    """
    with target.connect() as client:
        listed = client.list_events(
            span, meter_reference=meter, matches=[tb.Match(match) for match in matches], show_deleted=deleted
        )
        columns = ["event", "customer", "meter", "reference", "time", "values", "status", "match"]
        print_listed(listed, limit, columns, _row, as_json)
    return ExitCode.OK


def _row(stored: tb.StoredEvent) -> list[object]:
    event = stored.event
    values = ", ".join(f"{value.reference} {value.number}" for value in event.meter_values)
    properties = ", ".join(f"{each.reference} {each.value}" for each in event.meter_properties)
    return [
        stored.event_id,
        event.customer_reference or event.customer_id,
        event.meter_reference or event.meter_id,
        event.reference if stored.generation == 1 else f"{event.reference} (generation {stored.generation})",
        stored.effective_time,
        "; ".join(part for part in (values, properties) if part),
        "DELETED" if stored.deleted else stored.status.value,
        stored.match.value,
    ]
