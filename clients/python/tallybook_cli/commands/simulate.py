"""`tallybook simulate`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import polars as pl

import tallybook_client as tb
from tallybook.v1 import simulate_pb2
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import Instant, WrittenFile, json_option, server_options
from tallybook_cli.output import console, print_json, print_table
from tallybook_cli.target import Target
from tallybook_cli.usage_files import read_usage
from tallybook_server import offline_simulation
from tallybook_server.catalog_file import read_message_file

SENT_ROWS_MAX = 1_000_000
"""Rows of a file that are sent with the request; more are uploaded first, request by request."""
CUSTOMERS_SHOWN = 20
"""Customers whose bills change most that are shown."""


@click.command()
@click.argument(
    "files", metavar="[USAGE] [SCENARIO...]", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--recorded", is_flag=True, help="Over the book's own events, in place of USAGE.")
@click.option("--determinants", is_flag=True, help="Over the book's own billing determinants, in place of USAGE.")
@click.option("--from", "start_time", type=Instant(), metavar="TIME", help="What is stored from this time on (UTC).")
@click.option("--to", "end_time", type=Instant(), metavar="TIME", help="And before this one (UTC).")
@click.option(
    "--customer-id", "customer_ids", multiple=True, metavar="ID", help="The usage is of this one; repeatable."
)
@click.option(
    "--billed-from",
    type=Instant(),
    metavar="TIME",
    help="Bill all contracts, with usage or without, from here (UTC) ...",
)
@click.option(
    "--billed-to",
    type=Instant(),
    metavar="TIME",
    help="... to here; of --customer-id, or of everyone. Left out with --recorded, they are --from and --to.",
)
@click.option("--skip-invalid", is_flag=True, help="Leave a scenario out that is not valid, and say why.")
@click.option(
    "--output",
    metavar="FILE.parquet",
    type=WrittenFile(".parquet"),
    help="Write the charges, a row a charge line and scenario.",
)
@click.option(
    "--customers",
    "customers_file",
    metavar="FILE.parquet",
    type=WrittenFile(".parquet"),
    help="Write what each customer pays under each scenario, with the difference and what is cheapest.",
)
@click.option(
    "--keep", is_flag=True, help="Have the server keep the charges for `tallybook simulated`, as --output does."
)
@click.option(
    "--picture",
    metavar="FILE.png",
    type=WrittenFile(".png"),
    help="Draw the totals by scenario, and how the change is spread over customers.",
)
@click.option(
    "--catalog",
    "catalog_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Over the contracts of a catalogue file; no server, no key.",
)
@server_options
@json_option
def command(
    target: Target,
    files: tuple[Path, ...],
    recorded: bool,
    determinants: bool,
    start_time: datetime | None,
    end_time: datetime | None,
    customer_ids: tuple[str, ...],
    billed_from: datetime | None,
    billed_to: datetime | None,
    skip_invalid: bool,
    output: Path | None,
    customers_file: Path | None,
    keep: bool,
    picture: Path | None,
    catalog_file: Path | None,
    as_json: bool,
) -> ExitCode:
    """Run the contracts of the book over usage, today's and each scenario's, and compare. Nothing of it is kept.

    USAGE is Parquet or CSV with the columns date (local, 2026-01-31) or time (with its zone), contract_id (the product
    contract's), product_id and quantity, and where they are wanted reference (the row's own key), event_count (events
    that the row stands for) and property:<reference>. A SCENARIO is YAML or JSON of the contract's message
    Scenario: name, put, remove and replace_plans; without a name it has the file's.

    \b
    Example:
      tallybook simulate usage.parquet cheaper.yaml bundled.yaml --output charges.parquet
      tallybook simulate usage.parquet cheaper.yaml --catalog catalog.yaml --picture change.png
      tallybook simulate --recorded --from 2026-01-01 --to 2027-01-01 cheaper.yaml
    """
    if (billed_from is None) != (billed_to is None):
        raise CommandError("give both --billed-from and --billed-to")
    stored = _stored(recorded, determinants, start_time, end_time)
    billed = None if billed_from is None or billed_to is None else (billed_from, billed_to)
    if billed is None and isinstance(stored, tb.RecordedUsage):
        # What was billed then is what scenarios are compared with, months without an event too.
        billed = stored.start_time, stored.end_time
    if stored is None and not files:
        raise CommandError("a file of usage is missing; --recorded takes the book's own events")
    if stored is not None and catalog_file is not None:
        raise CommandError("--catalog has nothing recorded: give a file of usage")
    usage: tb.AnyUsage = read_usage(files[0]) if stored is None else stored
    scenarios = [_scenario(file) for file in (files[1:] if stored is None else files)]

    def request(of: tb.AnyUsage) -> simulate_pb2.RunSimulationRequest:
        made = tb.simulation_request(
            of,
            customer_ids=customer_ids,
            billed_period=billed,
            skip_invalid_scenarios=skip_invalid,
            omit_charges=output is None and not keep,
        )
        made.scenarios.extend(scenarios)
        return made

    try:
        if catalog_file is not None:
            simulation = _offline(request(usage), catalog_file)
        else:
            with target.connect() as client:
                if isinstance(usage, pl.DataFrame) and usage.height > SENT_ROWS_MAX:
                    usage = client.upload_usage(usage)
                simulation = client.run_simulation(request(usage))
    except tb.FrameError as error:
        raise CommandError(f"{files[0]}: {error}") from None
    if picture is not None:
        # Only here, for it takes its time to load.
        from tallybook_cli.simulation_picture import draw

        draw(simulation, picture)
    if output is not None:
        simulation.to_polars().write_parquet(output)
    if customers_file is not None:
        simulation.customers().write_parquet(customers_file)
    if as_json:
        units = _units(simulation)
        for total in simulation.totals:
            print_json(total.message)
        for customer in _changed(simulation).iter_rows(named=True):
            print_json(_customer(customer, units[customer["currency"]]))
    else:
        _print(simulation)
    if simulation.charges_expire_time is not None:
        until = f"{simulation.charges_expire_time:%H:%M:%S} UTC"
        click.echo(f"until {until}: tallybook simulated {simulation.simulation_id}", err=True)
    for skipped in simulation.skipped:
        click.echo(f"{skipped.name} was left out:\n  " + "\n  ".join(skipped.faults), err=True)
    return ExitCode.FAILURE_FOUND if simulation.skipped else ExitCode.OK


def _offline(request: simulate_pb2.RunSimulationRequest, catalog_file: Path) -> tb.Simulation:
    """The simulation in this process."""
    try:
        catalog = offline_simulation.read_catalog_file(str(catalog_file), catalog_file.read_bytes())
        return tb.Simulation(offline_simulation.simulate(request, catalog))
    except offline_simulation.CatalogFileError as error:
        raise CommandError("\n  ".join(error.faults)) from None
    except offline_simulation.SimulationError as error:
        raise CommandError("\n  ".join([str(error), *error.faults]), ExitCode.REFUSED) from None


def _stored(
    recorded: bool, determinants: bool, start_time: datetime | None, end_time: datetime | None
) -> tb.RecordedUsage | tb.DeterminantUsage | None:
    """What of the book is asked for; None: a file."""
    if recorded and determinants:
        raise CommandError("give --recorded or --determinants, not both")
    if not (recorded or determinants):
        if start_time or end_time:
            raise CommandError("--from and --to go with --recorded or --determinants")
        return None
    if start_time is None or end_time is None:
        raise CommandError("--recorded and --determinants need --from and --to")
    kind = tb.RecordedUsage if recorded else tb.DeterminantUsage
    return kind(start_time=start_time, end_time=end_time)


def _scenario(file: Path) -> simulate_pb2.Scenario:
    read = read_message_file(str(file), file.read_bytes(), simulate_pb2.Scenario)
    if read.faults:
        raise CommandError("\n  ".join(map(read.located, read.faults)))
    scenario: simulate_pb2.Scenario = read.message
    if not scenario.name:
        scenario.name = file.stem
    return scenario


def _print(simulation: tb.Simulation) -> None:
    rows: list[Sequence[object]] = [
        [
            each.scenario,
            f"{each.amount_excluding_tax.quantity:,f}",
            f"{each.amount_including_tax.quantity:,f}",
            _change(each.difference_excluding_tax.quantity),
            each.amount_excluding_tax.currency,
            each.customer_count_more,
            each.customer_count_less,
            each.customer_count_same,
            each.customer_count_cheapest,
        ]
        for each in simulation.totals
    ]
    columns = ["scenario", "without tax>", "with tax>", "change>", "", "more>", "less>", "same>", "cheapest for>"]
    print_table(
        f"{simulation.row_count:,} rows of usage, catalogue version {simulation.catalog_version}", columns, rows
    )
    changed = _changed(simulation)
    if changed.height:
        units = _units(simulation)
        console().print()
        print_table(
            f"changed most, {min(changed.height, CUSTOMERS_SHOWN)} of {changed.height}",
            ["customer", "scenario", "without tax>", "change>", ""],
            [
                [
                    each["customer_id"],
                    each["scenario"],
                    f"{each['amount_excluding_tax'].quantize(units[each['currency']]):,f}",
                    _change(each["difference_excluding_tax"].quantize(units[each["currency"]])),
                    each["currency"],
                ]
                for each in changed.head(CUSTOMERS_SHOWN).iter_rows(named=True)
            ],
        )


def _changed(simulation: tb.Simulation) -> pl.DataFrame:
    """What customers pay whose bills change under a scenario, those that change most first."""
    customers = simulation.customers().filter(pl.col("difference_excluding_tax") != 0)
    return customers.sort(pl.col("difference_excluding_tax").abs(), descending=True, maintain_order=True)


def _units(simulation: tb.Simulation) -> dict[str, Decimal]:
    """By currency, a number with its digits, which totals have; frames have the same for all."""
    return {each.amount_excluding_tax.currency: each.amount_excluding_tax.quantity for each in simulation.totals}


def _customer(row: dict[str, Any], unit: Decimal) -> dict[str, Any]:
    """A row of the customers as JSON, with the words of the totals."""

    def money(name: str) -> dict[str, str]:
        return {"quantity": f"{row[name].quantize(unit):f}", "currency": row["currency"]}

    amounts = ("amount_excluding_tax", "amount_including_tax", "difference_excluding_tax")
    named = {"customer_id": row["customer_id"], "scenario": row["scenario"]}
    return named | {name: money(name) for name in amounts} | {"is_cheapest": row["is_cheapest"]}


def _change(amount: Decimal) -> str:
    """A difference with its sign, and nothing with none."""
    return f"{amount:+,f}" if amount else f"{amount:,f}"
