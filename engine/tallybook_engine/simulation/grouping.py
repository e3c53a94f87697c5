"""Rows grouped by product contract once, and added up by matrix cell and part: what every price is a function of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.aggregation.max import NO_EVENT, max_after
from tallybook_engine.aggregation.sum import sum_after
from tallybook_engine.asking import GoOn, stretches, unasked
from tallybook_engine.catalog.compile import AGGREGATION_CODES
from tallybook_engine.catalog.model import Aggregation
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import is_negative, to_limbs

MAX = AGGREGATION_CODES[Aggregation.MAX]
EMPTY_MAXIMUM = to_limbs(NO_EVENT, 2)
NEVER_US = np.iinfo(np.int64).max


class Grouped(NamedTuple):
    """Rows by product contract: in the order of the subjects, those of s are at [start[s], start[s + 1]), as they came.

    Kernels read columns that were put into this order once, so that they never jump.
    """

    start: NDArray[np.int64]
    subject: NDArray[np.int32]
    """[rows] whose each row is."""


class Judged(NamedTuple):
    """What the rows of each product contract are under one catalogue."""

    first_us: NDArray[np.int64]
    last_us: NDArray[np.int64]
    outside_count: NDArray[np.int64]
    """Rows outside of the product contract's dates."""
    negative_count: NDArray[np.int64]
    """Rows below 0 where the meter takes none."""


class Cells(NamedTuple):
    """Sets of matrix cells, and the conditions of each: property column `column` has text `text`."""

    set_start: NDArray[np.int32]
    """[sets + 1] cells of each set."""
    condition_start: NDArray[np.int32]
    """[cells + 1] conditions of each cell."""
    column: NDArray[np.int32]
    """-1: the usage has no such property, so that the condition never holds."""
    text: NDArray[np.int32]


class Layout(NamedTuple):
    """What decides into which slot a row falls; one entry a product contract."""

    aggregation: NDArray[np.uint8]
    cell_set: NDArray[np.int32]
    start_us: NDArray[np.int64]
    part_start: NDArray[np.int32]
    """First part of the window, an index into the parts of all calendars."""
    part_end: NDArray[np.int32]
    slot_start: NDArray[np.int64]
    """[subjects + 1]; a subject's slots are cell by cell, part by part."""


class Parts(NamedTuple):
    """Parts of all calendars, by time in each: what accumulation periods and billing periods have in common."""

    start_us: NDArray[np.int64]
    period: NDArray[np.int32]
    """Accumulation period."""
    billing: NDArray[np.int32]
    """Billing period."""


def group_rows(subjects: NDArray[np.int32], subject_count: int, go_on: GoOn = unasked) -> Grouped:
    """Groups rows by their subject."""
    start = np.zeros(subject_count + 1, dtype=np.int64)
    for rows in stretches(len(subjects), go_on):
        start[1:] += np.bincount(subjects[rows], minlength=subject_count)
    np.cumsum(start, out=start)
    return Grouped(start, subjects)


def lay_quantities(grouped: Grouped, quantities: NDArray[np.uint64], go_on: GoOn = unasked) -> NDArray[np.uint64]:
    """Quantities [rows, 2] in the order of the subjects."""
    laid, at = np.empty_like(quantities), grouped.start[:-1].copy()
    for rows in stretches(len(quantities), go_on):
        _lay_quantities(rows.start, rows.stop, grouped.subject, quantities, at, laid)
    return laid


# Rows are read as they came and written where they belong, not the other way round: what was written last of each
# subject is in the processor's cache, where its next row goes.
@kernel
def _lay_quantities(
    first: int,
    end: int,
    subjects: NDArray[np.int32],
    quantities: NDArray[np.uint64],
    at: NDArray[np.int64],
    laid: NDArray[np.uint64],
) -> None:
    for row in range(first, end):
        place = at[subjects[row]]
        laid[place, 0] = quantities[row, 0]
        laid[place, 1] = quantities[row, 1]
        at[subjects[row]] = place + 1


def lay_codes(grouped: Grouped, codes: NDArray[np.int32], laid: NDArray[np.int32], go_on: GoOn = unasked) -> None:
    """Codes [rows] in the order of the subjects, into `laid`."""
    at = grouped.start[:-1].copy()
    for rows in stretches(len(codes), go_on):
        _lay_codes(rows.start, rows.stop, grouped.subject, codes, at, laid)


@kernel
def _lay_codes(
    first: int,
    end: int,
    subjects: NDArray[np.int32],
    codes: NDArray[np.int32],
    at: NDArray[np.int64],
    laid: NDArray[np.int32],
) -> None:
    for row in range(first, end):
        place = at[subjects[row]]
        laid[place] = codes[row]
        at[subjects[row]] = place + 1


class Instants(NamedTuple):
    """When rows are: each at its own instant where it has one, or else at midnight of its day in its subject's zone."""

    times_us: NDArray[np.int64]
    time_given: NDArray[np.bool_]
    days: NDArray[np.int32]
    """Since 1970-01-01."""
    midnights: NDArray[np.int64]
    """[zones, days from the first one]"""
    first_day: int


def lay_times(
    grouped: Grouped, instants: Instants, zone: NDArray[np.int64], go_on: GoOn = unasked
) -> NDArray[np.int64]:
    """The instant of each row in the order of the subjects; `zone` [subjects]."""
    laid, at = np.empty(len(grouped.subject), dtype=np.int64), grouped.start[:-1].copy()
    for rows in stretches(len(laid), go_on):
        _lay_times(rows.start, rows.stop, grouped.subject, instants, zone, at, laid)
    return laid


