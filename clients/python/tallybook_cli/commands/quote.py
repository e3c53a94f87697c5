"""`tallybook quote`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import click

import tallybook_client as tb
from tallybook.v1 import simulate_pb2
from tallybook_cli.costs import left_words, line_rows, signed_exact
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option
from tallybook_cli.output import console, number, print_json, print_table
from tallybook_server import offline, quotes


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("quantity", required=False)
@click.option("--from", "quantity_from", metavar="QUANTITY", help="What it costs to come from here ...")
@click.option("--to", "quantity_to", metavar="QUANTITY", help="... to here.")
@click.option("--plan", "plan_id", metavar="ID", help="Which plan of a catalogue file.")
@click.option("--days", metavar="DAYS/WHOLE", help="Of a period that ends early: 10/31 are the first 10 days of 31.")
@click.option("--rule", "cell_id", default="", metavar="ID", help="Which rule of a matrix.")
@json_option
def command(
    file: Path,
    quantity: str | None,
    quantity_from: str | None,
    quantity_to: str | None,
    plan_id: str | None,
    days: str | None,
    cell_id: str,
    as_json: bool,
) -> ExitCode:
    """Price a quantity by a plan file or a catalogue file, tier by tier. No server, no key.

    \b
    Example:
      tallybook quote examples/flights/catalog.yaml 1500000 --plan en_route_2013
      tallybook quote examples/flights/catalog.yaml --from 499900 --to 500050 --plan capacity_2013
    """
    if (quantity is None) == (quantity_from is None and quantity_to is None):
        raise CommandError("how much? give QUANTITY, or --from and --to")
    if quantity is None and (quantity_from is None or quantity_to is None):
        raise CommandError("give both --from and --to")
    try:
        plan = offline.read_plan(str(file), file.read_bytes(), plan_id)
        wanted = quantity if quantity is not None else quantity_to or ""
        cost = quotes.quote(plan, cell_id, quantity_from, wanted, None if days is None else _days(days))
    except offline.PlanFileError as error:
        raise CommandError("\n  ".join(error.faults)) from None
    except quotes.QuoteError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(cost)
    else:
        _print(cost)
    return ExitCode.OK


def _days(text: str) -> simulate_pb2.DaysOfPeriod:
    """10/31."""
    count, _, whole = text.partition("/")
    if not (count.isdecimal() and whole.isdecimal() and max(len(count), len(whole)) <= 9):
        raise CommandError(f"--days {text!r}: days of the period, and of the whole one, as in 10/31")
    return simulate_pb2.DaysOfPeriod(day_count=int(count), whole_day_count=int(whole))


def _print(cost: simulate_pb2.QuotePriceResponse) -> None:
    cell = f" [{cost.cell_id}]" if cost.cell_id else ""
    before, after, amount, exact = map(
        Decimal, (cost.quantity_before, cost.quantity_after, cost.amount, cost.exact_amount)
    )
    title = f"{cost.plan_id}{cell}  quantity {number(before)} to {number(after)}"
    rows = line_rows([tb.AmountLine.read(line) for line in cost.lines])
    if amount != exact:
        rows.append(["rounding", None, None, None, signed_exact(amount - exact)])
    print_table(title, ["rule", "quantity>", "unit amount>", "flat amount>", "amount>"], rows)
    console().print(f"  [bold]{amount:,f} {cost.currency}[/bold] without tax")
    left = left_words(cost.included_quantity_left, cost.next_tier_from)
    if left:
        console().print(f"  {left}")
