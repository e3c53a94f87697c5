"""Postings of rows, deletions and faults, held against the same rules in plain fractions.

The accounts: a yearly sum whose parts fall into monthly lines, a count, a maximum, two that share a line, and two that
are the stretches of one period, so that the second goes on from the first at a price of its own.
"""

import random
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tests.support.oracle_prices import amount_fraction, fraction, oracle_price

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.model import Tax, TaxMode
from tallybook_engine.kernels.wide import from_limbs, limb_array, to_limbs
from tallybook_engine.matching import AccountTable, Pairs, PartTable
from tallybook_engine.pricing.model import Graduated, IncludedQuantity, PerUnit, Price, Tier, Volume
from tallybook_engine.pricing.tables import PricePool
from tallybook_engine.rating.postings import (
    AMOUNT_OVERFLOW,
    COUNT,
    FITS,
    MAX,
    QUANTITY_OVERFLOW,
    SUM,
    LineTable,
    PostingTable,
    chain_length,
    move_fits,
    move_part,
    post_rows,
    take_back,
)
from tallybook_engine.rating.tax import TaxPool
from tallybook_oracle.numbers import fits
from tallybook_oracle.pricing import OraclePrice, exact_price
from tallybook_oracle.rounding import minor_units
from tallybook_oracle.tax import tax_minor_units

