"""`tallybook usage`."""

from __future__ import annotations

import click

import tallybook_client as tb
from tallybook_cli.customers import customer_spans
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, period_options, server_options
from tallybook_cli.output import path, print_json, print_table
from tallybook_cli.target import Target


@click.command()
@period_options
@click.option("--as-of", default=0, metavar="SEQUENCE", help="The totals as of this committed sequence.")
@server_options
@json_option
def command(target: Target, span: tb.Span, as_of: int, as_json: bool) -> ExitCode:
    """Show running totals: one row a product contract, matrix cell and accumulation period.

    \b
    Example:
      tallybook usage --customer UA --at 2013-12-15
    """
    with target.connect() as client:
        totals = [total for each in customer_spans(client, span) for total in client.usage(each, as_of_sequence=as_of)]
    if as_json:
        for total in totals:
            print_json(total.message)
        return ExitCode.OK
    columns = ["contract", "product", "cell", "from", "to", "quantity>", "included left>", "next tier from>"]
    print_table(
        "",
        columns,
        (
            [
                path(total.contract_path),
                total.product_id,
                total.cell_id,
                total.start_time,
                total.end_time,
                total.quantity,
                total.included_quantity_left,
                total.next_tier_from,
            ]
            for total in totals
        ),
    )
    return ExitCode.OK
