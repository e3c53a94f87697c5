"""The demo's table: charges by airline and tier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from rich.box import SIMPLE_HEAD
from rich.table import Table

import tallybook_client as tb
from tallybook_cli.output import console

TIERS: Sequence[tuple[str, str, str, int]] = (
    ("landing\npackages", "landing", "PACKAGE", 0),
    ("terminal\ntier 1", "terminal", "TIER", 1),
    ("terminal\ntier 2", "terminal", "TIER", 2),
    ("en route\ntier 1", "en_route", "TIER", 1),
    ("en route\ntier 2", "en_route", "TIER", 2),
    ("capacity\ntier 1", "capacity", "TIER", 1),
    ("capacity\ntier 2", "capacity", "TIER", 2),
)
"""(heading, product, rule, tier) of each column."""

WIDTH_MIN = 122
"""Columns that the table needs; a narrower terminal wraps it, nothing is cut off."""


def print_charges(charges: Sequence[tb.ChargeLine]) -> None:
    """One row an airline: what each tier came to in whole dollars, then tax and total to the cent."""
    tiers: defaultdict[tuple[str, str, str, int], Decimal] = defaultdict(Decimal)
    totals: defaultdict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for charge in charges:
        for line in charge.lines:
            tiers[charge.customer_id, charge.product_id, line.rule, line.tier] += line.amount
        totals[charge.customer_id][0] += charge.tax_summary.tax_amount.quantity
        totals[charge.customer_id][1] += charge.amount_including_tax.quantity
    table = Table(box=SIMPLE_HEAD, show_edge=False, show_footer=True, pad_edge=False)
    table.add_column("\nairline", footer="all")
    for heading, *column in TIERS:
        whole = sum((amount for (_, *key), amount in tiers.items() if key == column), Decimal(0))
        table.add_column(heading, footer=_whole(whole), justify="right", no_wrap=True)
    for place, heading in enumerate(("\ntax", "\ntotal")):
        whole = sum((amounts[place] for amounts in totals.values()), Decimal(0))
        table.add_column(heading, footer=f"{whole:,f}", justify="right", no_wrap=True)
    for customer_id, (tax, total) in sorted(totals.items(), key=lambda each: -each[1][1]):
        amounts = (tiers[customer_id, product, rule, tier] for _, product, rule, tier in TIERS)
        table.add_row(customer_id, *map(_whole, amounts), f"{tax:,f}", f"{total:,f}")
    out = console()
    out.width = max(out.width, WIDTH_MIN)
    out.print(
        "\n[bold]charges of 2013 by airline and tier[/bold], USD (tiers in whole dollars here; exact in the files)"
    )
    out.print(table)
    out.print()


def _whole(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal(1), ROUND_HALF_EVEN):,f}" if amount else "-"
