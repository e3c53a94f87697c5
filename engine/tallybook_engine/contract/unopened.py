"""Charge lines that nothing opened: what a product contract costs in a billing period without any usage.

A plan's own minimum is due without an event, and so is the flat fee of tier 1 where the plan says so (`zero_usage`).
Such a line is worth F(0), in the first billing period of an accumulation period. Production's lists and invoices show
it until an event opens it, and simulations bill it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallybook_engine.calendar.periods import LAST_DATE, period_at
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.compile import Definition
from tallybook_engine.pricing.lines import exact_price
from tallybook_engine.pricing.model import Price, Rounding
from tallybook_engine.rating.rounding import rounded_to_minor
from tallybook_engine.rating.tax import tax_amount


@dataclass(frozen=True, slots=True)
class UnopenedLine:
    """One of them, rounded and taxed."""

    definition: Definition
    cell: int
    """Which of the definition's."""
    price: Price
    """That of its accumulation period."""
    accumulation_start_us: int
    """First instant of that."""
    start_us: int
    """Of the billing period."""
    end_us: int
    exact: int
    """Scale 24."""
    amount: int
    """Minor units, as priced."""
    tax_amount: int


def costs_at_nothing(price: Price) -> bool:
    """Whether a price may be due without usage."""
    return exact_price(price, 0) != 0 or (price.prorates and price.zero_usage)


def unopened_lines(
    definition: Definition, start_us: int, end_us: int, is_open: Callable[[int, int, int], bool]
) -> Iterator[UnopenedLine]:
    """The lines of a definition whose billing periods touch [start_us, end_us) and that nothing opened.

    `is_open(cell, start, end)` knows the lines that something did.
    """
    cells = [cell for cell, each in enumerate(definition.cells) if costs_at_nothing(each.price)]
    at = max(start_us, definition.start_us)
    until_us = min(end_us, definition.end_us, midnight(definition.time_zone, LAST_DATE))
    while cells and at < until_us:
        period = period_at(
            definition.accumulation_frequency, definition.accumulation_anchor(), definition.time_zone, at
        )
        first_us = max(period[0], definition.start_us)
        billing = period_at(definition.billing_frequency, definition.billing_anchor(), definition.time_zone, first_us)
        for cell in cells if billing[0] < end_us and start_us < billing[1] else ():
            price = definition.price_in(cell, *period)
            exact = exact_price(price, 0)
            if exact == 0 or is_open(cell, *billing):
                continue
            rounding = Rounding.HALF_EVEN if definition.half_even else Rounding.HALF_AWAY_FROM_ZERO
            amount = rounded_to_minor(exact, definition.minor_digits, rounding)
            tax = definition.tax
            taxed = 0 if tax is None else tax_amount(tax.rate, tax.mode, amount)
            yield UnopenedLine(definition, cell, price, period[0], *billing, exact, amount, taxed)
        at = period[1]
