"""Interval and timeslice determinants: exact sums over a period's intervals, with their counts and worst quality.

An interval belongs to the period that its label says: END takes (start, end], BEGIN [start, end), and a period of one
instant exactly that label. Which month and which slices it belongs to, its START says; where an interval reaches into
the period from before, its month is the period's first.

Source: Energyworx, standard_load_billing_data (which rows) and standard_billing_determinants_calculation, step 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US
from tallybook_engine.calendar.months import month_bounds
from tallybook_engine.determinants.accumulate import (
    Claims,
    Map,
    Segments,
    Totals,
    accumulate,
    empty_totals,
    segments_of,
)
from tallybook_engine.determinants.configuration import UNCOVERED, HolidayCalendar, Label, TimesliceGroup
from tallybook_engine.determinants.message import instant_text, seconds_text
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import (
    ListedTimes,
    Readings,
    ReadingsFault,
    RegularTimes,
    Times,
    row_positions,
    rows_between,
)
from tallybook_engine.determinants.timeslice import slice_runs


@dataclass(frozen=True, eq=False)
class Frame:
    """A period laid out: runs of time of one cell (month, day) and one set of columns (slices, the total).

    Made once for all channels that are judged alike.
    """

    start_us: int
    end_us: int
    cell_bounds: NDArray[np.int64]
    """[p + 1] bounds of the cells; the first and last are the period's own."""
    columns: tuple[str | None, ...]
    """The slices in their order and UNCOVERED, where there is a group; and last None, the total."""
    starts_us: NDArray[np.int64]
    """[m] first instant of each run, ascending; the first run begins before the period."""
    claim: NDArray[np.int64]
    """[m] the run's claim."""
    claims: Claims
    """Each pair of a cell and a set of columns that there is."""

    @property
    def cell_count(self) -> int:
        """p."""
        return len(self.cell_bounds) - 1

    @property
    def total(self) -> int:
        """The column of the total."""
        return len(self.columns) - 1


@lru_cache(maxsize=1_024)
def period_frame(
    zone: str,
    start_us: int,
    end_us: int,
    group: TimesliceGroup | None = None,
    calendar: HolidayCalendar | None = None,
    *,
    by_month: bool = True,
    lead_us: int = DAY_US,
) -> Frame:
    """A period, or its local months, by the slices of a group.

    `lead_us` is how long an interval may reach into the period. A period of one instant is one cell. Raises
    `zones.UnknownZone`, and ValueError outside of the years that the calendar has.
    """
    bounds = np.array([start_us, end_us], dtype=np.int64)
    if by_month and start_us < end_us:
        bounds = month_bounds(zone, start_us, end_us)
    return frame(zone, bounds, group, calendar, lead_us)


def frame(
    zone: str,
    cell_bounds: NDArray[np.int64],
    group: TimesliceGroup | None = None,
    calendar: HolidayCalendar | None = None,
    lead_us: int = DAY_US,
) -> Frame:
    """A period laid out in cells of any bounds, int64[p + 1] ascending."""
    return _frame(zone, cell_bounds.tobytes(), group, calendar, lead_us)


@lru_cache(maxsize=256)
def _frame(
    zone: str, cells: bytes, group: TimesliceGroup | None, calendar: HolidayCalendar | None, lead_us: int
) -> Frame:
    # Meters with the same demand schemes share it, and where their rows lie in it.
    cell_bounds = np.frombuffer(bytearray(cells), np.int64)
    start_us, end_us = int(cell_bounds[0]), int(cell_bounds[-1])
    inner = cell_bounds[1:-1]
    if group is None:
        starts = np.append(np.array([start_us - lead_us], dtype=np.int64), inner)
        mask = np.zeros(len(starts), np.int64)
        columns: tuple[str | None, ...] = (None,)
    else:
        runs = slice_runs(zone, start_us - lead_us, max(end_us, start_us + 1), group, calendar)
        starts = np.union1d(runs.starts_us, inner)
        mask = runs.mask[np.searchsorted(runs.starts_us, starts, side="right") - 1]
        columns = (*group.channels(), UNCOVERED, None)
        mask = np.where(mask == 0, np.int64(1 << (len(columns) - 2)), mask)
    cell = np.searchsorted(inner, starts, side="right")
    pairs, claim = np.unique(np.column_stack([cell, mask]), axis=0, return_inverse=True)
    claimed = (pairs[:, 1:] >> np.arange(len(columns), dtype=np.int64)) & 1 == 1
    claimed[:, -1] = True
    column_start = np.append(0, np.cumsum(claimed.sum(axis=1))).astype(np.int64)
    claims = Claims(
        np.ascontiguousarray(pairs[:, 0], dtype=np.int64), column_start, np.nonzero(claimed)[1].astype(np.int64)
    )
    return Frame(start_us, end_us, cell_bounds, columns, starts, claim.reshape(-1).astype(np.int64), claims)


def taken_rows(times: Times, label: Label, start_us: int, end_us: int) -> tuple[int, int]:
    """Rows [from, to) that a period takes, by their labels."""
    if start_us == end_us:
        return rows_between(times, start_us, start_us + 1)
    past = 1 if label is Label.END else 0
    return rows_between(times, start_us + past, end_us + past)