@kernel
def _lay_times(
    first: int,
    end: int,
    subjects: NDArray[np.int32],
    instants: Instants,
    zone: NDArray[np.int64],
    at: NDArray[np.int64],
    laid: NDArray[np.int64],
) -> None:
    for row in range(first, end):
        subject = subjects[row]
        place = at[subject]
        if instants.time_given[row]:
            laid[place] = instants.times_us[row]
        else:
            laid[place] = instants.midnights[zone[subject], instants.days[row] - instants.first_day]
        at[subject] = place + 1


def range_of_codes(
    grouped: Grouped, codes: NDArray[np.int32], go_on: GoOn = unasked
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """([subjects] smallest, [subjects] largest code of the rows of each subject)."""
    count = len(grouped.start) - 1
    smallest, largest = np.full(count, np.iinfo(np.int32).max, dtype=np.int32), np.full(count, -1, dtype=np.int32)
    for rows in stretches(len(codes), go_on):
        _range_of_codes(rows.start, rows.stop, grouped.subject, codes, smallest, largest)
    return smallest, largest


@kernel
def _range_of_codes(
    first: int,
    end: int,
    subjects: NDArray[np.int32],
    codes: NDArray[np.int32],
    smallest: NDArray[np.int32],
    largest: NDArray[np.int32],
) -> None:
    for row in range(first, end):
        subject = subjects[row]
        smallest[subject] = min(smallest[subject], codes[row])
        largest[subject] = max(largest[subject], codes[row])


def judge_rows(
    row_start: NDArray[np.int64],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    allows_negative: NDArray[np.bool_],
    times_us: NDArray[np.int64],
    quantities: NDArray[np.uint64],
    go_on: GoOn = unasked,
) -> Judged:
    """Looks at every row once, in the order of the subjects: its time against the dates, its sign."""
    count = len(start_us)
    judged = Judged(
        np.full(count, NEVER_US, dtype=np.int64),
        np.full(count, -NEVER_US, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
    )
    for places in stretches(len(times_us), go_on):
        _judge_rows(
            places.start, places.stop, row_start, start_us, end_us, allows_negative, times_us, quantities, judged
        )
    return judged


@kernel
def _judge_rows(
    first: int,
    end: int,
    row_start: NDArray[np.int64],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    allows_negative: NDArray[np.bool_],
    times_us: NDArray[np.int64],
    quantities: NDArray[np.uint64],
    judged: Judged,
) -> None:
    subject = 0
    for place in range(first, end):
        while place >= row_start[subject + 1]:
            subject += 1
        time_us = times_us[place]
        judged.first_us[subject] = min(judged.first_us[subject], time_us)
        judged.last_us[subject] = max(judged.last_us[subject], time_us)
        judged.outside_count[subject] += time_us < start_us[subject] or time_us >= end_us[subject]
        if not allows_negative[subject]:
            judged.negative_count[subject] += is_negative(quantities[place, 1])


@kernel
def accumulate(
    first: int,
    end: int,
    row_start: NDArray[np.int64],
    layout: Layout,
    parts: Parts,
    cells: Cells,
    times_us: NDArray[np.int64],
    quantities: NDArray[np.uint64],
    properties: NDArray[np.int32],
    quantity: NDArray[np.uint64],
    seen: NDArray[np.bool_],
) -> int:
    """Adds the rows of subjects [first, end) to their slots, which are counted from the first subject's.

    Rows are in the order of the subjects: those of s are [row_start[s], row_start[s + 1]). quantity [slots, 2] is what
    each slot has by itself, scale 12; properties [columns, rows]. Answers how many rows fit
    no cell, and so leave their charge alone.
    """
    unfit = 0
    for subject in range(first, end):
        slot_start = layout.slot_start[subject] - layout.slot_start[first]
        part_start, part_end = np.int64(layout.part_start[subject]), np.int64(layout.part_end[subject])
        part_count = part_end - part_start
        maximum = layout.aggregation[subject] == MAX
        for slot in range(slot_start, layout.slot_start[subject + 1] - layout.slot_start[first]):
            seen[slot] = False
            quantity[slot, 0] = EMPTY_MAXIMUM[0] if maximum else np.uint64(0)
            quantity[slot, 1] = EMPTY_MAXIMUM[1] if maximum else np.uint64(0)
        cell_start = cells.set_start[layout.cell_set[subject]]
        cell_end = cells.set_start[layout.cell_set[subject] + 1]
        part = part_start
        for row in range(row_start[subject], row_start[subject + 1]):
            cell = cell_start
            while cell < cell_end:
                fits = True
                for condition in range(cells.condition_start[cell], cells.condition_start[cell + 1]):
                    column = cells.column[condition]
                    if column < 0 or properties[column, row] != cells.text[condition]:
                        fits = False
                        break
                if fits:
                    break
                cell += 1
            if cell == cell_end:
                unfit += 1
                continue
            # Rows mostly come in the order of time: the part of the row before, or the one behind it.
            time_us = times_us[row]
            if time_us < parts.start_us[part] or (part + 1 < part_end and time_us >= parts.start_us[part + 1]):
                low, high = part_start, part_end
                while high - low > 1:
                    middle = (low + high) >> 1
                    if parts.start_us[middle] <= time_us:
                        low = middle
                    else:
                        high = middle
                part = low
            slot = slot_start + (cell - cell_start) * part_count + (part - part_start)
            seen[slot] = True
            low_limb, high_limb = quantity[slot, 0], quantity[slot, 1]
            if maximum:
                low_limb, high_limb = max_after(low_limb, high_limb, quantities[row, 0], quantities[row, 1])
            else:
                low_limb, high_limb = sum_after(low_limb, high_limb, quantities[row, 0], quantities[row, 1])
            quantity[slot, 0] = low_limb
            quantity[slot, 1] = high_limb
    return unfit
