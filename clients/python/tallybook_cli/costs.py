"""Costs of an event for people: amounts, the lines that moved, and each rule."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import tallybook_client as tb
from tallybook_cli.output import console, instant, number, path, print_table


def signed(amount: Decimal) -> str:
    """An amount with its sign, in its own decimals."""
    return f"{amount:+,f}"


def print_cost(cost: tb.CostPrediction) -> None:
    """What an event costs, one block a currency."""
    if cost.response != "OK":
        console().print(f"  cost {cost.response}: ask again with `tallybook explain`")
    for detail in cost.details:
        summary = detail.tax_summary
        country = f" ({summary.country_code})" if summary.country_code else ""
        console().print(
            f"  {detail.amount_excluding_tax} without tax, {summary.tax_amount.quantity:,f} tax{country}, "
            f"[bold]{detail.amount_including_tax}[/bold] in all"
        )
        print_net(detail)
        for period in detail.periods:
            print_period(period)


def print_net(detail: tb.CostDetail) -> None:
    """What contracts' terms make of an event's cost, where they make something of it."""
    if not detail.is_adjusted:
        return
    console().print(
        f"  with the contract's terms {detail.net_amount_excluding_tax} without tax, "
        f"[bold]{detail.net_amount_including_tax}[/bold] in all"
    )
    for each in detail.adjustments:
        console().print(
            f"    terms of {path((each.contract_id,))}  {instant(each.start_time)} to {instant(each.end_time)}  "
            f"{signed(each.amount_excluding_tax.quantity)} without tax, "
            f"{signed(each.amount_including_tax.quantity)} in all"
        )


def print_period(period: tb.PeriodCost) -> None:
    """How one charge line moved."""
    cell = f" [{period.cell_id}]" if period.cell_id else ""
    title = (
        f"{path(period.contract_path)}{cell}  {instant(period.start_time)} to {instant(period.end_time)}  "
        f"quantity {number(period.quantity_before)} -> {number(period.quantity_after)}"
    )
    rows = [*line_rows(period.lines), *closing_rows(period)]
    print_table(title, ["rule", "quantity>", "unit amount>", "flat amount>", "amount>"], rows)
    left = left_words(
        "" if period.included_quantity_left is None else str(period.included_quantity_left),
        "" if period.next_tier_from is None else str(period.next_tier_from),
    )
    if left:
        console().print(f"  {left}")


def left_words(included_quantity_left: str, next_tier_from: str) -> str:
    """What is left of the included quantity, and where the next tier begins; empty texts are left out."""
    words = []
    if included_quantity_left:
        words.append(f"{number(Decimal(included_quantity_left))} of the included quantity left")
    if next_tier_from:
        words.append(f"next tier from {number(Decimal(next_tier_from))}")
    return "; ".join(words)


def line_rows(lines: Sequence[tb.AmountLine]) -> list[list[object]]:
    """Tier lines as rows: rule, quantity, unit amount, flat amount, amount."""
    return [
        [rule_name(line), line.quantity, line.unit_amount, line.flat_amount, signed_exact(line.amount)]
        for line in lines
    ]


def rule_name(line: tb.AmountLine) -> str:
    """A rule by name: "tier 2", "included quantity"."""
    names = {"INCLUDED": "included quantity", "PACKAGE": "packages", "MINIMUM": "minimum", "CAP": "cap"}
    if line.rule == "TIER":
        return f"tier {line.tier}"
    return names.get(line.rule, line.rule.lower())


def closing_rows(period: tb.PeriodCost) -> list[list[object]]:
    """What becomes of the exact amount: rounding of the line, then its tax."""
    rounding = period.amount - period.exact_amount
    rows: list[list[object]] = []
    if rounding:
        rows.append(["rounding of the line", None, None, None, signed_exact(rounding)])
    rows.append(["line moves by", None, None, None, signed(period.amount)])
    if period.tax_amount:
        rows.append(["tax moves by", None, None, None, signed(period.tax_amount)])
    return rows


def signed_exact(amount: Decimal) -> str:
    """An exact amount with its sign, without trailing zeros."""
    return f"{'+' if amount >= 0 else '-'}{number(abs(amount))}"