def place(frame: Frame, times: Times, label: Label) -> Segments:
    """Where a channel's rows lie in the frame.

    Raises ReadingsFault where intervals overlap.
    """
    return _place_grid(frame, times, label) if isinstance(times, RegularTimes) else _place(frame, times, label)


@lru_cache(maxsize=256)
def _place_grid(frame: Frame, times: RegularTimes, label: Label) -> Segments:
    # Many meters have the same grid.
    return _place(frame, times, label)


def _place(frame: Frame, times: Times, label: Label) -> Segments:
    first, last = taken_rows(times, label, frame.start_us, frame.end_us)
    lengths = times.interval_us
    check_disjoint(times, label, first, last)
    if isinstance(times, ListedTimes) and isinstance(lengths, np.ndarray):
        return _place_uneven(frame, times.labels_us[first:last], lengths[first:last], label, first)
    assert isinstance(lengths, int)
    to_label = lengths if label is Label.END else 0
    bounds = np.empty(len(frame.starts_us) + 1, np.int64)
    bounds[:-1] = np.clip(row_positions(times, frame.starts_us + to_label), first, last)
    bounds[0], bounds[-1] = first, last
    return segments_of(bounds, frame.claim, frame.claims, np.full(len(frame.claim), lengths, dtype=np.int64))


def _place_uneven(
    frame: Frame, labels: NDArray[np.int64], lengths: NDArray[np.int64], label: Label, first: int
) -> Segments:
    """Segments that end also where the length changes; the rows given are those taken, from row `first` on."""
    starts = labels - lengths if label is Label.END else labels
    runs = np.searchsorted(starts, frame.starts_us)
    runs[0] = 0
    changes = np.flatnonzero(np.diff(lengths)) + 1
    begins = np.union1d(runs, changes)
    begins = begins[begins < len(labels)].astype(np.int64)
    run = np.searchsorted(runs, begins, side="right") - 1
    return segments_of(np.append(begins, len(labels)) + first, frame.claim[run], frame.claims, lengths[begins])


def check_disjoint(times: Times, label: Label, first: int, last: int) -> None:
    """Raises ReadingsFault where intervals of the rows [first, last) overlap: time would be counted twice.

    Not for a register, whose readings have no length; timestamps lie within the calendar.
    """
    if isinstance(times, RegularTimes):
        return
    labels, lengths = times.labels_us[first:last], times.interval_us
    if isinstance(lengths, np.ndarray):
        lengths = lengths[first:last]
        # From one start to the next is at least the length of the first; from end to end, that of the second.
        needed = lengths[1:] if label is Label.END else lengths[:-1]
        overlaps = np.diff(labels) < needed
    else:
        overlaps = np.diff(labels) < lengths
    if not overlaps.any():
        return
    at = int(np.argmax(overlaps))
    before, here = (_row_text(times, first + at + each) for each in (0, 1))
    raise ReadingsFault(
        f"intervals overlap, at row {first + at + 1}: the one at {here} begins before the one at {before} ends; "
        "give timestamps that lie as far apart as their intervals are long, or shorter intervals"
    )


def _row_text(times: ListedTimes, row: int) -> str:
    lengths = times.interval_us
    length_us = int(lengths[row]) if isinstance(lengths, np.ndarray) else lengths
    return f"{instant_text(int(times.labels_us[row]))} of {seconds_text(length_us)}"


@lru_cache(maxsize=256)
def expected_counts(frame: Frame, label: Label, interval_us: int, known_label_us: int) -> list[list[int]]:
    """[cell][column]: how many labels of the grid through `known_label_us` fall into each cell and column."""
    if frame.start_us == frame.end_us:
        grid = RegularTimes(frame.start_us, interval_us, 1)
    else:
        past = 1 if label is Label.END else 0
        first = frame.start_us + past + (known_label_us - frame.start_us - past) % interval_us
        grid = RegularTimes(first, interval_us, max(0, -((first - frame.end_us - past) // interval_us)))
    placed = _place(frame, grid, label)
    rows = np.zeros(len(frame.claims.cell), np.int64)
    np.add.at(rows, frame.claim, np.diff(placed.bounds))
    counts = [[0] * len(frame.columns) for _ in range(frame.cell_count)]
    for claim, cell in enumerate(frame.claims.cell.tolist()):
        for column in frame.claims.columns[frame.claims.column_start[claim] : frame.claims.column_start[claim + 1]]:
            counts[cell][column] += int(rows[claim])
    return counts


def channel_totals(
    frame: Frame, readings: Readings, label: Label, quality: QualityTable, *, as_power: bool = False, spread: Map = map
) -> Totals:
    """Totals of one channel, shape [1, p, s]. Raises ReadingsFault as `place`, and for a code out of the table."""
    totals = empty_totals(1, frame.cell_count, len(frame.columns), len(quality.statuses))
    accumulate(
        readings.values[np.newaxis],
        readings.quality[np.newaxis],
        place(frame, readings.times, label),
        quality.has_value(),
        totals,
        as_power=as_power,
        spread=spread,
    )
    return totals


def check_codes(codes: NDArray[np.uint8], quality: QualityTable) -> None:
    """Raises ReadingsFault for a code that the table does not have."""
    if codes.size and int(codes.max()) >= len(quality.statuses):
        raise ReadingsFault(f"quality code {int(codes.max())} is not in a table of {len(quality.statuses)} statuses")
