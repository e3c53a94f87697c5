"""`tallybook dates`."""

from __future__ import annotations

import click

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option
from tallybook_cli.output import console, print_json, print_table
from tallybook_server import quotes
from tallybook_server.errors import Fault

PERIODS_SHOWN = 24
"""Periods that are shown unless more are asked for."""


@click.command()
@click.argument("start_date", metavar="START")
@click.argument("end_date", metavar="[END]", required=False)
@click.option("--every", "interval", default=1, show_default=True, metavar="N", help="Units in a period.")
@click.option(
    "--unit",
    type=click.Choice(["DAY", "WEEK", "MONTH", "YEAR"], case_sensitive=False),
    default="MONTH",
    show_default=True,
)
@click.option(
    "--basis",
    type=click.Choice(["CALENDAR", "CONTRACT"], case_sensitive=False),
    default="CALENDAR",
    show_default=True,
    help="Count from the start floored to the unit, or from the start itself.",
)
@click.option("--zone", default="UTC", show_default=True, metavar="NAME", help="IANA time zone of the days.")
@click.option("--renewed", is_flag=True, help="Renewed at END for as long again, and then again.")
@click.option("--from", "from_date", metavar="DATE", help="Begin with the period that holds this day.")
@click.option("--count", default=PERIODS_SHOWN, show_default=True, metavar="N", help="At most so many; up to 1,000.")
@json_option
def command(
    start_date: str,
    end_date: str | None,
    interval: int,
    unit: str,
    basis: str,
    zone: str,
    renewed: bool,
    from_date: str | None,
    count: int,
    as_json: bool,
) -> ExitCode:
    """Show the billing periods of a contract from START up to END, which is the first day after it. No server, no key.

    \b
    Example:
      tallybook dates 2024-11-26 2025-11-26 --every 2 --basis CONTRACT
      tallybook dates 2024-01-31 --basis CONTRACT --zone Europe/Amsterdam --count 3
    """
    frequency = catalog_pb2.Frequency(
        basis=catalog_pb2.Frequency.Basis.Value(basis.upper()),
        interval=interval,
        unit=catalog_pb2.Frequency.Unit.Value(unit.upper()),
    )
    request = simulate_pb2.PreviewBillingDatesRequest(
        start_date=start_date,
        end_date=end_date,
        billing_frequency=frequency,
        time_zone=zone,
        from_date=from_date,
        period_count=count,
        auto_renewal=renewed,
    )
    try:
        answer = quotes.billing_dates(request)
    except Fault as fault:
        raise CommandError("\n  ".join(f"{each.field}: {each.message}" for each in fault.fields)) from None
    if as_json:
        for message in answer.periods:
            print_json(message)
        return ExitCode.OK
    rows = []
    for each in map(tb.BillingDates.read, answer.periods):
        clipped = each.day_count != each.whole_day_count
        whole = f"{each.whole_start_date} to {each.whole_end_date}" if clipped else ""
        term = f"{each.term_start_date} to {each.term_end_date}" if each.term_start_date else ""
        rows.append([str(each.start_date), str(each.end_date), each.day_count, whole, term])
    print_table(f"billing periods, days of {zone}", ["from", "to", "days>", "clipped from", "term"], rows)
    if answer.next_from_date:
        console().print(f"  more from {answer.next_from_date} on: --from {answer.next_from_date}")
    return ExitCode.OK
