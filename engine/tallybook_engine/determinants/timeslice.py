"""Timeslices: which output channels an interval goes to, judged on its START in local wall time.

Day class, DST and clock time change at a few thousand instants a year; between two of them one set of slices claims
every interval. So the calendar is laid out once as runs of time, and rows are placed by where the runs begin.

Source: Energyworx, "Timeslice Groups" and standard_billing_determinants_calculation, steps 3.1.2 and 3.1.3: the mask
looks at DST, holiday, weekend and weekday, and a holiday goes before weekend and weekday.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.local_time import DAY_US, MINUTE_US, DayClass, class_of_day, day_numbers, month_of_day
from tallybook_engine.calendar.offsets import offset_table
from tallybook_engine.determinants.configuration import Days, HolidayCalendar, TimesliceGroup
from tallybook_engine.kernels import kernel

_CLASSES = {
    Days.DAILY: tuple(DayClass),
    Days.WEEKDAYS: (DayClass.WEEKDAY,),
    Days.WEEKEND: (DayClass.SATURDAY, DayClass.SUNDAY),
    Days.SATURDAY: (DayClass.SATURDAY,),
    Days.SUNDAY: (DayClass.SUNDAY,),
    Days.HOLIDAYS: (DayClass.HOLIDAY,),
}


class SliceRuns(NamedTuple):
    """m runs of time in each of which the same slices claim every instant."""

    starts_us: NDArray[np.int64]
    """[m] first instant of each run, ascending; a run ends where the next begins, the last one at the end asked for."""
    mask: NDArray[np.int64]
    """[m] bit i: the group's slice i claims the run. 0: UNCOVERED."""


@lru_cache(maxsize=1_024)
def slice_runs(
    zone: str, start_us: int, end_us: int, group: TimesliceGroup, calendar: HolidayCalendar | None
) -> SliceRuns:
    """The runs of a period that is not empty.

    Raises `zones.UnknownZone`, and ValueError outside of the years that have a table.
    """
    table = offset_table(zone, start_us, end_us)
    cuts, masks = _masks(group)
    holidays = day_numbers(calendar.dates if calendar else ())
    starts: list[NDArray[np.int64]] = []
    found: list[NDArray[np.int64]] = []
    ends = [*table.starts_us[1:].tolist(), table.end_us]
    for piece_start, piece_end, offset, is_dst in zip(
        table.starts_us.tolist(), ends, table.offset_us.tolist(), table.is_dst.tolist(), strict=True
    ):
        first, last = max(piece_start, start_us), min(piece_end, end_us)
        if first >= last:
            continue
        days = np.arange((first + offset) // DAY_US, (last - 1 + offset) // DAY_US + 1, dtype=np.int64)
        month = np.empty(len(days), np.int64)
        day_class = np.empty(len(days), np.int64)
        _judge(days, holidays, month, day_class)
        at = (days[:, np.newaxis] * DAY_US + cuts * MINUTE_US - offset).ravel()
        mask = masks[month, day_class, int(is_dst)].ravel()
        # A window that began before the piece goes on in it.
        inside = np.append(at[1:] > first, True) & (at < last)
        starts.append(np.maximum(at[inside], first))
        found.append(mask[inside])
    at, mask = np.concatenate(starts), np.concatenate(found)
    changes = np.append(True, mask[1:] != mask[:-1])
    return SliceRuns(at[changes], mask[changes])


def _masks(group: TimesliceGroup) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The minutes at which windows begin or end, and the masks of [month of year, day class, DST, those minutes]."""
    windows = [(interval, *window) for interval in group.intervals for window in interval.windows()]
    cuts = sorted(
        {0} | {start for _, start, _ in windows} | {end for _, _, end in windows if end < DAY_US // MINUTE_US}
    )
    masks = np.zeros((12, len(DayClass), 2, len(cuts)), np.int64)
    names = group.channels()
    for interval, start, end in windows:
        bit = np.int64(1 << names.index(interval.channel))
        months: Sequence[int] = interval.months or range(1, 13)
        for month in months:
            for day_class in _CLASSES[interval.days]:
                for is_dst in (False, True) if interval.is_dst is None else (interval.is_dst,):
                    for index, cut in enumerate(cuts):
                        if start <= cut < end:
                            masks[month - 1, day_class, int(is_dst), index] |= bit
    return np.array(cuts, dtype=np.int64), masks


@kernel
def _judge(
    days: NDArray[np.int64], holidays: NDArray[np.int64], month: NDArray[np.int64], day_class: NDArray[np.int64]
) -> None:
    """Month of the year, from 0, and day class of each date."""
    for row in range(len(days)):
        month[row] = month_of_day(days[row]) % 12
        day_class[row] = class_of_day(days[row], holidays)
