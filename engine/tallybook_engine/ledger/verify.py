"""The ledger's law, checked: every line computed afresh from the events that survive equals the sum of its postings.

The fresh side knows no postings' amounts: it reads, of every event that is not deleted, in which parts it counts and
its values, aggregates them anew, and prices, rounds and taxes each line once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.compile import AGGREGATION_CODES
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.decimals import format_decimal, format_money
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import add128, add192, from_limbs, lt128, sub192, to_limbs
from tallybook_engine.ledger.net import values_afresh
from tallybook_engine.ledger.outcomes import Match, Status
from tallybook_engine.ledger.references import locations_of, stacked
from tallybook_engine.ledger.replay import event_columns
from tallybook_engine.ledger.segments import Decoded, RecordKind, numpy_of
from tallybook_engine.ledger.state import State
from tallybook_engine.matching import AccountTable, PartTable
from tallybook_engine.pricing.price import price
from tallybook_engine.pricing.tables import PriceTables
from tallybook_engine.rating.postings import LineTable
from tallybook_engine.rating.rounding import round_to_minor
from tallybook_engine.rating.tax import TaxTables, tax_of

_MAX = np.uint8(AGGREGATION_CODES[Aggregation.MAX])
_COUNT = np.uint8(AGGREGATION_CODES[Aggregation.COUNT])


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found."""

    line_count: int
    event_count: int
    """Events that survive."""
    differences: tuple[str, ...]
    """One sentence a line whose postings do not add up to it."""
    net_differences: tuple[str, ...]
    """The same of net lines."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Lines computed afresh."""

    exact: NDArray[np.uint64]
    amount: NDArray[np.int64]
    tax: NDArray[np.int64]
    event_count: int


def verify(state: State, segments: Iterable[Decoded]) -> Verification:
    """Compares a folded state, whose lines are the sums of their postings, with the lines computed afresh."""
    fresh = fresh_lines(state, segments)
    lines = state.lines.rows()
    differs = (lines.exact != fresh.exact).any(axis=1) | (lines.amount != fresh.amount) | (lines.tax != fresh.tax)
    return Verification(
        line_count=len(state.lines),
        event_count=fresh.event_count,
        differences=tuple(_difference(state, fresh, int(line)) for line in np.flatnonzero(differs)),
        net_differences=tuple(_net_differences(state, fresh)),
    )


def _net_differences(state: State, fresh: Fresh) -> Iterator[str]:
    """What net lines come to from lines computed afresh, where their postings say otherwise."""
    for number, found in enumerate(values_afresh(state, fresh.amount)):
        if found != state.net.value(number):
            yield net_difference(state, number, found)


def net_difference(state: State, number: int, found: tuple[int, int]) -> str:
    """How the postings of a net line differ from what it comes to, in minor units."""
    line, (amount, tax) = state.net.lines[number], state.net.value(number)
    return (
        f"net line {number + 1} of {line.contract_id}, from {line.start_us} us: postings add up to "
        f"{amount} and {tax} tax beyond its charge lines; computed afresh it is {found[0]} and {found[1]}"
    )


def fresh_lines(state: State, segments: Iterable[Decoded]) -> Fresh:
    """Every line from the set of surviving events alone."""
    part_count = len(state.parts)
    own = np.zeros((part_count, 2), dtype=np.uint64)
    own[state.accounts.arrays.aggregation[state.parts.rows().account] == _MAX] = to_limbs(NO_EVENT, 2)
    event_count = 0
    for decoded in segments:
        event_count += _aggregate(state, decoded, own)
    exact = np.zeros((len(state.lines), 3), dtype=np.uint64)
    amount = np.zeros(len(state.lines), dtype=np.int64)
    tax = np.zeros(len(state.lines), dtype=np.int64)
    unfit = np.zeros(len(state.lines), dtype=np.bool_)
    _price_parts(
        part_count,
        own,
        state.accounts.arrays,
        state.parts.arrays,
        state.pools.prices.tables,
        exact,
        unfit,
    )
    _round_lines(state.lines.arrays, state.pools.taxes.tables, exact, amount, tax, unfit)
    amount[unfit] = np.iinfo(np.int64).min
    return Fresh(exact, amount, tax, event_count)


