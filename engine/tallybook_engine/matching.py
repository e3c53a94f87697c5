"""Rows -> product contracts, cells and periods, with the reason where there is none.

An event meets every product contract of its customer whose product names its meter, that is active at the event's
time, whose value is present (absent is not 0), and one of whose cells fits its properties (DESIGN, 5.2). A period
that an earlier catalogue version opened keeps that version's definition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.compile import CellTable, ConditionTable, DefinitionTable, MatchTable
from tallybook_engine.kernels import kernel

MATCHED = np.uint8(1)
NO_CUSTOMER = np.uint8(2)
NO_METER = np.uint8(3)
NO_CONTRACT = np.uint8(4)
OUTSIDE_CONTRACT = np.uint8(5)
NOT_BILLED = np.uint8(6)

NONE = np.int32(-1)
MISSING_CAPACITY = 1024
"""So many unopened parts are asked for at once; more rows wait for the next round."""


class PeriodTable(NamedTuple):
    """Pinned accumulation periods; those of one charge are a list, newest first by start."""

    definition: NDArray[np.int32]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    earlier: NDArray[np.int32]
    """The charge's period before; -1: none."""
    version: NDArray[np.int64]
    account_start: NDArray[np.int32]
    """Where the period's accounts stand in `account_of_cell`, one a cell of the definition."""


class PartTable(NamedTuple):
    """Parts: what an accumulation period and a billing period have in common, in the order of time."""

    account: NDArray[np.int32]
    line: NDArray[np.int32]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    quantity: NDArray[np.uint64]
    """[n, 2] quantity accumulated from the period's start to the part's end, scale 12."""
    base: NDArray[np.uint64]
    """[n, 3] price at the part's start, scale 24: 0 for the first part."""
    exact: NDArray[np.uint64]
    """[n, 3] price at the part's end less that at its start."""
    earlier: NDArray[np.int32]
    later: NDArray[np.int32]


class AccountTable(NamedTuple):
    """Accounts: one matrix cell in one accumulation period."""

    period: NDArray[np.int32]
    cell: NDArray[np.int32]
    """Which cell of the definition, from 0."""
    price: NDArray[np.int32]
    aggregation: NDArray[np.uint8]
    last_part: NDArray[np.int32]


class BatchTable(NamedTuple):
    """n rows as matching reads them. Codes index the batch's own dictionaries."""

    customer: NDArray[np.int32]
    """[customer names] customer of each name; -1 unknown."""
    meter: NDArray[np.int32]
    """[meter names] meter of each name; -1 unknown."""
    charge: NDArray[np.int32]
    """[contract names] charge that each pinned name means; -2 unknown."""
    customer_code: NDArray[np.int32]
    meter_code: NDArray[np.int32]
    contract_code: NDArray[np.int32]
    time_us: NDArray[np.int64]
    value_column: NDArray[np.int32]
    """[value names of the pools] column of the batch; -1: no row has it."""
    present: NDArray[np.bool_]
    """[columns, n]."""
    property_column: NDArray[np.int32]
    """[property names of the pools] column of the batch; -1."""
    property_text: NDArray[np.int32]
    """[columns, n] text that the row has; -1 where absent or where no condition names it."""


class Pairs(NamedTuple):
    """(row, part) pairs in row order."""

    row: NDArray[np.int32]
    part: NDArray[np.int32]
    value_column: NDArray[np.int32]
    """Column of the batch with the aggregated value; -1 for counts without one."""


class Missing(NamedTuple):
    """Parts that are to be opened before the rows can be matched."""

    row: NDArray[np.int32]
    definition: NDArray[np.int32]
    cell: NDArray[np.int32]
    time_us: NDArray[np.int64]


@kernel
def holds(conditions: ConditionTable, start: int, end: int, batch: BatchTable, row: int) -> bool:
    """Whether a row has every property value that a range of conditions names."""
    for index in range(start, end):
        column = batch.property_column[conditions.name[index]]
        if column < 0 or batch.property_text[column, row] != conditions.text[index]:
            return False
    return True


@kernel
def period_holding(periods: PeriodTable, newest: int, time_us: int) -> int:
    """The pinned period of a list that holds an instant; -1: none."""
    period = newest
    while period >= 0 and periods.start_us[period] > time_us:
        period = periods.earlier[period]
    if period >= 0 and time_us < periods.end_us[period]:
        return period
    return -1