UNIT = 10**12
LARGEST = 10**27 - 1
LEAST_MINOR, LARGEST_MINOR = -(2**63), 2**63 - 1
PRICES = (
    Price(Graduated((Tier(10 * UNIT, UNIT // 3, UNIT), Tier(None, UNIT // 8)))),
    Price(Volume((Tier(3 * UNIT, 2 * UNIT), Tier(None, UNIT // 200))), IncludedQuantity(UNIT)),
    # A unit costs a thousand, so that amounts leave the limits long before quantities do.
    Price(Graduated((Tier(None, 1000 * UNIT),))),
    Price(PerUnit(UNIT)),
    Price(PerUnit(UNIT)),
    Price(PerUnit(UNIT // 3)),
    Price(Graduated((Tier(None, 1000 * UNIT),))),
)
AGGREGATIONS = (SUM, COUNT, MAX, SUM, SUM, SUM, SUM)
PARTS = ((0, 2), (0, 1), (0, 0), (1, 2), (2, 3), (2, 4), (3, 1), (4, 1), (5, 2), (6, 0))
"""(account, line) of each part."""
CHAINS = ((2, 1, 0), (3,), (4, 5), (6,), (7,), (8, 9), (8, 9))
"""Parts of each account in the order of time, with those of its other stretch; the first account's were opened last
first."""
LINES = (
    # minor digits, half even, tax
    (2, False, Tax("exclusive", "NL", 21 * 10**10)),
    (2, True, None),
    (0, False, Tax("inclusive", "BE", 21 * 10**10, TaxMode.INCLUSIVE)),
    (4, False, None),
    (3, True, Tax("all", "XX", 1000 * UNIT)),
)
CAPACITY = 400


@dataclass
class Line:
    exact: Fraction = Fraction(0)
    amount: int = 0
    tax: int = 0


@dataclass
class Part:
    quantity: Fraction
    base: Fraction = Fraction(0)
    exact: Fraction = Fraction(0)


@dataclass
class Books:
    """The state in fractions, by the rules as one reads them."""

    parts: list[Part] = field(default_factory=list)
    lines: list[Line] = field(default_factory=lambda: [Line() for _ in LINES])

    @staticmethod
    def opened() -> "Books":
        nothing = {SUM: Fraction(0), COUNT: Fraction(0), MAX: fraction(NO_EVENT)}
        return Books([Part(nothing[AGGREGATIONS[account]]) for account, _ in PARTS])

    def move(self, part: int, value: Fraction, sign: int, postings: list[dict[str, Any]]) -> int:
        """One event in a part; answers the fault, after which the books are worthless."""
        account = PARTS[part][0]
        carried = False
        chain = CHAINS[account][CHAINS[account].index(part) :]
        for later, behind in zip(chain, (*chain[1:], None), strict=True):
            held, line = self.parts[later], self.lines[PARTS[later][1]]
            digits, half_even, tax = LINES[PARTS[later][1]]
            if AGGREGATIONS[account] == MAX:
                quantity = max(held.quantity, value)
            else:
                quantity = held.quantity + sign * (value if AGGREGATIONS[account] == SUM else 1)
            if not fits(quantity):
                return int(QUANTITY_OVERFLOW)
            end = exact_price(ORACLE_PRICES[PARTS[later][0]], quantity)
            if end is None:
                return int(AMOUNT_OVERFLOW)
            exact = line.exact + (end - held.base) - held.exact
            if not fits(exact):
                return int(AMOUNT_OVERFLOW)
            minor = minor_units(exact, digits, "HALF_EVEN" if half_even else "HALF_AWAY_FROM_ZERO")
            if minor is None:
                return int(AMOUNT_OVERFLOW)
            taxed: int | None = 0
            if tax is not None:
                taxed = tax_minor_units(minor, fraction(tax.rate), inclusive=tax.mode is TaxMode.INCLUSIVE)
            if taxed is None:
                return int(AMOUNT_OVERFLOW)
            postings.append(
                {
                    "part": later,
                    "amount": minor - line.amount,
                    "exact": exact - line.exact,
                    "tax": taxed - line.tax,
                    "quantity_before": held.quantity,
                    "quantity_after": quantity,
                    "carried": carried,
                }
            )
            self.lines[PARTS[later][1]] = Line(exact, minor, taxed)
            self.parts[later] = Part(quantity, held.base, end - held.base)
            if behind is not None:
                base = exact_price(ORACLE_PRICES[PARTS[behind][0]], quantity)
                if base is None:
                    return int(AMOUNT_OVERFLOW)
                self.parts[behind].base = base
            carried = True
        return int(FITS)


ORACLE_PRICES: tuple[OraclePrice, ...] = tuple(oracle_price(price) for price in PRICES)


def table(kind: Any, length: int, **columns: Any) -> Any:
    """A named tuple of arrays; columns that are not given are zeros nobody reads."""
    return kind(**{name: columns.get(name, np.zeros(length, dtype=np.int32)) for name in kind._fields})


class State:
    """The same as the kernels see it."""

    def __init__(self) -> None:
        pool, taxes = PricePool(), TaxPool()
        count = len(PARTS)
        later = np.full(count, -1, dtype=np.int32)
        for chain in CHAINS:
            later[list(chain[:-1])] = chain[1:]
        nothing = [NO_EVENT if AGGREGATIONS[account] == MAX else 0 for account, _ in PARTS]
        self.accounts = table(
            AccountTable,
            len(PRICES),
            price=np.array([pool.add(price) for price in PRICES], dtype=np.int32),
            aggregation=np.array(AGGREGATIONS, dtype=np.uint8),
        )
        self.parts = table(
            PartTable,
            count,
            account=np.array([account for account, _ in PARTS], dtype=np.int32),
            line=np.array([line for _, line in PARTS], dtype=np.int32),
            quantity=limb_array(nothing, 2),
            base=limb_array([0] * count, 3),
            exact=limb_array([0] * count, 3),
            later=later,
        )
        self.lines = table(
            LineTable,
            len(LINES),
            exact=limb_array([0] * len(LINES), 3),
            amount=np.zeros(len(LINES), dtype=np.int64),
            tax=np.zeros(len(LINES), dtype=np.int64),
            minor_digits=np.array([digits for digits, _, _ in LINES], dtype=np.uint8),
            half_even=np.array([half_even for _, half_even, _ in LINES]),
            tax_rule=np.array([taxes.add(tax) for _, _, tax in LINES], dtype=np.int32),
        )
        self.prices, self.taxes = pool.tables, taxes.tables

    def postings(self, capacity: int) -> Any:
        return table(
            PostingTable,
            capacity,
            part=np.full(capacity, -7, dtype=np.int32),
            amount=np.zeros(capacity, dtype=np.int64),
            exact=np.zeros((capacity, 3), dtype=np.uint64),
            tax=np.zeros(capacity, dtype=np.int64),
            quantity_before=np.zeros((capacity, 2), dtype=np.uint64),
            quantity_after=np.zeros((capacity, 2), dtype=np.uint64),
            carried=np.zeros(capacity, dtype=np.bool_),
        )

    def as_books(self) -> Books:
        parts, lines = self.parts, self.lines
        return Books(
            [
                Part(
                    fraction(from_limbs(*parts.quantity[at])),
                    amount_fraction(from_limbs(*parts.base[at])),
                    amount_fraction(from_limbs(*parts.exact[at])),
                )
                for at in range(len(PARTS))
            ],
            [
                Line(amount_fraction(from_limbs(*lines.exact[at])), int(lines.amount[at]), int(lines.tax[at]))
                for at in range(len(LINES))
            ],
        )


def as_dicts(postings: Any, end: int) -> list[dict[str, Any]]:
    return [
        {
            "part": int(postings.part[at]),
            "amount": int(postings.amount[at]),
            "exact": amount_fraction(from_limbs(*postings.exact[at])),
            "tax": int(postings.tax[at]),
            "quantity_before": fraction(from_limbs(*postings.quantity_before[at])),
            "quantity_after": fraction(from_limbs(*postings.quantity_after[at])),
            "carried": bool(postings.carried[at]),
        }
        for at in range(end)
    ]


Row = list[tuple[int, int]]
"""(part, value of scale 12) for each pair of the row."""


def posted(state: State, rows: list[Row], capacity: int = CAPACITY) -> tuple[int, Any, list[int], list[int]]:
    """(rows done, postings, posting_start, faults) of rows posted as one batch."""
    pairs = [(row, part, value) for row, pairs in enumerate(rows) for part, value in pairs]
    columns = max((len(pairs) for pairs in rows), default=0)
    numbers = np.zeros((columns, len(rows), 2), dtype=np.uint64)
    value_columns = []
    for row, row_pairs in enumerate(rows):
        for column, (part, value) in enumerate(row_pairs):
            numbers[column, row] = to_limbs(value, 2)
            value_columns.append(-1 if AGGREGATIONS[PARTS[part][0]] == COUNT else column)
    pair_start = np.cumsum([0, *map(len, rows)])
    postings = state.postings(capacity)
    posting_start = np.zeros(len(rows) + 1, dtype=np.int64)
    faults = np.zeros(len(rows), dtype=np.uint8)
    done = post_rows(
        0,
        table(
            Pairs,
            len(pairs),
            part=np.array([part for _, part, _ in pairs], dtype=np.int32),
            value_column=np.array(value_columns, dtype=np.int32),
        ),
        pair_start,
        numbers,
        state.accounts,
        state.parts,
        state.lines,
        state.prices,
        state.taxes,
        postings,
        posting_start,
        faults,
    )
    return done, postings, posting_start.tolist(), faults.tolist()


def expected(books: Books, rows: list[Row]) -> tuple[Books, list[dict[str, Any]], list[int]]:
    """The books, postings and faults that the rules give."""
    postings: list[dict[str, Any]] = []
    faults = []
    for row in rows:
        trial, trial_postings, fault = deepcopy(books), list(postings), int(FITS)
        for part, value in row:
            fault = trial.move(part, fraction(value), 1, trial_postings)
            if fault != FITS:
                break
        if fault == FITS:
            books, postings = trial, trial_postings
        faults.append(fault)
    return books, postings, faults


def random_rows(seed: int, count: int) -> list[Row]:
    chance = random.Random(seed)

    def value() -> int:
        return chance.choice(
            [chance.randrange(0, 5 * UNIT), UNIT, 0, -chance.randrange(UNIT), 3 * 10**23, 10**24 - 1, LARGEST]
        )

    return [
        [(chance.randrange(len(PARTS)), value()) for _ in range(chance.choice([0, 1, 1, 2, 3]))] for _ in range(count)
    ]


SCENARIOS = {
    "one event moves the part and those behind it": [[(2, UNIT)]],
    "a late event moves what came after": [[(0, 9 * UNIT)], [(2, 4 * UNIT)], [(1, UNIT)]],
    "two accounts in one line": [[(0, 4 * UNIT), (3, 0)], [(3, 0)], [(3, 0)], [(3, 0)], [(3, 0)]],
    "a maximum moves only up": [[(4, 3 * UNIT)], [(4, 2 * UNIT)], [(5, 5 * UNIT)], [(4, 4 * UNIT)], [(5, 5 * UNIT)]],
    "a maximum below 0": [[(4, -3 * UNIT)], [(4, -2 * UNIT)]],
    "a quantity beyond the limit": [[(2, LARGEST)], [(2, 1)], [(1, 1)], [(0, -LARGEST)], [(2, -1)]],
    "a quantity beyond the limit below": [[(0, -LARGEST)], [(0, -1)]],
    "an amount beyond the limit": [[(4, 10**24 - 1)], [(4, 10**24)]],
    "a rounded amount beyond 63 bits": [[(4, 9 * 10**23)], [(4, 93 * 10**22)]],
    "a tax beyond 63 bits": [[(5, 9 * 10**21)], [(5, 93 * 10**20)], [(4, UNIT)]],
    "a line beyond the limit of which no part is": [[(6, 9 * 10**26)], [(7, 10**26)], [(7, 10**26 - 1)], [(7, 1)]],
    "a row whose second pair does not fit moves nothing": [[(2, UNIT)], [(1, 2 * UNIT), (4, 10**24)], [(1, UNIT)]],
    "a stretch goes on from the one before": [[(8, 4 * UNIT)], [(9, 2 * UNIT)], [(8, UNIT // 7)], [(9, -UNIT)]],
    "a price at which a stretch cannot go on": [[(8, 10**24 - 1)], [(8, 1)], [(9, 1)], [(9, -UNIT)], [(8, UNIT)]],
    "a fault far down the chain": [[(0, LARGEST - UNIT)], [(2, 2 * UNIT)], [(0, -UNIT)]],
    **{f"random rows {seed}": random_rows(seed, 12) for seed in range(12)},
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_rows_post_what_the_rules_say(name: str):
    rows = SCENARIOS[name]
    state = State()
    books, postings, faults = expected(Books.opened(), rows)
    done, made, posting_start, found = posted(state, rows)
    assert done == len(rows)
    assert found == faults
    assert as_dicts(made, posting_start[-1]) == postings
    assert state.as_books() == books
    for line in range(len(LINES)):
        in_line = [posting for posting in postings if PARTS[posting["part"]][1] == line]
        assert sum(posting["amount"] for posting in in_line) == books.lines[line].amount
        assert sum(posting["tax"] for posting in in_line) == books.lines[line].tax


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_taken_back_never_was(name: str):
    state = State()
    before, _, _ = expected(Books.opened(), SCENARIOS[name][:1])
    posted(state, SCENARIOS[name][:1])
    _, postings, posting_start, _ = posted(state, SCENARIOS[name][1:])
    take_back(0, posting_start[-1], state.accounts, state.parts, state.lines, state.prices, postings)
    assert state.as_books() == before


@pytest.mark.parametrize("kept", [0, 1, 2, 5])
def test_a_removed_event_leaves_the_rest(kept: int):
    rows: list[Row] = [[(2, UNIT)], [(3, 0)], [(1, 12 * UNIT)], [(0, UNIT // 7)], [(3, 0)], [(2, 3 * UNIT)]]
    state = State()
    books, postings, _ = expected(Books.opened(), rows)
    posted(state, rows)
    made = state.postings(CAPACITY)
    at = 0
    for part, value in [row[0] for row in rows[kept:]]:
        first = len(postings)
        assert books.move(part, fraction(value), -1, postings) == FITS
        fault, at = move_part(
            part,
            -1,
            *to_limbs(value, 2),
            state.accounts,
            state.parts,
            state.lines,
            state.prices,
            state.taxes,
            made,
            at,
        )
        assert fault == FITS
        assert as_dicts(made, at)[-(len(postings) - first) :] == postings[first:]
    assert state.as_books() == books
    # Quantities, prices and lines are those of the rows that were kept, as if there had been no others.
    assert books == expected(Books.opened(), rows[:kept])[0]


@pytest.mark.parametrize(("capacity", "done"), [(0, 0), (3, 1), (5, 1), (6, 3), (7, 3), (8, 4)])
def test_a_row_without_room_waits(capacity: int, done: int):
    rows: list[Row] = [[(2, UNIT)], [(1, UNIT), (3, 0)], [], [(4, UNIT)]]
    state = State()
    books, postings, _ = expected(Books.opened(), rows[:done])
    finished, made, posting_start, _ = posted(state, rows, capacity)
    assert finished == done
    assert as_dicts(made, posting_start[done]) == postings
    assert state.as_books() == books


@pytest.mark.parametrize(("part", "length"), [(2, 3), (1, 2), (0, 1), (3, 1), (4, 2), (5, 1), (8, 2), (9, 1), (-1, 0)])
def test_parts_to_the_end_of_the_period(part: int, length: int):
    assert chain_length(State().parts, part) == length


@pytest.mark.parametrize(
    ("after", "before"),
    [
        (0, 0),
        (LARGEST_MINOR, 0),
        (LARGEST_MINOR, -1),
        (LARGEST_MINOR, 1),
        (LEAST_MINOR, 0),
        (LEAST_MINOR, 1),
        (LEAST_MINOR, -1),
        (-1, LARGEST_MINOR),
        (-2, LARGEST_MINOR),
        (-1, LEAST_MINOR),
        (0, LEAST_MINOR),
        (LARGEST_MINOR, LARGEST_MINOR),
        (LEAST_MINOR, LARGEST_MINOR),
        (LARGEST_MINOR, LEAST_MINOR),
    ],
)
def test_a_move_fits_as_long_as_the_difference_is_an_int64(after: int, before: int):
    assert move_fits(np.int64(after), np.int64(before)) == (LEAST_MINOR <= after - before <= LARGEST_MINOR)
