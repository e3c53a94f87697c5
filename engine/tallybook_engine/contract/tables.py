"""Contract trees as kernels read them, and what they come to: rows of numbers, several trees side by side.

A **place** is a billing period of a level. The places of a tree lie one behind the other: by the root's billing period
that each belongs to, in that from the leaves up, and those of a level by time. So all that a place has a part in lies
behind it: the place above, and the next one of its level, which finds what is left of credits.

A **cell** is a place and one of the taxes that lines of the tree may have; an **item** is a place and a charge that
some revenue share is of; a **value** is a rate or an amount of a term. Amounts are in minor units, sums are two limbs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""No place, item or number."""
NEVER = -(2**31)
"""No day."""


class PlaceTable(NamedTuple):
    """Places and the terms of their levels."""

    level: NDArray[np.int32]
    """Its level, counted in its tree."""
    period: NDArray[np.int32]
    """Its billing period, counted in its level."""
    parent: NDArray[np.int32]
    """The place above; NONE: it is of the root."""
    following: NDArray[np.int32]
    """The next place of the level; NONE: it is the last."""
    is_first: NDArray[np.bool_]
    """Whether it is the first of its level, so that its credits are whole."""
    root: NDArray[np.int32]
    """The root's billing period that it belongs to."""
    root_end: NDArray[np.int32]
    """Behind the last billing period of the root."""
    start_day: NDArray[np.int32]
    """First local date, in days since 1970-01-01."""
    end_day: NDArray[np.int32]
    """First one after."""
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    cell_start: NDArray[np.int32]
    """Its cells, one a tax, in the order in which amounts are spread over them."""
    cell_end: NDArray[np.int32]
    own_tax: NDArray[np.int32]
    """Which of them is of the tax of lines that stand for no product."""
    item_start: NDArray[np.int32]
    """Its items: first of charge lines, then of fees and shares."""
    made_item_start: NDArray[np.int32]
    item_end: NDArray[np.int32]
    discount_rate: NDArray[np.int32]
    """Which value it is, as the three others."""
    discount_threshold: NDArray[np.int32]
    cap: NDArray[np.int32]
    minimum: NDArray[np.int32]
    discount_on_excess: NDArray[np.bool_]
    fee_start: NDArray[np.int32]
    """What it is billed of fixed fees."""
    fee_end: NDArray[np.int32]
    share_start: NDArray[np.int32]
    """Its revenue shares, each behind those it is of."""
    share_end: NDArray[np.int32]
    credit_start: NDArray[np.int32]
    """Its level's credits, in the order in which they pay."""
    credit_end: NDArray[np.int32]
    balance_start: NDArray[np.int32]
    """What the place finds of each of them."""


class CellTable(NamedTuple):
    """Cells."""

    tax: NDArray[np.int32]
    """Index into the taxes; NONE: none."""
    is_inclusive: NDArray[np.bool_]
    """Whether amounts contain it."""


class FeeTable(NamedTuple):
    """What places are billed of fixed fees."""

    amount: NDArray[np.int32]
    """Which value it is."""
    item: NDArray[np.int32]
    """NONE: no revenue share is of it."""
    name: NDArray[np.int32]
    """Its id, counted in `Tree.term_ids`."""
    start_us: NDArray[np.int64]
    """What it is for."""
    end_us: NDArray[np.int64]
    issue_day: NDArray[np.int32]
    """In advance, when it falls to be paid, in days since 1970-01-01; NEVER: with the billing period."""


class ShareTable(NamedTuple):
    """Revenue shares of places."""

    rate: NDArray[np.int32]
    """Which value it is."""
    item: NDArray[np.int32]
    """NONE: no revenue share is of it."""
    source_start: NDArray[np.int32]
    """The items that it is of."""
    source_end: NDArray[np.int32]
    name: NDArray[np.int32]
    """Its id, counted in `Tree.term_ids`."""


class SourceTable(NamedTuple):
    """What revenue shares are of."""

    item: NDArray[np.int32]


class CreditTable(NamedTuple):
    """Credits of levels."""

    amount: NDArray[np.int32]
    """Which value it is."""
    start_day: NDArray[np.int32]
    """First date, in days since 1970-01-01."""
    end_day: NDArray[np.int32]
    """First one after."""
    name: NDArray[np.int32]
    """Its id, counted in `Tree.term_ids`."""


