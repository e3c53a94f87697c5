"""Mean power of windows of several intervals: every one that is filled without a gap.

A window begins with an interval and ends with one, exactly so long after; intervals of any lengths may fill it. Sums
are exact, 128-bit integers: of energy, or of power times length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import QUANTITY_SCALE, ratio
from tallybook_engine.demand.load import Load
from tallybook_engine.determinants.configuration import Label
from tallybook_engine.determinants.numbers import HOUR_US, fitting
from tallybook_engine.determinants.result import Peak
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.arrays import to_read
from tallybook_engine.kernels.wide import add128, from_limbs, lt128, sub128, umul64

NO_WINDOW = -1


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one length over a load; window i begins with the i-th interval of the period."""

    load: Load
    window_us: int
    first_row: int
    starts_us: NDArray[np.int64]
    """[n] beginning of each interval."""
    end_row: NDArray[np.int64]
    """[n] the interval after the window's last, or `NO_WINDOW` where no filled window begins."""
    low: NDArray[np.uint64]
    """[n] lower limb of the window's sum."""
    high: NDArray[np.uint64]
    """[n] upper limb."""

    def power(self, window: int) -> int:
        """Mean power of a window, scale 12, rounded half away from zero. DoesNotFit from 10^15 on."""
        scaled = from_limbs(self.low[window], self.high[window]) * 10 ** (
            QUANTITY_SCALE - self.load.classifier.decimal_places
        )
        return fitting(ratio(scaled * (HOUR_US if self.load.is_energy else 1), self.window_us))

    def ranking(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Filled windows, ascending, from the largest power down; of equal powers the earlier first."""
        low, high = self.low[windows], self.high[windows].view(np.int64)
        ranked = windows[np.lexsort((~low, ~high))]
        # Sums that differ may be one power, once it is rounded: then the earlier of them goes first.
        unit = 10 ** (QUANTITY_SCALE - self.load.classifier.decimal_places) * (HOUR_US if self.load.is_energy else 1)
        most = (self.window_us - 1) // unit
        if most and len(ranked) > 1:
            for first, last in self._runs(ranked, most):
                ranked[first:last] = sorted(ranked[first:last].tolist(), key=lambda each: (-self.power(each), each))
        return ranked

    def _runs(self, ranked: NDArray[np.int64], most: int) -> list[list[int]]:
        """(first, last) of the runs of windows where each sum is above the next by at most so much, or equal to it."""
        low, high = self.low[ranked], self.high[ranked]
        difference = low[:-1] - low[1:]
        upper = high[:-1] - high[1:] - (low[:-1] < low[1:])
        is_linked = (upper == 0) & (difference <= np.uint64(most))
        edges = np.flatnonzero(np.diff(is_linked, prepend=False, append=False)).reshape(-1, 2)
        # A run of equal sums is in order.
        differs = np.concatenate([[0], np.cumsum(difference != 0)])
        return [[first, last + 1] for first, last in edges.tolist() if differs[first] != differs[last]]

    def peak(self, window: int, occurrence_count: int) -> Peak:
        """Where a window is; its quality is the worst inside."""
        start = int(self.starts_us[window])
        rows = slice(self.first_row + window, self.first_row + int(self.end_row[window]))
        status = self.load.quality.statuses[int(self.load.readings.quality[rows].max())].name
        label = start + self.window_us if self.load.classifier.label is Label.END else start
        return Peak(start, start + self.window_us, label, status, occurrence_count)

    def best(self, start_us: int, end_us: int, candidate: NDArray[np.bool_]) -> tuple[int, int] | None:
        """(first largest window, how many are as large) among candidates, bool[n], that lie between two instants."""
        first, count = _best(
            self.starts_us, self.window_us, self.end_row, candidate, start_us, end_us, self.low, self.high
        )
        return None if first == NO_WINDOW else (int(first), int(count))


def windows_of(load: Load, window_us: int) -> Windows:
    """All windows of a length over the rows that the load's period takes."""
    starts, lengths, first = load.intervals()
    count = len(starts)
    readings = load.readings
    end_row = np.full(count, NO_WINDOW, np.int64)
    low, high = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    usable = load.quality.has_value()[readings.quality[first : first + count]]
    weights = np.ones(count, np.int64) if load.is_energy else lengths
    values = readings.values[first : first + count]
    starts, lengths, values, weights = (to_read(column) for column in (starts, lengths, values, weights))
    _fill(starts, lengths, values, weights, usable, window_us, end_row, low, high)
    return Windows(load, window_us, first, starts, end_row, low, high)


@inlined_kernel
def _product(value: np.int64, weight: np.int64) -> tuple[np.uint64, np.uint64]:
    """A signed value times a positive weight."""
    low, high = umul64(np.uint64(value), np.uint64(weight))
    if value < 0:
        low, high = sub128(low, high, np.uint64(0), np.uint64(weight))
    return low, high


@kernel
def _fill(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    values: NDArray[np.int64],
    weights: NDArray[np.int64],
    usable: NDArray[np.bool_],
    window_us: int,
    end_row: NDArray[np.int64],
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
) -> None:
    """Two rows move over the intervals: what lies between them is one filled stretch, and its sum is kept."""
    sum_low, sum_high = np.uint64(0), np.uint64(0)
    first = 0
    for row in range(len(starts)):
        follows = row > first and starts[row] == starts[row - 1] + lengths[row - 1]
        if not usable[row] or not follows:
            sum_low, sum_high = np.uint64(0), np.uint64(0)
            first = row
        if not usable[row]:
            first = row + 1
            continue
        part_low, part_high = _product(values[row], weights[row])
        sum_low, sum_high = add128(sum_low, sum_high, part_low, part_high)
        end = starts[row] + lengths[row]
        while first < row and end - starts[first] > window_us:
            part_low, part_high = _product(values[first], weights[first])
            sum_low, sum_high = sub128(sum_low, sum_high, part_low, part_high)
            first += 1
        if end - starts[first] == window_us:
            end_row[first] = row + 1
            low[first], high[first] = sum_low, sum_high


@kernel
def _best(
    starts: NDArray[np.int64],
    window_us: int,
    end_row: NDArray[np.int64],
    candidate: NDArray[np.bool_],
    start_us: int,
    end_us: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
) -> tuple[int, int]:
    best, count = NO_WINDOW, 0
    for window in range(len(starts)):
        if not candidate[window] or end_row[window] == NO_WINDOW:
            continue
        if starts[window] < start_us or starts[window] + window_us > end_us:
            continue
        if best == NO_WINDOW or lt128(low[best], high[best], low[window], high[window]):
            best, count = window, 1
        elif low[best] == low[window] and high[best] == high[window]:
            count += 1
    return best, count
