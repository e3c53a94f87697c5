"""The pass over the readings: each value is read once, and sums, maxima and counts of all slices and months come out.

What is judged by the calendar does not change from row to row but at a few thousand instants a year, so the readings
of a period are cut into *segments*: runs of rows of one month that the same slices claim and that have one interval
length. The pass reduces a segment to its sum, maximum and statuses, and adds these to its *claim*, of which a month has
a few; each claim is in the end added to all *columns* (slices, the total) of its *cell* (month, or day). Nothing
depends on how rows are cut into segments, chunks or threads: sums are exact integers of 128 bits, and of equal maxima
the one of the lowest row wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.determinants.readings import ReadingsFault
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.arrays import to_read
from tallybook_engine.kernels.wide import add128, from_limbs, lt128, sub128, umul64
from tallybook_engine.kernels.words import run_end

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""`map`, or an executor's: how work is spread over threads. Kernels hold no interpreter lock."""

UNKNOWN_CODE = -1
"""Instead of a number of rows: one has a code that is not in the quality table."""
NO_ROW = -1
"""`Totals.best_row` where no row has a value."""
TASK_BYTES = 6 << 20
"""Values that one task of a spread pass reads, about: small enough to share evenly, large enough to be worth a call."""
BLOCK_ROWS = 256
"""Rows whose maximum is remembered at once, so that only where it was found has to be looked through for its row."""

SHORT_RUN_ROWS = 16
"""Runs of one status below this are not worth a pass of their own."""
MIXED_ROWS = 64
"""So many rows are gone through one by one where statuses change quickly."""

_LARGEST = np.iinfo(np.int64).max
_SMALLEST = np.iinfo(np.int64).min
_SIGN_SHIFT = np.int64(63)


class Claims(NamedTuple):
    """g sets of columns that claim time of one cell; kernels read it."""

    cell: NDArray[np.int64]
    """[g] the cell of each claim, below p."""
    column_start: NDArray[np.int64]
    """[g + 1] the columns of claim i are ``columns[column_start[i]:column_start[i + 1]]``."""
    columns: NDArray[np.int64]
    """The columns of all claims one after the other, each below s."""


class Segments(NamedTuple):
    """m runs of rows in rising order, and the claims that they are added to; kernels read it."""

    bounds: NDArray[np.int64]
    """[m + 1] segment i holds the rows ``bounds[i] <= row < bounds[i + 1]``; it may hold none."""
    claim: NDArray[np.int64]
    """[m] the claim of each segment."""
    claims: Claims
    length_us: NDArray[np.int64]
    """[m] interval length of the segment's rows, microseconds, above 0."""
    safe_value: NDArray[np.int64]
    """[m] as many values as the segment has rows, of a magnitude up to this, cannot overflow an int64."""


class Totals(NamedTuple):
    """What has been accumulated: c channels by p cells by s columns."""

    sum_low: NDArray[np.uint64]
    """[c, p, s] lower limb of the sum of the values."""
    sum_high: NDArray[np.uint64]
    """[c, p, s] upper limb, two's complement."""
    row_count: NDArray[np.int64]
    """[c, p, s, k] rows of each status."""
    covered_us: NDArray[np.int64]
    """[c, p, s] summed length of the intervals that have a value, microseconds."""
    best_value: NDArray[np.int64]
    """[c, p, s] the value of the maximum."""
    best_length_us: NDArray[np.int64]
    """[c, p, s] length of its interval, microseconds."""
    best_row: NDArray[np.int64]
    """[c, p, s] its first row, or `NO_ROW`."""
    best_count: NDArray[np.int64]
    """[c, p, s] how many rows have it."""

    def sum_of(self, channel: int, cell: int, column: int) -> int:
        """An exact sum, at the scale of the values."""
        return from_limbs(self.sum_low[channel, cell, column], self.sum_high[channel, cell, column])


def segments_of(
    bounds: NDArray[np.int64], claim: NDArray[np.int64], claims: Claims, length_us: NDArray[np.int64]
) -> Segments:
    """Segments with what the pass needs to know besides."""
    safe = _LARGEST // np.maximum(np.diff(bounds), 1)
    return Segments(bounds, claim, claims, length_us, safe)


