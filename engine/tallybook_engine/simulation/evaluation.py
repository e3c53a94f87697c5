"""Slots -> charge lines: the same parts, prices, rounding and taxes as the ledger's, from whole sums.

A part's price is F at its end less F at its start, in the order of time of its account (matrix cell and accumulation
period). An account opens with its first row; where the plan costs something at quantity 0, the first part of the period
is charged for that, whether or not a row falls into it. A line opens whole: with it, all accounts whose first part lies
in its billing period and that cost something at quantity 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import amount_fits
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import add128, add192, is_negative, is_zero192, mul128, neg128, sub128, sub192
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PriceTables
from tallybook_engine.rating.rounding import round_to_minor
from tallybook_engine.rating.tax import TaxTables, tax_of
from tallybook_engine.simulation.grouping import EMPTY_MAXIMUM, MAX, Layout, Parts, Slots

_ZERO = np.uint64(0)


class Pricing(NamedTuple):
    """What decides what a slot costs; one entry a product contract, and one a cell."""

    cell_start: NDArray[np.int64]
    """[subjects + 1] cells of each subject in the two columns behind."""
    price: NDArray[np.int32]
    """Of whole accumulation periods, as they are for most."""
    first_price: NDArray[np.int32]
    """Of the accumulation period that the product contract begins within."""
    last_price: NDArray[np.int32]
    """Of the one that it ends within, which may be the same."""
    billed: NDArray[np.bool_]
    minor_digits: NDArray[np.uint8]
    half_even: NDArray[np.bool_]
    tax_rule: NDArray[np.int32]
    first_period: NDArray[np.int32]
    """[subjects] the accumulation period that `first_price` is of; -1: all are whole, or cost as if they were."""
    last_period: NDArray[np.int32]
    due_without_events: NDArray[np.bool_]
    """[subjects] whether some cell may cost something at quantity 0."""
    line_start: NDArray[np.int64]
    """[subjects + 1]; a subject's lines are cell by cell, billing period by billing period."""


class Lines(NamedTuple):
    """n charge lines."""

    quantity: NDArray[np.uint64]
    """[n, 2] scale 12: what was charged in the period; of a maximum, the maximum reached."""
    exact: NDArray[np.uint64]
    """[n, 3] scale 24."""
    amount: NDArray[np.int64]
    """Minor units, as priced."""
    tax: NDArray[np.int64]


def room_for_lines(count: int) -> Lines:
    """Lines that are yet to be written."""
    return Lines(
        np.empty((count, 2), dtype=np.uint64),
        np.empty((count, 3), dtype=np.uint64),
        np.empty(count, dtype=np.int64),
        np.empty(count, dtype=np.int64),
    )


@kernel
def price_index_in(pricing: Pricing, subject: int, cell: int, period: int) -> int:
    """What a subject's cell costs in an accumulation period."""
    at = pricing.cell_start[subject] + cell
    if period == pricing.first_period[subject]:
        return pricing.first_price[at]
    if period == pricing.last_period[subject]:
        return pricing.last_price[at]
    return pricing.price[at]


@kernel
def _period_end(
    parts: Parts, seen: NDArray[np.bool_], first_slot: np.int64, part: np.int64, part_end: np.int64
) -> tuple[np.int64, bool]:
    """(the part behind an accumulation period that begins with a part, whether any row falls into the period)."""
    period, after, any_seen = parts.period[part], part, False
    while after < part_end and parts.period[after] == period:
        any_seen |= seen[first_slot + after]
        after += 1
    return after, any_seen


@kernel
def _opening_part(parts: Parts, part: np.int64, after: np.int64, start_us: np.int64) -> np.int64:
    """The first of the parts [part, after) at which a product contract that starts at an instant is active."""
    while part + 1 < after and parts.start_us[part + 1] <= start_us:
        part += 1
    return part


@kernel
def _due_without_events(
    pricing: Pricing, prices: PriceTables, subject: int, cell: int, period: int
) -> tuple[bool, bool]:
    """(whether the price fits, whether an accumulation period costs something at quantity 0)."""
    ok, low, middle, high = price(prices, price_index_in(pricing, subject, cell, period), _ZERO, _ZERO)
    return ok, not is_zero192(low, middle, high)


