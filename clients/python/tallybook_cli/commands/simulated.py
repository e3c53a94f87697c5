"""`tallybook simulated`."""

from __future__ import annotations

import click

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options
from tallybook_cli.output import path, print_listed
from tallybook_cli.target import Target

COLUMNS = (
    "scenario",
    "customer",
    "contract",
    "plan or kind",
    "cell",
    "from",
    "to",
    "quantity>",
    "without tax>",
    "tax>",
    "",
)


@click.command()
@click.argument("simulation_id", metavar="SIMULATION")
@click.option("--scenario", default="", metavar="NAME", help="Under this one alone, or `baseline`.")
@click.option("--customer-id", "customer_ids", multiple=True, metavar="ID", help="Of this one; repeatable.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many.")
@server_options
@json_option
def command(
    target: Target, simulation_id: str, scenario: str, customer_ids: tuple[str, ...], limit: int, as_json: bool
) -> ExitCode:
    """List the charges of a simulation that is over, scenario by scenario. The server keeps them for 15 minutes.

    \b
    Example:
      tallybook simulated sim_6f1d0c52a97b3e84 --scenario cheaper --customer-id acme
    """
    with target.connect() as client:
        found = client.simulated_charges(simulation_id, scenario, customer_ids)
        print_listed(found, limit, COLUMNS, _row, as_json)
    return ExitCode.OK


def _row(each: tb.SimulatedCharge) -> list[object]:
    return [
        each.scenario,
        each.customer_id,
        path(each.contract_path),
        each.plan_id or f"{each.line_kind} {each.line_id}".strip(),
        each.cell_id,
        each.period_start_time,
        each.period_end_time,
        each.quantity,
        f"{each.amount_excluding_tax.quantity:,f}",
        f"{each.tax_amount.quantity:,f}",
        each.amount_excluding_tax.currency,
    ]