def empty_totals(channel_count: int, cell_count: int, column_count: int, status_count: int) -> Totals:
    """Totals of no rows."""
    shape = (channel_count, cell_count, column_count)
    return Totals(
        np.zeros(shape, np.uint64),
        np.zeros(shape, np.uint64),
        np.zeros((*shape, status_count), np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.ones(shape, np.int64),
        np.full(shape, NO_ROW, np.int64),
        np.zeros(shape, np.int64),
    )


def accumulate(
    values: NDArray[np.int64],
    quality: NDArray[np.uint8],
    segments: Segments,
    has_value: NDArray[np.bool_],
    totals: Totals,
    *,
    as_power: bool = False,
    first_row: int = 0,
    spread: Map = map,
    task_bytes: int = TASK_BYTES,
) -> None:
    """Adds c channels of n rows to their totals.

    `values` is int64[c, n], `quality` uint8[c, n] of codes below k, both C-contiguous; `has_value` is bool[k]: rows of
    other statuses are counted and their values ignored. `segments` speak of the rows of these arrays; what they say of
    best rows is `first_row` more, so that chunks of longer columns can be added in any order. With `as_power` the
    maximum is that of value by interval length, compared exactly. `spread` is a `map` that may use threads.

    Raises ReadingsFault where a row that is added has a code from k on; what the totals are then is not said. Source of
    the rule: DESIGN section 6, lines 4 and 5.
    """
    channel_count, row_count = values.shape
    step = max(1, task_bytes // (8 * max(1, row_count)))
    _, cell_count, column_count, status_count = totals.row_count.shape
    flat = _flat(totals)
    claim_count = len(segments.claims.cell)

    values, quality = to_read(values), to_read(quality)

    def work(first: int) -> bool:
        last = min(first + step, channel_count)
        claimed = _flat(empty_totals(1, claim_count, 1, status_count))
        scratch = np.zeros(status_count, np.int64)
        return _accumulate(
            values,
            quality,
            segments,
            has_value,
            as_power,
            first_row,
            first,
            last,
            cell_count,
            column_count,
            scratch,
            claimed,
            flat,
        )

    if not all(list(spread(work, range(0, channel_count, step)))):
        raise ReadingsFault(f"a quality code is not in a table of {status_count} statuses")


def _flat(totals: Totals) -> Totals:
    """The same arrays with channels, cells and columns in one axis."""
    status_count = totals.row_count.shape[-1]
    return Totals._make(array.reshape(-1) for array in totals)._replace(
        row_count=totals.row_count.reshape(-1, status_count)
    )


@inlined_kernel
def _wider(value: np.int64, by: np.int64, than: np.int64, than_by: np.int64) -> bool:
    """Whether ``value / by > than / than_by``, for positive divisors, exactly."""
    if by == than_by:
        return bool(value > than)
    left_low, left_high = umul64(np.uint64(value), np.uint64(than_by))
    right_low, right_high = umul64(np.uint64(than), np.uint64(by))
    if value < 0:
        left_low, left_high = sub128(left_low, left_high, np.uint64(0), np.uint64(than_by))
    if than < 0:
        right_low, right_high = sub128(right_low, right_high, np.uint64(0), np.uint64(by))
    return lt128(right_low, right_high, left_low, left_high)


@inlined_kernel
def _reduce_block(values: NDArray[np.int64], start: int, end: int) -> tuple[np.int64, np.int64, np.int64]:
    """(sum wrapping at 2^64, largest, smallest) of ``values[start:end]``: a loop that vectorises."""
    total = np.int64(0)
    largest = np.int64(_SMALLEST)
    smallest = np.int64(_LARGEST)
    # An index that may be below 0 would be looked at again for each row; an unsigned one may not.
    first = np.uint64(start)
    for offset in range(end - start):
        value = values[first + np.uint64(offset)]
        total += value
        largest = max(largest, value)
        smallest = min(smallest, value)
    return total, largest, smallest


@inlined_kernel
def _reduce(
    values: NDArray[np.int64], start: int, end: int, safe: np.int64
) -> tuple[np.uint64, np.uint64, np.int64, int, int]:
    """(sum low, sum high, largest, and the bounds of rows that hold all that have it) of ``values[start:end]``.

    `safe` is `Segments.safe_value` of these rows, or of more.
    """
    total = np.int64(0)
    largest = np.int64(_SMALLEST)
    smallest = np.int64(_LARGEST)
    first_block, last_block = start, start
    for block in range(start, end, BLOCK_ROWS):
        part, block_largest, block_smallest = _reduce_block(values, block, min(block + BLOCK_ROWS, end))
        total += part
        smallest = min(smallest, block_smallest)
        if block_largest >= largest:
            last_block = block
            if block_largest > largest:
                first_block = block
                largest = block_largest
    low, high = np.uint64(total), np.uint64(total >> _SIGN_SHIFT)
    if largest > safe or smallest < -safe:
        low, high = _wide_sum(values, start, end)
    return low, high, largest, first_block, min(last_block + BLOCK_ROWS, end)


@kernel
def _wide_sum(values: NDArray[np.int64], start: int, end: int) -> tuple[np.uint64, np.uint64]:
    low, high = np.uint64(0), np.uint64(0)
    for row in range(start, end):
        value = values[row]
        low, high = add128(low, high, np.uint64(value), np.uint64(value >> _SIGN_SHIFT))
    return low, high


@kernel
def _reduce_mixed(
    values: NDArray[np.int64],
    quality: NDArray[np.uint8],
    start: int,
    end: int,
    has_value: NDArray[np.bool_],
    safe: np.int64,
    scratch: NDArray[np.int64],
) -> tuple[np.uint64, np.uint64, np.int64, int, int, int]:
    """As `_reduce`, of the rows that have a value, and how many they are; `scratch` counts the rows of each status.

    The number is `UNKNOWN_CODE` where a status is not in the table.

    Statuses come in runs, so that most rows still go by at full speed.
    """
    low, high = np.uint64(0), np.uint64(0)
    largest = np.int64(_SMALLEST)
    first_row, last_row, present = start, end, 0
    at = start
    while at < end:
        stop = run_end(quality, at, end)
        if quality[at] >= len(scratch):
            return low, high, largest, first_row, last_row, UNKNOWN_CODE
        if stop - at >= SHORT_RUN_ROWS:
            scratch[quality[at]] += stop - at
            if not has_value[quality[at]]:
                at = stop
                continue
            run_low, run_high, run_largest, run_first, run_last = _reduce(values, at, stop, safe)
            run_present = stop - at
        else:
            stop = min(at + MIXED_ROWS, end)
            run_low, run_high, run_largest = np.uint64(0), np.uint64(0), np.int64(_SMALLEST)
            run_first, run_last, run_present = at, stop, 0
            for row in range(at, stop):
                code = quality[row]
                if code >= len(scratch):
                    return low, high, largest, first_row, last_row, UNKNOWN_CODE
                scratch[code] += 1
                if has_value[code]:
                    value = values[row]
                    run_present += 1
                    run_largest = max(run_largest, value)
                    run_low, run_high = add128(run_low, run_high, np.uint64(value), np.uint64(value >> _SIGN_SHIFT))
            if run_present == 0:
                at = stop
                continue
        low, high = add128(low, high, run_low, run_high)
        if present == 0 or run_largest > largest:
            largest, first_row, last_row = run_largest, run_first, run_last
        elif run_largest == largest:
            last_row = run_last
        present += run_present
        at = stop
    return low, high, largest, first_row, last_row, present


@kernel
def _first_and_count(values: NDArray[np.int64], start: int, end: int, wanted: np.int64) -> tuple[int, int]:
    """(first row, number of rows) with a value; the first is `end` where there is none."""
    first, count, row_count = end - start, 0, end - start
    begin = np.uint64(start)
    for offset in range(row_count):
        is_wanted = values[begin + np.uint64(offset)] == wanted
        count += is_wanted
        first = min(first, offset if is_wanted else row_count)
    return start + first, count


@kernel
def _first_and_count_mixed(
    values: NDArray[np.int64],
    quality: NDArray[np.uint8],
    start: int,
    end: int,
    has_value: NDArray[np.bool_],
    wanted: np.int64,
) -> tuple[int, int]:
    """The same among the rows that have a value."""
    first, count = end, 0
    for row in range(start, end):
        if values[row] == wanted and has_value[quality[row]]:
            first = min(first, row)
            count += 1
    return first, count


@kernel
def _accumulate(
    all_values: NDArray[np.int64],
    all_quality: NDArray[np.uint8],
    segments: Segments,
    has_value: NDArray[np.bool_],
    as_power: bool,
    first_row: int,
    first_channel: int,
    last_channel: int,
    cell_count: int,
    column_count: int,
    scratch: NDArray[np.int64],
    claimed: Totals,
    totals: Totals,
) -> bool:
    """Channels from `first_channel` to before `last_channel`; False where a row's code is not in the quality table.

    `totals` are flat: [c * p * s], and [c * p * s, k] for the rows of each status; `claimed` likewise, [g]. `claimed`
    and `scratch`, int64[k], are those of no rows, and are so again after.
    """
    claims = segments.claims
    for channel in range(first_channel, last_channel):
        values = all_values[channel]
        quality = all_quality[channel]
        for segment in range(len(segments.claim)):
            start, end = segments.bounds[segment], segments.bounds[segment + 1]
            if start < end and not _add_segment(
                values,
                quality,
                start,
                end,
                segments.safe_value[segment],
                segments.length_us[segment],
                has_value,
                as_power,
                first_row,
                scratch,
                claimed,
                segments.claim[segment],
            ):
                return False
        for claim in range(len(claims.cell)):
            cell = (channel * cell_count + claims.cell[claim]) * column_count
            for position in range(claims.column_start[claim], claims.column_start[claim + 1]):
                _add_claim(claimed, claim, as_power, totals, cell + claims.columns[position])
            _clear(claimed, claim)
    return True


@inlined_kernel
def _add_segment(
    values: NDArray[np.int64],
    quality: NDArray[np.uint8],
    start: int,
    end: int,
    safe: np.int64,
    length_us: np.int64,
    has_value: NDArray[np.bool_],
    as_power: bool,
    first_row: int,
    scratch: NDArray[np.int64],
    claimed: Totals,
    at: int,
) -> bool:
    """Reduces the rows from `start` to before `end` and adds them to a claim; segments come in rising order.

    False where a row has a code that is not in the quality table.
    """
    code = quality[start]
    if run_end(quality, start, end) == end:
        if code >= len(scratch):
            return False
        claimed.row_count[at, code] += end - start
        if not has_value[code]:
            return True
        present = end - start
        low, high, largest, first_block, last_block = _reduce(values, start, end, safe)
    else:
        low, high, largest, first_block, last_block, present = _reduce_mixed(
            values, quality, start, end, has_value, safe, scratch
        )
        if present == UNKNOWN_CODE:
            return False
        for status in range(len(scratch)):
            claimed.row_count[at, status] += scratch[status]
            scratch[status] = 0
        if present == 0:
            return True
    claimed.sum_low[at], claimed.sum_high[at] = add128(claimed.sum_low[at], claimed.sum_high[at], low, high)
    claimed.covered_us[at] += present * length_us
    best_weight_us, weight_us = np.int64(1), np.int64(1)
    if as_power:
        best_weight_us, weight_us = claimed.best_length_us[at], length_us
    is_first = claimed.best_row[at] == NO_ROW
    if not is_first and _wider(claimed.best_value[at], best_weight_us, largest, weight_us):
        return True
    # The rows are still in the cache, and a new maximum is rare.
    if present == end - start:
        row, count = _first_and_count(values, first_block, last_block, largest)
    else:
        row, count = _first_and_count_mixed(values, quality, first_block, last_block, has_value, largest)
    if not is_first and not _wider(largest, weight_us, claimed.best_value[at], best_weight_us):
        claimed.best_count[at] += count
        return True
    claimed.best_value[at] = largest
    claimed.best_length_us[at] = length_us
    claimed.best_row[at] = first_row + row
    claimed.best_count[at] = count
    return True


@kernel
def _add_claim(claimed: Totals, claim: int, as_power: bool, totals: Totals, at: int) -> None:
    """Adds what a claim has accumulated to one cell and column."""
    for status in range(claimed.row_count.shape[1]):
        totals.row_count[at, status] += claimed.row_count[claim, status]
    if claimed.best_row[claim] == NO_ROW:
        return
    totals.sum_low[at], totals.sum_high[at] = add128(
        totals.sum_low[at], totals.sum_high[at], claimed.sum_low[claim], claimed.sum_high[claim]
    )
    totals.covered_us[at] += claimed.covered_us[claim]
    best_weight_us, weight_us = np.int64(1), np.int64(1)
    if as_power:
        best_weight_us, weight_us = totals.best_length_us[at], claimed.best_length_us[claim]
    if totals.best_row[at] != NO_ROW:
        if _wider(totals.best_value[at], best_weight_us, claimed.best_value[claim], weight_us):
            return
        if not _wider(claimed.best_value[claim], weight_us, totals.best_value[at], best_weight_us):
            totals.best_count[at] += claimed.best_count[claim]
            if totals.best_row[at] < claimed.best_row[claim]:
                return
        else:
            totals.best_count[at] = claimed.best_count[claim]
    else:
        totals.best_count[at] = claimed.best_count[claim]
    totals.best_value[at] = claimed.best_value[claim]
    totals.best_length_us[at] = claimed.best_length_us[claim]
    totals.best_row[at] = claimed.best_row[claim]


@kernel
def _clear(claimed: Totals, claim: int) -> None:
    claimed.sum_low[claim] = np.uint64(0)
    claimed.sum_high[claim] = np.uint64(0)
    claimed.covered_us[claim] = 0
    claimed.best_row[claim] = NO_ROW
    for status in range(claimed.row_count.shape[1]):
        claimed.row_count[claim, status] = 0
