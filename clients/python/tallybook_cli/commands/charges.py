"""`tallybook charges`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import click

import tallybook_client as tb
from tallybook_cli.costs import line_rows
from tallybook_cli.customers import customer_spans
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode
from tallybook_cli.options import json_option, period_options, server_options
from tallybook_cli.output import console, path, print_json, print_table
from tallybook_cli.target import Target


@click.command()
@period_options
@click.option("--lines", "with_lines", is_flag=True, help="Each charge with its tier lines.")
@click.option("--unopened", is_flag=True, help="Also lines that no event has opened; needs --from and --to.")
@click.option("--invoiced", is_flag=True, help="As invoiced, with fees, minimums, credits; needs --from and --to.")
@click.option("--as-of", default=0, metavar="SEQUENCE", help="The lines as of this committed sequence.")
@server_options
@json_option
def command(
    target: Target, span: tb.Span, with_lines: bool, unopened: bool, invoiced: bool, as_of: int, as_json: bool
) -> ExitCode:
    """Show charge lines: one a product contract, matrix cell and billing period, with the totals.

    \b
    Example:
      tallybook charges --customer UA --at 2013-07-15 --lines
      tallybook charges --customer UA --from 2013-07-01 --to 2013-08-01 --invoiced
    """
    if invoiced and not (span.start_time and span.end_time):
        raise CommandError("--invoiced needs --from and --to")
    if unopened and not (span.start_time and span.end_time):
        raise CommandError("--unopened needs --from and --to: periods without end have no last line")
    with target.connect() as client:
        found = [
            client.charges(each, as_of_sequence=as_of, include_unopened=unopened, as_invoiced=invoiced)
            for each in customer_spans(client, span)
        ]
    charges = [charge for each in found for charge in each]
    others = [line for each in found for line in each.invoice_lines]
    net_amounts = [each for charges in found for each in charges.net_amounts]
    if as_json:
        messages = [*(each.message for each in charges), *(each.message for each in others)]
        for message in [*messages, *(each.message for each in net_amounts)]:
            print_json(message)
        return ExitCode.OK
    if with_lines:
        for charge in charges:
            _print_charge(charge)
    else:
        _print_charges(charges)
    if others:
        _print_others(others)
    if net_amounts:
        _print_net_amounts(net_amounts)
    _print_totals([*charges, *others])
    return ExitCode.OK


def _print_charges(charges: Iterable[tb.ChargeLine]) -> None:
    columns = ["contract", "cell", "from", "to", "quantity>", "without tax>", "tax>", "with tax>", "currency"]
    print_table(
        "",
        columns,
        (
            [
                path(charge.contract_path),
                charge.cell_id,
                charge.start_time,
                charge.end_time,
                charge.quantity,
                f"{charge.amount_excluding_tax.quantity:,f}",
                f"{charge.tax_summary.tax_amount.quantity:,f}",
                f"{charge.amount_including_tax.quantity:,f}",
                charge.amount_excluding_tax.currency,
            ]
            for charge in charges
        ),
    )


def _print_others(lines: Iterable[tb.InvoiceLine]) -> None:
    """What invoices have beside charge lines."""
    columns = ["contract", "line", "from", "to", "without tax>", "tax>", "with tax>", "currency", "due"]
    print_table(
        "beside the charges",
        columns,
        (
            [
                path(line.contract_path),
                f"{line.kind.value.lower().replace('_', ' ')} {line.id}".strip(),
                line.start_time,
                line.end_time,
                f"{line.amount_excluding_tax.quantity:,f}",
                f"{line.tax_amount.quantity:,f}",
                f"{line.amount_including_tax.quantity:,f}",
                line.amount_excluding_tax.currency,
                line.due_date.isoformat(),
            ]
            for line in lines
        ),
    )


def _print_net_amounts(amounts: Iterable[tb.NetAmount]) -> None:
    """What contract trees with terms come to."""
    columns = ["contract", "from", "to", "charges>", "net without tax>", "net tax>", "net with tax>", "currency"]
    print_table(
        "net, with fees, shares, discounts, caps, minimums and credits",
        columns,
        (
            [
                each.contract_id,
                each.start_time,
                each.end_time,
                f"{each.amount_excluding_tax.quantity:,f}",
                f"{each.net_amount_excluding_tax.quantity:,f}",
                f"{each.net_amount_including_tax.quantity - each.net_amount_excluding_tax.quantity:,f}",
                f"{each.net_amount_including_tax.quantity:,f}",
                each.net_amount_excluding_tax.currency,
            ]
            for each in amounts
        ),
    )


def _print_charge(charge: tb.ChargeLine) -> None:
    cell = f" [{charge.cell_id}]" if charge.cell_id else ""
    title = f"{path(charge.contract_path)}{cell}  {charge.start_time:%Y-%m-%d} to {charge.end_time:%Y-%m-%d}"
    rows: list[list[object]] = line_rows(charge.lines)
    rows.append(["without tax", charge.quantity, None, None, f"{charge.amount_excluding_tax.quantity:,f}"])
    rows.append(["tax", None, None, None, f"{charge.tax_summary.tax_amount.quantity:,f}"])
    rows.append(["with tax", None, None, None, str(charge.amount_including_tax)])
    print_table(title, ["rule", "quantity>", "unit amount>", "flat amount>", "amount>"], rows)


def _print_totals(lines: Sequence[tb.ChargeLine | tb.InvoiceLine]) -> None:
    totals: dict[str, list[Decimal]] = {}
    for line in lines:
        total = totals.setdefault(line.amount_excluding_tax.currency, [Decimal(0)] * 3)
        total[0] += line.amount_excluding_tax.quantity
        total[1] += line.amount_including_tax.quantity - line.amount_excluding_tax.quantity
        total[2] += line.amount_including_tax.quantity
    for currency, (without_tax, tax, with_tax) in totals.items():
        console().print(
            f"{without_tax:,f} without tax, {tax:,f} tax, [bold]{with_tax:,f} {currency}[/bold] "
            f"({len(lines):,} lines in all)"
        )