def _aggregate(state: State, decoded: Decoded, own: NDArray[np.uint64]) -> int:
    """Adds the surviving events of a segment to the parts they count in; answers how many survive."""
    kinds = numpy_of(decoded.column("kind"))
    customers = decoded.column("customer")
    keys = state.hasher.keys(
        numpy_of(customers.indices).astype(np.int32, copy=False), customers.dictionary, decoded.column("reference")
    )
    latest = np.zeros(len(kinds), dtype=np.uint64)
    locations_of(state.references.keys, state.references.payloads, keys, latest)
    survives = (latest == decoded.locations) & ((kinds == RecordKind.EVENT) | (kinds == RecordKind.RERATE))
    counts = survives & (numpy_of(decoded.column("status")) == Status.STORED)
    counts &= numpy_of(decoded.column("match")) == Match.MATCHED
    columns = event_columns(decoded.tables.records)
    value_column = np.full(len(state.pools.value_names), -1, dtype=np.int32)
    for index, column in enumerate(columns.values):
        if column.name in state.pools.value_names.index:
            value_column[state.pools.value_names.index[column.name]] = index
    numbers = stacked([column.numbers for column in columns.values], (0, columns.row_count, 2), np.uint64)
    begin, end = decoded.posting_ranges
    definition = state.periods.arrays.definition[state.accounts.arrays.period[state.parts.rows().account]]
    part_column = np.full(len(state.parts), -1, dtype=np.int32)
    named = state.pools.definition_table.value[definition]
    part_column[named >= 0] = value_column[named[named >= 0]]
    _add_members(
        counts,
        begin,
        end,
        decoded.postings.part,
        decoded.postings.carried,
        part_column,
        state.accounts.arrays.aggregation[state.parts.rows().account],
        numbers,
        own,
    )
    return int(survives.sum())


@kernel
def _add_members(
    counts: NDArray[np.bool_],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    posting_part: NDArray[np.int32],
    carried: NDArray[np.bool_],
    part_column: NDArray[np.int32],
    aggregation: NDArray[np.uint8],
    numbers: NDArray[np.uint64],
    own: NDArray[np.uint64],
) -> None:
    for row in range(len(counts)):
        if not counts[row]:
            continue
        for at in range(begin[row], end[row]):
            if carried[at]:
                continue
            part = posting_part[at]
            low = np.uint64(10**12)
            high = np.uint64(0)
            if aggregation[part] != _COUNT:
                low = numbers[part_column[part], row, 0]
                high = numbers[part_column[part], row, 1]
            if aggregation[part] == _MAX:
                if lt128(own[part, 0], own[part, 1], low, high):
                    own[part, 0] = low
                    own[part, 1] = high
            else:
                own[part, 0], own[part, 1] = add128(own[part, 0], own[part, 1], low, high)


@kernel
def _price_parts(
    part_count: int,
    own: NDArray[np.uint64],
    accounts: AccountTable,
    parts: PartTable,
    prices: PriceTables,
    exact: NDArray[np.uint64],
    unfit: NDArray[np.bool_],
) -> None:
    """Walks each account's parts in the order of time: the price at each end less that at the end before."""
    for first in range(part_count):
        if parts.earlier[first] >= 0:
            continue
        account = parts.account[first]
        maximum = accounts.aggregation[account] == _MAX
        fits = True
        low, high = own[first, 0], own[first, 1]
        base_low, base_middle, base_high = np.uint64(0), np.uint64(0), np.uint64(0)
        part = first
        while part >= 0:
            if part != first:
                if parts.account[part] != account:
                    # The next stretch of a split period: its own price of what the stretches before came to.
                    account = parts.account[part]
                    fits, base_low, base_middle, base_high = price(prices, accounts.price[account], low, high)
                if not maximum:
                    low, high = add128(low, high, own[part, 0], own[part, 1])
                elif lt128(low, high, own[part, 0], own[part, 1]):
                    low, high = own[part, 0], own[part, 1]
            ok, end_low, end_middle, end_high = price(prices, accounts.price[account], low, high)
            line = parts.line[part]
            if not (ok and fits):
                unfit[line] = True
            low_move, middle_move, high_move = sub192(end_low, end_middle, end_high, base_low, base_middle, base_high)
            exact[line, 0], exact[line, 1], exact[line, 2] = add192(
                exact[line, 0], exact[line, 1], exact[line, 2], low_move, middle_move, high_move
            )
            base_low, base_middle, base_high = end_low, end_middle, end_high
            part = parts.later[part]


@kernel
def _round_lines(
    lines: LineTable,
    taxes: TaxTables,
    exact: NDArray[np.uint64],
    amount: NDArray[np.int64],
    tax: NDArray[np.int64],
    unfit: NDArray[np.bool_],
) -> None:
    for line in range(len(amount)):
        fits, rounded = round_to_minor(
            exact[line, 0], exact[line, 1], exact[line, 2], lines.minor_digits[line], lines.half_even[line]
        )
        taxed, line_tax = tax_of(taxes, lines.tax_rule[line], rounded)
        amount[line] = rounded
        tax[line] = line_tax
        if not (fits and taxed):
            unfit[line] = True


def _difference(state: State, fresh: Fresh, line: int) -> str:
    origin = state.line_origins[line]
    definition = state.pools.definitions[origin.definition]
    lines, digits = state.lines.arrays, definition.minor_digits

    def told(exact: NDArray[np.uint64], amount: int, tax: int) -> str:
        return (
            f"{format_decimal(from_limbs(*exact), 24)} exact, {format_money(int(amount), digits)} rounded, "
            f"{format_money(int(tax), digits)} tax"
        )

    posted = told(lines.exact[line], lines.amount[line], lines.tax[line])
    computed = told(fresh.exact[line], fresh.amount[line], fresh.tax[line])
    path = "/".join(definition.contract_path)
    told_line = f"line {line + 1} of {path}, in {definition.currency}"
    return f"{told_line}: postings add up to {posted}; computed afresh it is {computed}"
