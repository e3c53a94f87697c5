"""Mean of the highest peaks on different days of a month.

The largest block (an hour, as a rule) of each local day is its peak; the N highest days count, and where a month has
fewer, those there are. Hours of a window may count at a share, before the highest are chosen.

Source: Norway, NVE's grid tariff model and grid companies' pages (norgesnett.no, hlk.no): the mean of the three highest
hourly values on three different days. Sweden, Ellevio: 22:00 to 06:00 counts half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US, MINUTE_US, local_times
from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.periods import months
from tallybook_engine.demand.rolling import block_starts
from tallybook_engine.demand.scheme import Demand, Scheme, SchemeFault, Window, at_least, not_negative
from tallybook_engine.demand.windows import NO_WINDOW, windows_of
from tallybook_engine.determinants.configuration import MINUTES_A_DAY
from tallybook_engine.determinants.numbers import HOUR_US, fitting, rounded


@dataclass(frozen=True)
class MeanOfTopPeaks(Scheme):
    """The mean of a month's highest peaks."""

    count: int = 3
    """How many peaks."""
    block_us: int = HOUR_US
    """Length of a block, microseconds, a multiple of the interval's; blocks begin at its own from local midnight."""
    on_different_days: bool = True
    """One peak a local date; otherwise the highest blocks of the month, whatever their dates."""
    share: int = UNIT
    """What part of a block's power counts where its START lies in the window below; scale 12."""
    share_start_minute: int = 0
    """The window's beginning, minutes since local midnight."""
    share_end_minute: int = 0
    """First minute after; below the start, the window goes over midnight. Equal: there is no window."""

    def __post_init__(self) -> None:
        at_least(self.count, 1, "count")
        at_least(self.block_us, 1, "block_us")
        not_negative(self.share, "share")
        if not (0 <= self.share_start_minute < MINUTES_A_DAY and 0 <= self.share_end_minute <= MINUTES_A_DAY):
            raise SchemeFault("the window of the share lies within 00:00 and 24:00")

    def window(self) -> Window:
        return Window("mean_of_top_peaks.block", self.block_us)

    def peak_count(self) -> int:
        return self.count


def mean_of_top_peaks(scheme: MeanOfTopPeaks, load: Load) -> Iterator[Demand]:
    """One a local month of the period."""
    windows = windows_of(load, scheme.block_us)
    chosen = np.flatnonzero(block_starts(windows) & (windows.end_row != NO_WINDOW))
    local = local_times(load.zone, windows.starts_us[chosen])
    minute = (local.wall_us % DAY_US) // MINUTE_US
    start, end = scheme.share_start_minute, scheme.share_end_minute
    in_window = (minute >= start) & (minute < end) if start <= end else (minute >= start) | (minute < end)
    ranked = windows.ranking(chosen)
    places = np.empty(len(windows.starts_us), np.int64)
    places[ranked] = np.arange(len(ranked))
    starts, days = windows.starts_us[chosen], local.day if scheme.on_different_days else None
    scan = load.scan(load.month_bounds())
    for cells, month_start, month_end, is_month in months(scan.frame.cell_bounds):
        inside = (starts >= month_start) & (starts + scheme.block_us <= month_end)
        if inside.any():
            own = places[chosen[inside]]
            for place in (own.min(), own.max()):
                windows.power(ranked[place])  # Where any does not fit, one of these does not.
        # The first of equal blocks stands for its day, and the earlier of equal days goes first.
        best_of_day: dict[int, tuple[int, int, int]] = {}
        for share, rows in ((UNIT, inside & ~in_window), (scheme.share, inside & in_window)):
            for row in _first(np.flatnonzero(rows), places[chosen] if share else chosen, days, scheme.count):
                window = int(chosen[row])
                entry = (-windows.power(window) * share, window, share)
                day = window if days is None else int(days[row])
                best_of_day[day] = min(best_of_day.get(day, entry), entry)
        peaks_by_rank = sorted(best_of_day.values())[: scheme.count]
        value = None
        if peaks_by_rank:
            total = -sum(product for product, _, _ in peaks_by_rank)
            value = fitting(rounded(Fraction(total, UNIT * len(peaks_by_rank))))
        peaks = tuple(windows.peak(window, 1) for _, window, _ in sorted(peaks_by_rank, key=lambda entry: entry[1]))
        part = scan.part(cells)
        yield Demand(month_start, month_end, is_month, value, load.unit, load.worst(part), part, peaks)


def _first(rows: NDArray[np.int64], ranks: NDArray[np.int64], days: NDArray[np.int64] | None, count: int) -> list[int]:
    """The `count` rows of the lowest rank, one a day where there are days.

    No other of these rows can be among the month's highest: so many are better, each on a day of its own.
    """
    rows = rows[np.argsort(ranks[rows])]
    if days is not None:
        _, firsts = np.unique(days[rows], return_index=True)
        rows = rows[np.sort(firsts)]
    return rows[:count].tolist()
