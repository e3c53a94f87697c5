"""Charge lines that nothing opened: what a product contract costs in a billing period without any usage.

A plan's own minimum is due without an event, and so is the flat fee of tier 1 where the plan says so (`zero_usage`).
That is F(0), in the first billing period of an accumulation period; a line adds up all accumulation periods that begin
in it, as it does where an event opens it. Production's lists and invoices show it until then, and simulations bill it
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.periods import LAST_DATE, period_at
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.compile import Definition
from tallybook_engine.pricing.lines import exact_price
from tallybook_engine.pricing.model import Price, Rounding
from tallybook_engine.rating.rounding import rounded_to_minor
from tallybook_engine.rating.tax import tax_amount


@dataclass(frozen=True, slots=True)
class UnopenedPart:
    """What an accumulation period adds to such a line."""

    start_us: int
    """First instant of the accumulation period."""
    price: Price


@dataclass(frozen=True, slots=True)
class UnopenedLine:
    """One of them, rounded and taxed."""

    definition: Definition
    cell: int
    """Which of the definition's."""
    parts: tuple[UnopenedPart, ...]
    """By accumulation period, in order of time."""
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
    definition: Definition,
    start_us: int,
    end_us: int,
    is_open: Callable[[int, int, int], bool],
    go_on: GoOn = unasked,
) -> Iterator[UnopenedLine]:
    """The lines of a definition whose billing periods touch [start_us, end_us) and that nothing opened.

    `is_open(cell, start, end)` knows the lines that something did.
    """
    cells = [cell for cell, each in enumerate(definition.cells) if costs_at_nothing(each.price)]
    due: dict[tuple[tuple[int, int], int], list[UnopenedPart]] = {}
    for period, billing in asking(_beginning(definition, start_us, end_us) if cells else (), go_on):
        for cell in cells:
            price = definition.price_in(cell, *period)
            if exact_price(price, 0) != 0 and not is_open(cell, *billing):
                due.setdefault((billing, cell), []).append(UnopenedPart(period[0], price))
    rounding = Rounding.HALF_EVEN if definition.half_even else Rounding.HALF_AWAY_FROM_ZERO
    for (billing, cell), parts in asking(due.items(), go_on):
        exact = sum(exact_price(part.price, 0) for part in parts)
        amount = rounded_to_minor(exact, definition.minor_digits, rounding)
        tax = definition.tax
        taxed = 0 if tax is None else tax_amount(tax.rate, tax.mode, amount)
        yield UnopenedLine(definition, cell, tuple(parts), *billing, exact, amount, taxed)


def _beginning(definition: Definition, start_us: int, end_us: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """(accumulation period, first billing period) of all that begin in billing periods that touch [start, end)."""

    def billing_at(instant_us: int) -> tuple[int, int]:
        return period_at(definition.billing_frequency, definition.billing_anchor(), definition.time_zone, instant_us)

    active_until_us = min(definition.end_us, midnight(definition.time_zone, LAST_DATE))
    at, until_us = max(start_us, definition.start_us), min(end_us, active_until_us)
    if at >= until_us:
        return
    at, until_us = max(billing_at(at)[0], definition.start_us), min(billing_at(until_us - 1)[1], active_until_us)
    while at < until_us:
        period = period_at(
            definition.accumulation_frequency, definition.accumulation_anchor(), definition.time_zone, at
        )
        billing = billing_at(max(period[0], definition.start_us))
        if billing[0] < end_us and start_us < billing[1]:
            yield period, billing
        at = period[1]
