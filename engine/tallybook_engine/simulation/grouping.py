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


class Slots(NamedTuple):
    """What the slots of n subjects come to."""

    start: NDArray[np.int64]
    """[n + 1] where those of each begin; cell by cell, part by part."""
    quantity: NDArray[np.uint64]
    """[slots, 2] scale 12, what each has by itself."""
    seen: NDArray[np.bool_]
    """[slots] whether any row falls into it."""
    unfit: NDArray[np.int64]
    """[n] rows that fit no cell, and so leave their charge alone."""


def room_for_slots(start: NDArray[np.int64]) -> Slots:
    """Slots that are yet to be written, and begin there."""
    count = int(start[-1])
    return Slots(
        start,
        np.empty((count, 2), dtype=np.uint64),
        np.empty(count, dtype=np.bool_),
        np.empty(len(start) - 1, dtype=np.int64),
    )


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


class Survey(NamedTuple):
    """What rows name."""

    contract_counts: NDArray[np.int64]
    """[contracts] how many rows are of each."""
    has_product: NDArray[np.bool_]
    """[products] whether any row is of it."""
    days: NDArray[np.int64]
    """First and last day of the rows that have no instant; the first is behind the last where all have one."""


def survey_rows(
    contracts: NDArray[np.int32],
    contract_count: int,
    products: NDArray[np.int32],
    product_count: int,
    days: NDArray[np.int32],
    time_given: NDArray[np.bool_],
    go_on: GoOn = unasked,
) -> Survey:
    """Looks at every row once, as they came; a code of -1 names nothing."""
    found = Survey(
        np.zeros(contract_count, dtype=np.int64),
        np.zeros(product_count, dtype=np.bool_),
        np.array([NEVER_US, -NEVER_US], dtype=np.int64),
    )
    for rows in stretches(len(contracts), go_on):
        _survey_rows(contracts[rows], products[rows], days[rows], time_given[rows], found)
    return found


@kernel
def _survey_rows(
    contracts: NDArray[np.int32],
    products: NDArray[np.int32],
    days: NDArray[np.int32],
    time_given: NDArray[np.bool_],
    found: Survey,
) -> None:
    first, last = found.days[0], found.days[1]
    for row in range(len(contracts)):
        if contracts[row] >= 0:
            found.contract_counts[contracts[row]] += 1
        if products[row] >= 0:
            found.has_product[products[row]] = True
        if not time_given[row]:
            day = np.int64(days[row])
            first, last = min(first, day), max(last, day)
    found.days[0], found.days[1] = first, last


def occurring_days(
    survey: Survey, days: NDArray[np.int32], time_given: NDArray[np.bool_], go_on: GoOn = unasked
) -> NDArray[np.int64]:
    """Days of the rows that have no instant, in order."""
    first, last = survey.days.tolist()
    occurs = np.zeros(max(last + 1 - first, 0), dtype=np.bool_)
    for rows in stretches(len(days) if len(occurs) else 0, go_on):
        _mark_days(days[rows], time_given[rows], first, occurs)
    return np.flatnonzero(occurs) + first


@kernel
def _mark_days(days: NDArray[np.int32], time_given: NDArray[np.bool_], first: int, occurs: NDArray[np.bool_]) -> None:
    for row in range(len(days)):
        if not time_given[row]:
            occurs[days[row] - first] = True


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
    subject = np.searchsorted(row_start, first, side="right") - 1
    while first < end:
        after = min(row_start[subject + 1], end)
        first_us, last_us = judged.first_us[subject], judged.last_us[subject]
        for place in range(first, after):
            first_us, last_us = min(first_us, times_us[place]), max(last_us, times_us[place])
        judged.first_us[subject], judged.last_us[subject] = first_us, last_us
        # Nearly always none is, and then they need not be counted.
        if first_us < start_us[subject] or last_us >= end_us[subject]:
            for place in range(first, after):
                judged.outside_count[subject] += (
                    times_us[place] < start_us[subject] or times_us[place] >= end_us[subject]
                )
        if not allows_negative[subject]:
            for place in range(first, after):
                judged.negative_count[subject] += is_negative(quantities[place, 1])
        first = after
        subject += 1


@kernel
def accumulate(
    subjects: NDArray[np.int32],
    row_start: NDArray[np.int64],
    layout: Layout,
    parts: Parts,
    cells: Cells,
    times_us: NDArray[np.int64],
    quantities: NDArray[np.uint64],
    properties: NDArray[np.int32],
    same_as: NDArray[np.int64],
    base: Slots,
    slots: Slots,
) -> None:
    """Adds the rows of n subjects to their slots, or copies these from where they are the same.

    Rows are in the order of the subjects: those of s are [row_start[s], row_start[s + 1]); properties [columns, rows].
    `same_as` [n] is which one of `base` has the same slots, -1 where none has.
    """
    for number in range(len(subjects)):
        subject = subjects[number]
        slot_start, same = slots.start[number], same_as[number]
        if same >= 0:
            slots.unfit[number] = base.unfit[same]
            for each in range(slots.start[number + 1] - slot_start):
                from_slot, to_slot = base.start[same] + each, slot_start + each
                slots.seen[to_slot] = base.seen[from_slot]
                slots.quantity[to_slot, 0] = base.quantity[from_slot, 0]
                slots.quantity[to_slot, 1] = base.quantity[from_slot, 1]
            continue
        part_start, part_end = np.int64(layout.part_start[subject]), np.int64(layout.part_end[subject])
        part_count = part_end - part_start
        maximum = layout.aggregation[subject] == MAX
        nothing_low = EMPTY_MAXIMUM[0] if maximum else np.uint64(0)
        nothing_high = EMPTY_MAXIMUM[1] if maximum else np.uint64(0)
        for each in range(slot_start, slots.start[number + 1]):
            slots.seen[each] = False
            slots.quantity[each, 0] = nothing_low
            slots.quantity[each, 1] = nothing_high
        cell_start = cells.set_start[layout.cell_set[subject]]
        cell_end = cells.set_start[layout.cell_set[subject] + 1]
        part, unfit = part_start, 0
        # The slot of the row before, and what it has come to.
        slot, low, high = np.int64(-1), nothing_low, nothing_high
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
                part = _part_at(parts, part_start, part_end, time_us)
            own_slot = slot_start + (cell - cell_start) * part_count + (part - part_start)
            if own_slot != slot:
                if slot >= 0:
                    slots.quantity[slot, 0] = low
                    slots.quantity[slot, 1] = high
                slot = own_slot
                slots.seen[slot] = True
                low, high = slots.quantity[slot, 0], slots.quantity[slot, 1]
            if maximum:
                low, high = max_after(low, high, quantities[row, 0], quantities[row, 1])
            else:
                low, high = sum_after(low, high, quantities[row, 0], quantities[row, 1])
        if slot >= 0:
            slots.quantity[slot, 0] = low
            slots.quantity[slot, 1] = high
        slots.unfit[number] = unfit


@kernel
def _part_at(parts: Parts, low: np.int64, high: np.int64, time_us: np.int64) -> np.int64:
    """Which of the parts [low, high) an instant falls into."""
    while high - low > 1:
        middle = (low + high) >> 1
        if parts.start_us[middle] <= time_us:
            low = middle
        else:
            high = middle
    return low
