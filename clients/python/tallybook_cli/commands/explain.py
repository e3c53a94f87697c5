"""`tallybook explain`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import click

import tallybook_client as tb
from tallybook_cli.costs import print_net, print_period
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options
from tallybook_cli.output import console, instant, print_json
from tallybook_cli.plan_words import plan_words, tax_words
from tallybook_cli.target import Target


@click.command()
@click.argument("event_id", required=False)
@click.option("--customer", default="", metavar="REFERENCE", help="The customer of --reference.")
@click.option("--reference", default="", metavar="TEXT", help="The event's reference, in place of its id.")
@click.option("--generation", default=0, metavar="N", help="Which of the reference's events; the latest, if left out.")
@server_options
@json_option
def command(
    target: Target, event_id: str | None, customer: str, reference: str, generation: int, as_json: bool
) -> ExitCode:
    """Explain what an event cost: quantity before and after, tier lines, rounding, tax, and each rule by name.

    \b
    Example:
      tallybook explain evt_00000000000000a1
      tallybook explain --customer UA --reference UA1545-2013-01-01T10:15:00Z-EWR
    """
    if bool(event_id) == bool(reference) or (reference and not customer):
        raise CommandError("which? give an event id, or --customer and --reference")
    key = tb.EventKey(event_id=event_id or "", customer_reference=customer, reference=reference, generation=generation)
    with target.connect() as client:
        stored = client.get_event(key)
        if as_json:
            print_json(stored.message)
            return ExitCode.OK
        _print_event(stored)
        catalog_of = cache(client.get_catalog)
        for entry in stored.history:
            _print_entry(entry, catalog_of)
    return ExitCode.OK


def _print_event(stored: tb.StoredEvent) -> None:
    event = stored.event
    deleted = ", deleted" if stored.deleted else ""
    console().print(f"[bold]{stored.event_id}[/bold] {stored.status} {stored.match}{deleted}")
    console().print(
        f"  {event.reference} of {event.customer_reference or event.customer_id}, meter "
        f"{event.meter_reference or event.meter_id}, {instant(stored.effective_time)} "
        f"(received {instant(stored.receipt_time)}, sequence {stored.sequence})",
        markup=False,
    )
    for value in event.meter_values:
        console().print(f"  {value.reference} {value.number}", markup=False)
    for each in event.meter_properties:
        console().print(f"  {each.reference} {each.value}", markup=False)
    if stored.fault is not None:
        console().print(f"  {stored.fault.reason}: {stored.fault.text}", markup=False)


def _print_entry(entry: tb.EventHistory, catalog_of: Callable[[int], tb.CatalogVersion]) -> None:
    """One thing that happened to the event."""
    console().print(f"\n[bold]{entry.cause}[/bold] at sequence {entry.sequence}: {entry.status} {entry.match}")
    for detail in entry.cost.details:
        for period in detail.periods:
            catalog = catalog_of(period.catalog_version).catalog
            print_period(period)
            console().print(f"  plan {plan_words(catalog, period.plan_id, period.cell_id)}", markup=False)
            country = detail.tax_summary.country_code
            if country:
                console().print(f"  tax {tax_words(catalog, country)}", markup=False)
            console().print(f"  catalogue version {period.catalog_version}, charge line {period.line_number}")
        console().print(
            f"in all {detail.amount_excluding_tax} without tax, {detail.tax_summary.tax_amount} tax, "
            f"[bold]{detail.amount_including_tax}[/bold]"
        )
        print_net(detail)