class ValueTable(NamedTuple):
    """Rates and amounts of terms."""

    value: NDArray[np.int64]
    """A rate is of scale 12."""


class TreeTables(NamedTuple):
    """Trees, one behind the other."""

    places: PlaceTable
    cells: CellTable
    fees: FeeTable
    shares: ShareTable
    sources: SourceTable
    credits: CreditTable
    values: ValueTable


class CellState(NamedTuple):
    """What cells come to."""

    sum: NDArray[np.uint64]
    """[n, 2] charge lines of the place, and what those below it come to."""
    settled: NDArray[np.int64]
    """That with the place's fees, shares, discount, cap, minimum and credits."""


class PlaceState(NamedTuple):
    """What places come to."""

    is_due: NDArray[np.bool_]
    """Whether it must be settled again."""
    subtotal: NDArray[np.int64]
    """Before discount, cap, minimum and credits."""
    total: NDArray[np.int64]
    """After them."""
    excluding_tax: NDArray[np.uint64]
    """[n, 2] its lines but charge lines, without tax."""
    tax: NDArray[np.uint64]
    """[n, 2] their tax."""


class RootState(NamedTuple):
    """The adjustments of the root's billing periods: all lines of an invoice but its charge lines."""

    excluding_tax: NDArray[np.uint64]
    """[n, 2]"""
    tax: NDArray[np.uint64]
    """[n, 2]"""
    posted_excluding_tax: NDArray[np.int64]
    """As far as it was answered: with what the tree comes to by itself, and the differences since."""
    posted_tax: NDArray[np.int64]


class ItemState(NamedTuple):
    """What items come to."""

    sum: NDArray[np.uint64]
    """[n, 2]"""
    is_there: NDArray[np.bool_]
    """Whether it has a line."""


class BalanceState(NamedTuple):
    """What places find of credits; those of a level's first place are not read."""

    left: NDArray[np.int64]


class Room(NamedTuple):
    """Room to work in: as long as the most taxes of a tree, but for the last three."""

    current: NDArray[np.int64]
    """By tax, what the place comes to so far."""
    parts: NDArray[np.int64]
    remainders: NDArray[np.uint64]
    own: NDArray[np.uint64]
    """[2, 2] the place's own lines so far: without tax, and their tax."""
    reach: NDArray[np.int32]
    """[1] the last place that is due."""
    first_value: NDArray[np.int64]
    """[1] from which value on those of the tree are counted."""


class SettlingState(NamedTuple):
    """What trees come to."""

    cells: CellState
    places: PlaceState
    roots: RootState
    items: ItemState
    balances: BalanceState
    room: Room


class MoveColumns(NamedTuple):
    """Charge lines, or differences of charge lines."""

    place: NDArray[np.int32]
    tax: NDArray[np.int32]
    """Which of the tree's taxes: its cell is the place's first and so many more."""
    item: NDArray[np.int32]
    """NONE: no revenue share is of it."""
    amount: NDArray[np.int64]
    """As priced: it contains the tax where that is inclusive."""


class LineColumns(NamedTuple):
    """Lines that settling makes, in the order of an invoice."""

    tree: NDArray[np.int32]
    place: NDArray[np.int32]
    kind: NDArray[np.uint8]
    """FIXED_FEE to CREDIT."""
    number: NDArray[np.int32]
    """Which fee, share or credit, of all trees'; NONE: it is none of these."""
    tax: NDArray[np.int32]
    """Which of the tree's taxes."""
    amount: NDArray[np.int64]
    tax_amount: NDArray[np.int64]


class MadeLines(NamedTuple):
    """Where settling writes its lines."""

    lines: LineColumns
    """Room for all of them, where they are wanted."""
    are_wanted: NDArray[np.bool_]
    """[1]"""
    line_count: NDArray[np.int64]
    """[1] how many there are."""
    tree: NDArray[np.int32]
    """[1] whose lines are being written."""


class NetDifferences(NamedTuple):
    """What groups of moves change of the adjustments of the root's billing periods."""

    group: NDArray[np.int32]
    root: NDArray[np.int32]
    excluding_tax: NDArray[np.int64]
    tax: NDArray[np.int64]


FIXED_FEE = np.uint8(1)
REVENUE_SHARE = np.uint8(2)
DISCOUNT = np.uint8(3)
CAP = np.uint8(4)
MINIMUM = np.uint8(5)
CREDIT = np.uint8(6)
