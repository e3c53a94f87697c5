"""What was accumulated of one channel, as plain numbers: a part a cell and column, and parts put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tallybook_engine.determinants.accumulate import NO_ROW, Totals


class Part(NamedTuple):
    """The rows of one cell (month, day) that one column (slice, the total) has."""

    total: int
    """Exact sum, at the scale of the values."""
    rows: tuple[int, ...]
    """[k] rows of each status."""
    covered_us: int
    """Summed length of the intervals that have a value."""
    best_value: int
    """The largest value; of power, the value with the largest power."""
    best_length_us: int
    """Length of its interval."""
    best_row: int
    """The first row that has it, or `NO_ROW`."""
    best_count: int
    """How many rows have it."""

    @property
    def worst(self) -> int | None:
        """The worst code that has rows."""
        for code in range(len(self.rows) - 1, -1, -1):
            if self.rows[code]:
                return code
        return None


def parts_of(totals: Totals, channel: int) -> list[list[Part]]:
    """Parts of one channel by [cell][column]."""
    # Reading arrays a number at a time takes longer than the pass over a month.
    low, high = totals.sum_low[channel], totals.sum_high[channel]
    signed = low.view(np.int64)
    if np.array_equal(high.view(np.int64), signed >> 63):
        sums = signed.tolist()
    else:
        sums = (high.view(np.int64).astype(object) * 2**64 + low.astype(object)).tolist()
    columns = (
        totals.row_count[channel].tolist(),
        totals.covered_us[channel].tolist(),
        totals.best_value[channel].tolist(),
        totals.best_length_us[channel].tolist(),
        totals.best_row[channel].tolist(),
        totals.best_count[channel].tolist(),
    )
    return [
        [Part(total, tuple(rows), *rest) for total, rows, *rest in zip(*cell, strict=True)]
        for cell in zip(sums, *columns, strict=True)
    ]


def together(parts: Sequence[Part], *, as_power: bool) -> Part:
    """Parts of one column, in rising order of time, as one."""
    if len(parts) == 1:
        return parts[0]
    best = parts[0]
    count = best.best_count
    for part in parts[1:]:
        if part.best_row == NO_ROW:
            continue
        order = 1 if best.best_row == NO_ROW else _compare(part, best, as_power=as_power)
        if order > 0:
            best, count = part, part.best_count
        elif order == 0:
            count += part.best_count
    return Part(
        sum(part.total for part in parts),
        tuple(map(sum, zip(*(part.rows for part in parts), strict=True))),
        sum(part.covered_us for part in parts),
        best.best_value,
        best.best_length_us,
        best.best_row,
        count,
    )


def _compare(part: Part, other: Part, *, as_power: bool) -> int:
    """Above 0 where the maximum of `part` is larger, 0 where they are alike."""
    if as_power:
        return part.best_value * other.best_length_us - other.best_value * part.best_length_us
    return part.best_value - other.best_value