@kernel
def price_slots(
    subjects: NDArray[np.int32],
    layout: Layout,
    parts: Parts,
    pricing: Pricing,
    prices: PriceTables,
    taxes: TaxTables,
    slots: Slots,
    line_start: NDArray[np.int64],
    opened: NDArray[np.bool_],
    lines: Lines,
) -> int:
    """Prices, rounds and taxes the lines of n subjects; answers the first subject whose lines do not fit, -1 where all
    do.

    `line_start` [n + 1] is where those of each begin, cell by cell, billing period by billing period; `opened` [lines]
    becomes whether each is open.
    """
    quantity, seen = slots.quantity, slots.seen
    for number in range(len(subjects)):
        subject = subjects[number]
        part_start, part_end = np.int64(layout.part_start[subject]), np.int64(layout.part_end[subject])
        part_count = part_end - part_start
        billing_start = np.int64(parts.billing[part_start])
        billing_count = parts.billing[part_end - 1] + 1 - billing_start
        maximum = layout.aggregation[subject] == MAX
        first_line = line_start[number]
        for line in range(first_line, line_start[number + 1]):
            opened[line] = False
            lines.quantity[line, 0], lines.quantity[line, 1] = _ZERO, _ZERO
            lines.exact[line, 0], lines.exact[line, 1], lines.exact[line, 2] = _ZERO, _ZERO, _ZERO
            lines.amount[line], lines.tax[line] = 0, 0
        opens_whole = pricing.due_without_events[subject]
        for cell in range(pricing.cell_start[subject + 1] - pricing.cell_start[subject]):
            if not pricing.billed[pricing.cell_start[subject] + cell]:
                continue
            first_slot = slots.start[number] + cell * part_count - part_start
            cell_lines = first_line + cell * billing_count - billing_start
            if opens_whole:
                part = part_start
                while part < part_end:
                    after, any_seen = _period_end(parts, seen, first_slot, part, part_end)
                    if any_seen:
                        ok, due = _due_without_events(pricing, prices, subject, cell, parts.period[part])
                        if not ok:
                            return subject
                        if due:
                            opening = _opening_part(parts, part, after, layout.start_us[subject])
                            opened[cell_lines + parts.billing[opening]] = True
                    while part < after:
                        if seen[first_slot + part]:
                            opened[cell_lines + parts.billing[part]] = True
                        part += 1
            part = part_start
            while part < part_end:
                period = parts.period[part]
                after, any_seen = _period_end(parts, seen, first_slot, part, part_end)
                # The first part at which the product contract is active holds what is due without any event.
                opening = _opening_part(parts, part, after, layout.start_us[subject])
                if not (any_seen or (opens_whole and opened[cell_lines + parts.billing[opening]])):
                    part = after
                    continue
                price_index, costs_at_nothing = price_index_in(pricing, subject, cell, period), False
                if opens_whole:
                    ok, costs_at_nothing = _due_without_events(pricing, prices, subject, cell, period)
                    if not ok:
                        return subject
                low, high = _ZERO, _ZERO
                if maximum:
                    low, high = EMPTY_MAXIMUM[0], EMPTY_MAXIMUM[1]
                base_low, base_middle, base_high = _ZERO, _ZERO, _ZERO
                while part < after:
                    slot = first_slot + part
                    if not (seen[slot] or (costs_at_nothing and part == opening)):
                        part += 1
                        continue
                    line = cell_lines + parts.billing[part]
                    opened[line] = True
                    own_low, own_high = quantity[slot, 0], quantity[slot, 1]
                    if maximum:
                        if seen[slot]:
                            _, smaller_high = sub128(low, high, own_low, own_high)
                            if is_negative(smaller_high):
                                low, high = own_low, own_high
                        if low != EMPTY_MAXIMUM[0] or high != EMPTY_MAXIMUM[1]:
                            lines.quantity[line, 0], lines.quantity[line, 1] = _larger(
                                lines.quantity[line, 0], lines.quantity[line, 1], low, high
                            )
                    else:
                        low, high = add128(low, high, own_low, own_high)
                        lines.quantity[line, 0], lines.quantity[line, 1] = add128(
                            lines.quantity[line, 0], lines.quantity[line, 1], own_low, own_high
                        )
                    ok, end_low, end_middle, end_high = price(prices, price_index, low, high)
                    if not ok:
                        return subject
                    move_low, move_middle, move_high = sub192(
                        end_low, end_middle, end_high, base_low, base_middle, base_high
                    )
                    lines.exact[line, 0], lines.exact[line, 1], lines.exact[line, 2] = add192(
                        lines.exact[line, 0],
                        lines.exact[line, 1],
                        lines.exact[line, 2],
                        move_low,
                        move_middle,
                        move_high,
                    )
                    base_low, base_middle, base_high = end_low, end_middle, end_high
                    part += 1
        for line in range(first_line, line_start[number + 1]):
            if opened[line]:
                fits, amount = round_to_minor(
                    lines.exact[line, 0],
                    lines.exact[line, 1],
                    lines.exact[line, 2],
                    pricing.minor_digits[subject],
                    pricing.half_even[subject],
                )
                taxed, tax = tax_of(taxes, pricing.tax_rule[subject], amount)
                within = amount_fits(lines.exact[line, 0], lines.exact[line, 1], lines.exact[line, 2])
                if not (within and fits and taxed):
                    return subject
                lines.amount[line] = amount
                lines.tax[line] = tax
    return -1


@kernel
def _larger(a_low: np.uint64, a_high: np.uint64, b_low: np.uint64, b_high: np.uint64) -> tuple[np.uint64, np.uint64]:
    _, difference_high = sub128(a_low, a_high, b_low, b_high)
    if is_negative(difference_high):
        return b_low, b_high
    return a_low, a_high


@kernel
def minor_times(minor: np.int64, factor: np.int64) -> tuple[np.uint64, np.uint64]:
    """minor x factor as two limbs, two's complement; factors are above 0."""
    negative = minor < 0
    low = np.uint64(-minor) if negative else np.uint64(minor)
    low, high, _ = mul128(low, _ZERO, np.uint64(factor), _ZERO)
    if negative:
        return neg128(low, high)
    return low, high


@kernel
def rescaled(minor: NDArray[np.int64], factor: NDArray[np.int64], scaled: NDArray[np.uint64]) -> None:
    """minor x factor as scaled [n, 2], as `minor_times`."""
    for row in range(len(minor)):
        scaled[row, 0], scaled[row, 1] = minor_times(minor[row], factor[row])
