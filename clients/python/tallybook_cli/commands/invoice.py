"""`tallybook invoice`."""

from __future__ import annotations

from datetime import datetime

import click

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, server_options
from tallybook_cli.output import console, path, print_json, print_table
from tallybook_cli.target import Target


@click.command()
@click.argument("contract_id", metavar="CONTRACT")
@click.argument("day", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--count", default=1, show_default=True, metavar="N", help="So many billing periods; up to 1,000.")
@click.option("--as-of", default=0, metavar="SEQUENCE", help="From what was stored up to this committed sequence.")
@server_options
@json_option
def command(target: Target, contract_id: str, day: datetime, count: int, as_of: int, as_json: bool) -> ExitCode:
    """Preview the invoice of the root contract CONTRACT for the billing period that holds the day DATE.

    It has the charge lines of the whole tree, its fixed fees and revenue shares, and level by level discounts, caps,
    minimums and credits, with taxes and due dates. Nothing is written.

    \b
    Example:
      tallybook invoice UA_2013 2013-07-01
      tallybook invoice UA_2013 2013-01-01 --count 12 --json
    """
    with target.connect() as client:
        invoices = client.preview_invoices(contract_id, day.date(), period_count=count, as_of_sequence=as_of)
    for invoice in invoices:
        if as_json:
            print_json(invoice.message)
        else:
            _print(invoice)
    return ExitCode.OK


def _print(invoice: tb.Invoice) -> None:
    rows = [
        [
            path(line.contract_path),
            line.kind.value.lower().replace("_", " "),
            line.charge.cell_id if line.charge is not None else line.id,
            "" if line.charge is None else line.charge.quantity,
            f"{line.amount_excluding_tax.quantity:,f}",
            f"{line.tax_amount.quantity:,f}",
            f"{line.amount_including_tax.quantity:,f}",
            str(line.due_date),
        ]
        for line in invoice.lines
    ]
    print_table(
        f"{invoice.contract_id}, customer {invoice.customer_id}, {invoice.start_date} to {invoice.end_date}",
        ["contract", "line", "of", "quantity>", "without tax>", "tax>", "with tax>", "due"],
        rows,
    )
    console().print(
        f"{invoice.amount_excluding_tax.quantity:,f} without tax, {invoice.tax_amount.quantity:,f} tax, "
        f"[bold]{invoice.amount_including_tax}[/bold], due {invoice.due_date}"
    )
    console().print()
