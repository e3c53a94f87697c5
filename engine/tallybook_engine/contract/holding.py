"""Which billing period of a level an instant belongs to, of those that are settled.

Before the first period of a level stands its first one, behind the last its last: charge lines of a version under which
the contract began earlier or ended later are billed there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.contract.tables import NONE
from tallybook_engine.kernels import kernel

Instants = NDArray[np.int64]


class LevelTable(NamedTuple):
    """Levels, and which of the periods of all levels are theirs."""

    period_start: NDArray[np.int32]
    period_end: NDArray[np.int32]
    end_us: NDArray[np.int64]
    """Where the last of them ends."""
    is_from_start: NDArray[np.bool_]
    """Whether the first of them is the level's first."""
    is_to_end: NDArray[np.bool_]
    """Whether the last of them is the level's last."""


class PeriodTable(NamedTuple):
    """Periods of levels, by time."""

    start_us: NDArray[np.int64]
    place: NDArray[np.int32]
    """Where the trees' tables have it."""


@kernel
def holding(
    starts_us: Instants,
    first: int,
    end: int,
    end_us: int | np.int64,
    is_from_start: bool,
    is_to_end: bool,
    instant_us: int | np.int64,
) -> int:
    """Of the periods that start at `starts_us[first:end]`, the last of which ends at `end_us`, the one that holds an
    instant; NONE where it is not among them.
    """
    if first == end:
        return NONE
    if instant_us >= end_us:
        return end - 1 if is_to_end else NONE
    if instant_us < starts_us[first]:
        return first if is_from_start else NONE
    while end - first > 1:
        middle = (first + end) // 2
        if starts_us[middle] <= instant_us:
            first = middle
        else:
            end = middle
    return first


@kernel
def find_places(
    levels: LevelTable,
    periods: PeriodTable,
    level: NDArray[np.int32],
    instant_us: Instants,
    place: NDArray[np.int32],
) -> None:
    """Writes the place of a level that holds an instant, for n of them; NONE where there is none."""
    for row in range(len(level)):
        of = level[row]
        period = holding(
            periods.start_us,
            levels.period_start[of],
            levels.period_end[of],
            levels.end_us[of],
            levels.is_from_start[of],
            levels.is_to_end[of],
            instant_us[row],
        )
        place[row] = NONE if period == NONE else periods.place[period]
