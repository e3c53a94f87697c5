"""Pairs -> postings: marginal costs over many (row, part) pairs at once.

Each pair moves one part of an accumulation period, and with it the parts behind it: the price of a part is F at its
end less F at its start. A posting is new minus old of the part's rounded charge line (DESIGN, 5.3). A row whose value,
total or amount would leave the limits moves nothing at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.aggregation.count import count_after
from tallybook_engine.aggregation.max import max_after
from tallybook_engine.aggregation.sum import sum_after
from tallybook_engine.decimals import amount_fits, quantity_fits
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.wide import add192, neg128, sub192
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.matching import AccountTable, Pairs, PartTable
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PriceTables
from tallybook_engine.rating.rounding import round_to_minor
from tallybook_engine.rating.tax import TaxTables, tax_of

SUM = np.uint8(0)
COUNT = np.uint8(1)
MAX = np.uint8(2)

FITS = np.uint8(0)
QUANTITY_OVERFLOW = np.uint8(RowFault.QUANTITY_OVERFLOW)
AMOUNT_OVERFLOW = np.uint8(RowFault.AMOUNT_OVERFLOW)


class LineTable(NamedTuple):
    """Charge lines: product contract, matrix cell and billing period."""

    exact: NDArray[np.uint64]
    """[n, 3] exact sum of the line's parts, scale 24."""
    amount: NDArray[np.int64]
    """The exact amount rounded once, minor units."""
    tax: NDArray[np.int64]
    """Tax of the rounded amount, minor units."""
    minor_digits: NDArray[np.uint8]
    half_even: NDArray[np.bool_]
    tax_rule: NDArray[np.int32]
    """Index into the taxes; -1: none."""
    currency: NDArray[np.int32]
    """Index into the pools' currencies."""
    inclusive: NDArray[np.bool_]
    """Whether the amount contains its tax."""


class PostingTable(NamedTuple):
    """Postings in the order in which they were made."""

    part: NDArray[np.int32]
    amount: NDArray[np.int64]
    exact: NDArray[np.uint64]
    tax: NDArray[np.int64]
    quantity_before: NDArray[np.uint64]
    quantity_after: NDArray[np.uint64]
    carried: NDArray[np.bool_]


POSTING_LIMBS = {"exact": 3, "quantity_before": 2, "quantity_after": 2}
"""Width of the posting columns that hold several limbs."""


@inlined_kernel
def move_fits(after: np.int64, before: np.int64) -> bool:
    """Whether `after` less `before`, two int64, is one too."""
    return bool(((after ^ before) & (after ^ (after - before))) >= 0)


@inlined_kernel
def repriced(
    part: int,
    low: np.uint64,
    high: np.uint64,
    accounts: AccountTable,
    parts: PartTable,
    lines: LineTable,
    prices: PriceTables,
    taxes: TaxTables,
    postings: PostingTable,
    at: int,
    carried: bool,
) -> tuple[np.uint8, np.uint64, np.uint64, np.uint64]:
    """Gives a part a new quantity at its end and writes the posting `at`.

    Answers the fault (0: it fits; otherwise nothing has moved) and the price at the part's end. The part's `base` is
    the caller's to set beforehand.
    """
    ok, end_low, end_middle, end_high = price(prices, accounts.price[parts.account[part]], low, high)
    if not ok:
        return AMOUNT_OVERFLOW, end_low, end_middle, end_high
    new_low, new_middle, new_high = sub192(
        end_low, end_middle, end_high, parts.base[part, 0], parts.base[part, 1], parts.base[part, 2]
    )
    move_low, move_middle, move_high = sub192(
        new_low, new_middle, new_high, parts.exact[part, 0], parts.exact[part, 1], parts.exact[part, 2]
    )
    line = parts.line[part]
    line_low, line_middle, line_high = add192(
        lines.exact[line, 0], lines.exact[line, 1], lines.exact[line, 2], move_low, move_middle, move_high
    )
    # Parts that fit one by one may not fit their line together.
    if not amount_fits(line_low, line_middle, line_high):
        return AMOUNT_OVERFLOW, end_low, end_middle, end_high
    ok, amount = round_to_minor(line_low, line_middle, line_high, lines.minor_digits[line], lines.half_even[line])
    if not ok:
        return AMOUNT_OVERFLOW, end_low, end_middle, end_high
    ok, tax = tax_of(taxes, lines.tax_rule[line], amount)
    if not ok:
        return AMOUNT_OVERFLOW, end_low, end_middle, end_high
    # From one end of the range to the other is more than the range.
    if not (move_fits(amount, lines.amount[line]) and move_fits(tax, lines.tax[line])):
        return AMOUNT_OVERFLOW, end_low, end_middle, end_high
    postings.part[at] = part
    postings.amount[at] = amount - lines.amount[line]
    postings.tax[at] = tax - lines.tax[line]
    postings.exact[at, 0] = move_low
    postings.exact[at, 1] = move_middle
    postings.exact[at, 2] = move_high
    postings.quantity_before[at, 0] = parts.quantity[part, 0]
    postings.quantity_before[at, 1] = parts.quantity[part, 1]
    postings.quantity_after[at, 0] = low
    postings.quantity_after[at, 1] = high
    postings.carried[at] = carried
    parts.quantity[part, 0] = low
    parts.quantity[part, 1] = high
    parts.exact[part, 0] = new_low
    parts.exact[part, 1] = new_middle
    parts.exact[part, 2] = new_high
    lines.exact[line, 0] = line_low
    lines.exact[line, 1] = line_middle
    lines.exact[line, 2] = line_high
    lines.amount[line] = amount
    lines.tax[line] = tax
    return FITS, end_low, end_middle, end_high


