"""Rolling demand: the largest mean power over a window that moves interval by interval, or over fixed blocks.

A rolling window finds a peak that a block would cut in two, so it is never below the blocks of the same length. Windows
lie wholly within their period; those with a gap do not count. Blocks begin at multiples of their length in local wall
time.

Source: US utilities' tariffs ("sliding window demand", "block interval demand"); IEC 62053 and ANSI C12.1 define both
methods of a demand register.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US, local_times
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.periods import whole_and_months
from tallybook_engine.demand.scheme import Demand, Scheme, Window, at_least
from tallybook_engine.demand.windows import Windows, windows_of


@dataclass(frozen=True)
class RollingDemand(Scheme):
    """The largest mean power over a window."""

    window_us: int
    """Length of the window, microseconds; a multiple of the interval's."""
    is_block: bool = False
    """Windows do not overlap: they begin at multiples of their length from local midnight."""

    def __post_init__(self) -> None:
        at_least(self.window_us, 1, "window_us")

    def window(self) -> Window:
        return Window("rolling.window", self.window_us)


def rolling_demand(scheme: RollingDemand, load: Load, split_by_month: bool) -> Iterator[Demand]:
    """Of the period, and of each of its months where they are asked for."""
    windows = windows_of(load, scheme.window_us)
    candidate = block_starts(windows) if scheme.is_block else np.ones(len(windows.starts_us), np.bool_)
    scan = load.scan(load.month_bounds())
    for cells, start, end, is_month in whole_and_months(scan.frame.cell_bounds, split_by_month):
        best = windows.best(start, end, candidate)
        part = scan.part(cells)
        yield Demand(
            start,
            end,
            is_month,
            None if best is None else windows.power(best[0]),
            load.unit,
            load.worst(part),
            part,
            () if best is None else (windows.peak(*best),),
        )


def block_starts(windows: Windows) -> NDArray[np.bool_]:
    """bool[n] whether each window begins at a multiple of its length in local wall time."""
    wall = local_times(windows.load.zone, windows.starts_us).wall_us
    return (wall % DAY_US) % windows.window_us == 0