@kernel
def part_holding(parts: PartTable, last: int, time_us: int) -> int:
    """The part of a chain that holds an instant; -1: none."""
    part = last
    while part >= 0 and parts.start_us[part] > time_us:
        part = parts.earlier[part]
    if part >= 0 and time_us < parts.end_us[part]:
        return part
    return -1


@kernel
def match_rows(
    first_row: int,
    wanted: NDArray[np.bool_],
    batch: BatchTable,
    match: MatchTable,
    definitions: DefinitionTable,
    cells: CellTable,
    conditions: ConditionTable,
    newest_period: NDArray[np.int32],
    periods: PeriodTable,
    account_of_cell: NDArray[np.int32],
    accounts: AccountTable,
    parts: PartTable,
    pairs: Pairs,
    pair_start: NDArray[np.int64],
    reasons: NDArray[np.uint8],
    missing: Missing,
) -> tuple[int, int]:
    """Matches rows from `first_row` on; answers (rows done, parts missing).

    Stops at the end of `wanted`, before a row for which `pairs` has no room, and after the rows whose missing parts
    fill `missing`. Rows with missing parts are to be matched again, so the first answer is the first such row.
    `pair_start[row + 1]` is written for each row done, `reasons[row]` for each wanted row.
    """
    missing_count = 0
    first_missing = -1
    count = pair_start[first_row]
    row_count = len(wanted)
    for row in range(first_row, row_count):
        if not wanted[row]:
            pair_start[row + 1] = count
            continue
        customer = batch.customer[batch.customer_code[row]]
        if customer < 0:
            reasons[row] = NO_CUSTOMER
            pair_start[row + 1] = count
            continue
        meter = batch.meter[batch.meter_code[row]]
        if meter < 0:
            reasons[row] = NO_METER
            pair_start[row + 1] = count
            continue
        if customer + 1 >= len(match.customer_start):
            reasons[row] = NO_CONTRACT
            pair_start[row + 1] = count
            continue
        begin, end = match.customer_start[customer], match.customer_start[customer + 1]
        if count + (end - begin) > len(pairs.row) or missing_count + (end - begin) > len(missing.time_us):
            if first_missing < 0:
                first_missing = row
            break
        time_us = batch.time_us[row]
        named = batch.contract_code[row]
        met = False
        active = False
        unbilled = False
        before = count
        for entry in range(begin, end):
            definition = match.definition[entry]
            period = period_holding(periods, newest_period[definitions.charge[definition]], time_us)
            if period >= 0:
                definition = periods.definition[period]
            elif match.pinned_only[entry]:
                continue
            if definitions.meter[definition] != meter:
                continue
            if named >= 0 and batch.charge[named] != definitions.charge[definition]:
                continue
            met = True
            if time_us < definitions.start_us[definition] or time_us >= definitions.end_us[definition]:
                continue
            active = True
            column = np.int32(-1)
            if definitions.value[definition] >= 0:
                column = batch.value_column[definitions.value[definition]]
                if column < 0 or not batch.present[column, row]:
                    continue
            if not holds(
                conditions, definitions.filter_start[definition], definitions.filter_end[definition], batch, row
            ):
                continue
            cell = definitions.cell_start[definition]
            last_cell = definitions.cell_end[definition]
            while cell < last_cell and not holds(
                conditions, cells.condition_start[cell], cells.condition_end[cell], batch, row
            ):
                cell += 1
            if cell == last_cell:
                continue
            if not cells.billed[cell]:
                unbilled = True
                continue
            cell -= definitions.cell_start[definition]
            part = -1
            if period >= 0:
                account = account_of_cell[periods.account_start[period] + cell]
                if account >= 0:
                    part = part_holding(parts, accounts.last_part[account], time_us)
            if part < 0:
                missing.row[missing_count] = row
                missing.definition[missing_count] = definition
                missing.cell[missing_count] = cell
                missing.time_us[missing_count] = time_us
                missing_count += 1
                if first_missing < 0:
                    first_missing = row
                continue
            pairs.row[count] = row
            pairs.part[count] = part
            pairs.value_column[count] = column
            count += 1
        pair_start[row + 1] = count
        if count > before:
            reasons[row] = MATCHED
        elif unbilled:
            reasons[row] = NOT_BILLED
        elif met and not active:
            reasons[row] = OUTSIDE_CONTRACT
        else:
            reasons[row] = NO_CONTRACT
    if first_missing >= 0:
        return first_missing, missing_count
    return row_count, missing_count