@inlined_kernel
def set_base(parts: PartTable, part: int, low: np.uint64, middle: np.uint64, high: np.uint64) -> None:
    """Sets the price at a part's start."""
    parts.base[part, 0] = low
    parts.base[part, 1] = middle
    parts.base[part, 2] = high


@kernel
def take_back(
    first: int,
    end: int,
    accounts: AccountTable,
    parts: PartTable,
    lines: LineTable,
    prices: PriceTables,
    postings: PostingTable,
) -> None:
    """Undoes the postings [first, end), last first: the state is as it was before them, to the last bit."""
    for at in range(end - 1, first - 1, -1):
        part = postings.part[at]
        line = parts.line[part]
        parts.quantity[part, 0] = postings.quantity_before[at, 0]
        parts.quantity[part, 1] = postings.quantity_before[at, 1]
        parts.exact[part, 0], parts.exact[part, 1], parts.exact[part, 2] = sub192(
            parts.exact[part, 0],
            parts.exact[part, 1],
            parts.exact[part, 2],
            postings.exact[at, 0],
            postings.exact[at, 1],
            postings.exact[at, 2],
        )
        lines.exact[line, 0], lines.exact[line, 1], lines.exact[line, 2] = sub192(
            lines.exact[line, 0],
            lines.exact[line, 1],
            lines.exact[line, 2],
            postings.exact[at, 0],
            postings.exact[at, 1],
            postings.exact[at, 2],
        )
        lines.amount[line] -= postings.amount[at]
        lines.tax[line] -= postings.tax[at]
    for at in range(first, end):
        rebase_after(postings.part[at], accounts, parts, prices)


@kernel
def rebase_after(part: int, accounts: AccountTable, parts: PartTable, prices: PriceTables) -> bool:
    """Sets the base of the part behind `part` to its own price at this part's end; whether that fits."""
    later = parts.later[part]
    if later < 0:
        return True
    ok, low, middle, high = price(
        prices, accounts.price[parts.account[later]], parts.quantity[part, 0], parts.quantity[part, 1]
    )
    set_base(parts, later, low, middle, high)
    return bool(ok)


@inlined_kernel
def move_part(
    part: int,
    sign: int,
    value_low: np.uint64,
    value_high: np.uint64,
    accounts: AccountTable,
    parts: PartTable,
    lines: LineTable,
    prices: PriceTables,
    taxes: TaxTables,
    postings: PostingTable,
    first: int,
) -> tuple[np.uint8, int]:
    """One event more (`sign` 1) or one less (-1; not for a maximum) in a part and all behind it.

    Answers the fault and where the postings end. With a fault the postings made so far stand: the caller takes them
    back.
    """
    aggregation = accounts.aggregation[parts.account[part]]
    if aggregation == COUNT:
        value_low, value_high = count_after(np.uint64(0), np.uint64(0))
    if sign < 0:
        value_low, value_high = neg128(value_low, value_high)
    at = first
    carried = False
    while part >= 0:
        if aggregation == MAX:
            low, high = max_after(parts.quantity[part, 0], parts.quantity[part, 1], value_low, value_high)
        else:
            low, high = sum_after(parts.quantity[part, 0], parts.quantity[part, 1], value_low, value_high)
        if not quantity_fits(low, high):
            return QUANTITY_OVERFLOW, at
        fault, end_low, end_middle, end_high = repriced(
            part, low, high, accounts, parts, lines, prices, taxes, postings, at, carried
        )
        if fault != FITS:
            return fault, at
        at += 1
        later = parts.later[part]
        if later >= 0:
            if parts.account[later] == parts.account[part]:
                set_base(parts, later, end_low, end_middle, end_high)
            elif not rebase_after(part, accounts, parts, prices):
                # The next stretch of a split period has a price of its own at the quantity that it goes on from.
                return AMOUNT_OVERFLOW, at
            carried = True
        part = later
    return FITS, at


@inlined_kernel
def chain_length(parts: PartTable, part: int) -> int:
    """Number of parts from `part` to the end of its accumulation period."""
    length = 0
    while part >= 0:
        length += 1
        part = parts.later[part]
    return length


@kernel
def post_rows(
    first_row: int,
    pairs: Pairs,
    pair_start: NDArray[np.int64],
    numbers: NDArray[np.uint64],
    accounts: AccountTable,
    parts: PartTable,
    lines: LineTable,
    prices: PriceTables,
    taxes: TaxTables,
    postings: PostingTable,
    posting_start: NDArray[np.int64],
    faults: NDArray[np.uint8],
) -> int:
    """Posts rows from `first_row` on, in order; answers the first row for which `postings` has no room, or n.

    numbers [columns, n, 2] at scale 12. `posting_start[row + 1]` and, for a row that does not fit, `faults[row]` are
    written for each row done.
    """
    row_count = len(posting_start) - 1
    at = posting_start[first_row]
    for row in range(first_row, row_count):
        first = at
        begin, end = pair_start[row], pair_start[row + 1]
        needed = 0
        for pair in range(begin, end):
            needed += chain_length(parts, pairs.part[pair])
        if at + needed > len(postings.part):
            return row
        for pair in range(begin, end):
            column = pairs.value_column[pair]
            value_low = np.uint64(0)
            value_high = np.uint64(0)
            if column >= 0:
                value_low = numbers[column, row, 0]
                value_high = numbers[column, row, 1]
            fault, at = move_part(
                pairs.part[pair], 1, value_low, value_high, accounts, parts, lines, prices, taxes, postings, at
            )
            if fault != FITS:
                # The part whose base was set but which did not move is behind the last posting.
                take_back(first, at, accounts, parts, lines, prices, postings)
                at = first
                faults[row] = fault
                break
        posting_start[row + 1] = at
    return row_count
