"""`make demo`: a year of real flights, then real meters, become exact money, over real gRPC.

Starts a server of its own, applies the catalogue, streams the flights, and shows what they cost; then imports readings,
stores their determinants, and shows what a meter costs; and simulates the flights under three proposals. A second run
finds every event stored already, so it stores no event and shows the same charges.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import click
import numpy as np
import polars as pl
from google.protobuf.json_format import MessageToJson

import tallybook_client as tb
from tallybook.v1 import catalog_pb2
from tallybook_cli.demo_bill import meter_steps, print_meters
from tallybook_cli.demo_charges import print_charges
from tallybook_cli.demo_meters import run_meters, write_meter_files
from tallybook_cli.demo_proposals import print_proposals, proposal_steps, run_proposals, write_proposals
from tallybook_cli.errors import CommandError, report
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.output import console
from tallybook_cli.picture import AirlineCost, draw
from tallybook_cli.progress import progress_bar
from tallybook_cli.server_process import serving
from tallybook_cli.target import Target
from tallybook_cli.tier_crossings import crossings
from tallybook_server.catalog_file import read_message_file
from tallybook_server.verify import verify

EXAMPLE = Path("examples/flights")
BOOK = "default"
BATCH_ROWS = 8_192
"""Small enough that the progress bar moves."""

COLUMNS = tb.ColumnMap(
    {
        "reference": "{carrier}{flight}-{scheduled_departure_time}-{origin}",
        "customer_reference": "carrier",
        "time": "scheduled_departure_time",
        "value:miles": "distance_miles",
        "value:seats": "seats",
        "property:origin": "origin",
    },
    {"meter_reference": "flight"},
)
"""A flight as an event. Airline, flight number, scheduled departure and airport name it, and nothing else does."""


@dataclass(frozen=True)
class Outcome:
    """What the server answered to the flights."""

    report: tb.IngestReport
    seconds: float
    charges: tb.Charges


@click.command()
@click.option("--out", default=Path("out/demo"), show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Only every so many flights.")
def demo(out: Path, every: int) -> None:
    """A year of flights out of New York, and a home in London, become exact money; then the year under proposals."""
    out.mkdir(parents=True, exist_ok=True)
    flights = flown_flights(EXAMPLE / "flights.parquet", every)
    say = console().print
    say(f"[bold]{flights.height:,} flights[/bold] out of New York in 2013; the journal is in {out / 'data'}")
    say("starting the server (the first start on a machine compiles its kernels, which takes a minute or two)")
    with serving(out / "data", out / "server.log") as address:
        say(f"server at {address}, a process of its own")
        with Target(address).connect() as client:
            outcome = run(client, flights)
            print_outcome(outcome)
            say("\n[bold]meters[/bold]: a home in London, and connection points of Australia's market")
            metered = run_meters(client, address)
            print_meters(metered)
            say(
                "\n[bold]proposals[/bold]: the airlines' year again, under other contracts; nothing in the book changes"
            )
            proposed = run_proposals(client, sorted({charge.customer_id for charge in outcome.charges}))
            print_proposals(proposed, without_tax(outcome.charges))
            catalog = client.get_catalog().catalog
    # Read back from the disk, after the server has gone.
    verified = verify(out / "data", BOOK, False, None)
    say(f"equation holds: {verified.line_count:,} lines, difference {verified.difference_count:,}")
    for line in verified.differences:
        say(f"  {line}", markup=False)
    files = [
        *write_files(out, flights, outcome, catalog),
        *write_meter_files(out, metered),
        *write_proposals(out, proposed),
    ]
    say(f"written: {', '.join(map(str, files))}", soft_wrap=True)
    say("\nnext:")
    for command, why in [*next_steps(flights, outcome.report.costs), *meter_steps(metered), *proposal_steps()]:
        say(f"  {command}\n      {why}", markup=False)
    if verified.difference_count or outcome.report.refused_count:
        raise CommandError("the demo found a failure; see above", ExitCode.FAILURE_FOUND)


def flown_flights(file: Path, every: int) -> pl.DataFrame:
    """The flights that were flown, in order of scheduled departure: one that stayed on the ground is no event."""
    if not file.exists():
        raise CommandError(f"{file} is not there: run the demo in the project's folder")
    return pl.read_parquet(file).filter(pl.col("air_time_minutes").is_not_null()).gather_every(every)


def run(client: tb.Client, flights: pl.DataFrame) -> Outcome:
    """Apply the catalogue, stream the flights with their costs asked for, read the charges."""
    file = EXAMPLE / "catalog.yaml"
    example = read_message_file(str(file), file.read_bytes(), catalog_pb2.Catalog).message
    client.apply_catalog(example)
    started = time.monotonic()
    with progress_bar(quiet=False) as bar:
        task = bar.add_task("flights", total=flights.height)
        report = client.ingest_frame(
            flights,
            COLUMNS,
            batch_rows=BATCH_ROWS,
            return_costs=True,
            on_progress=lambda progress: bar.update(task, completed=progress.row_count),
        )
    seconds = time.monotonic() - started
    charges = tb.Charges()
    for customer in example.customers:
        charges.extend(client.charges(tb.Span(customer_id=customer.id)))
    return Outcome(report, seconds, charges)


def write_files(out: Path, flights: pl.DataFrame, outcome: Outcome, catalog: catalog_pb2.Catalog) -> list[Path]:
    """The picture, the catalogue and the charges."""
    picture, document, charges = out / "cumulative-cost.png", out / "catalog.json", out / "charges.parquet"
    draw(airline_costs(flights, outcome, catalog), flights.height, picture)
    document.write_text(MessageToJson(catalog, preserving_proto_field_name=True) + "\n")
    outcome.charges.frame().write_parquet(charges)
    return [picture, document, charges]


def airline_costs(flights: pl.DataFrame, outcome: Outcome, catalog: catalog_pb2.Catalog) -> list[AirlineCost]:
    """Costs and tier crossings of each airline, for the picture."""
    costs = outcome.report.costs
    cost_of_row = np.zeros(flights.height, dtype=np.int64)
    np.add.at(cost_of_row, costs.rows, costs.amount_excluding_tax + costs.tax_amount)
    plans = {plan.id: plan for plan in catalog.plans}
    seats_threshold = int(plans["capacity_2013"].volume.tiers[0].up_to)
    en_route = plans["en_route_2013"]
    miles_threshold = int(en_route.graduated.tiers[0].up_to) + int(en_route.included_quantity.quantity)
    months = sorted({np.datetime64(each.start_time.replace(tzinfo=None), "us") for each in outcome.charges})
    found = []
    for customer in catalog.customers:
        rows = np.flatnonzero((flights["carrier"] == customer.id).to_numpy())
        if not len(rows):
            continue
        own = flights[rows]
        times = own["scheduled_departure_time"].dt.replace_time_zone(None).to_numpy()
        month = np.searchsorted(np.array(months), times, side="right")
        found.append(
            AirlineCost(
                customer.id,
                customer.name,
                times,
                cost_of_row[rows],
                crossings(own["seats"], np.zeros(len(rows), dtype=np.int64), seats_threshold),
                crossings(own["distance_miles"], month, miles_threshold),
            )
        )
    return found


def print_outcome(outcome: Outcome) -> None:
    """What the flights came to."""
    say = console().print
    report = outcome.report
    print_charges(outcome.charges)
    say(
        f"[bold]{report.row_count:,} events[/bold], {report.row_count / outcome.seconds:,.0f} a second: "
        f"{report.stored_count:,} stored, {report.duplicate_count:,} duplicates"
    )
    if report.refused_count:
        say(f"[red]{report.refused_count:,} events were refused[/red]: {report.refused_rows[0]}")
    tax = sum((charge.tax_summary.tax_amount.quantity for charge in outcome.charges), Decimal(0))
    total = sum((charge.amount_including_tax.quantity for charge in outcome.charges), Decimal(0))
    say(f"total [bold]{total:,f} USD[/bold], of which tax {tax:,f} USD")
    answered = cost_total(report.costs)
    same = "the same, to the cent" if answered == total else "not the same: the book holds other events too"
    say(f"the costs that the events were answered add up to {answered:,f} USD: {same}")


def without_tax(charges: tb.Charges) -> Decimal:
    """What all charges come to, in the one currency of the demo."""
    return sum((charge.amount_excluding_tax.quantity for charge in charges), Decimal(0))


def cost_total(costs: tb.Costs) -> Decimal:
    """All costs with tax, in the one currency of the demo."""
    minor = int(costs.amount_excluding_tax.sum()) + int(costs.tax_amount.sum())
    return Decimal(minor).scaleb(-max(costs.decimal_places, default=0))


def next_steps(flights: pl.DataFrame, costs: tb.Costs) -> list[tuple[str, str]]:
    """Commands to try, and what each shows."""
    # The event that lowered a total the most: a yearly tier was crossed there.
    row = int(costs.rows[np.argmin(costs.amount_excluding_tax)])
    carrier, flight, instant, origin = flights.select("carrier", "flight", "scheduled_departure_time", "origin").row(
        row
    )
    reference = f"{carrier}{flight}-{instant:%Y-%m-%dT%H:%M:%SZ}-{origin}"
    return [
        (
            "make demo",
            "again: every event is a duplicate, every reading is replaced by an equal one, the charges are the same",
        ),
        ("source .venv/bin/activate; tallybook serve --data out/demo/data &", "this book, for the commands below"),
        (
            f"tallybook explain --customer {carrier} --reference {reference}",
            "why this flight costs what it does",
        ),
        (f"tallybook charges --customer {carrier} --at 2013-07-15 --lines", "a month, tier by tier"),
        ("tallybook apply examples/flights/catalog.yaml --dry-run", "edit a price first, and see what would change"),
        ("tallybook verify out/demo/data --oracle --sample 100", "the same equation, by independent code"),
    ]


def main() -> None:
    """Run the demo; a failure is one line."""
    try:
        demo(standalone_mode=False)
    except CommandError as error:
        report(error)
        sys.exit(error.exit_code)
    except click.UsageError as error:
        report(CommandError(error.format_message()))
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        report(CommandError("stopped; it is safe to run again"))
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()
