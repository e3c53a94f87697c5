"""Local wall time, day, day type, month and DST of whole columns of instants: no library call a row."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.offsets import OffsetTable, offset_table
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.arrays import to_read

DAY_US = 86_400_000_000
MINUTE_US = 60_000_000

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY = date(1970, 1, 1).weekday()
_SATURDAY = 5


class DayClass(IntEnum):
    """What a local date is to a tariff. A holiday is one whatever day of the week it falls on."""

    WEEKDAY = 0
    SATURDAY = 1
    SUNDAY = 2
    HOLIDAY = 3


class LocalTimes(NamedTuple):
    """Local time of n instants, column by column."""

    wall_us: NDArray[np.int64]
    """[n] wall time as if it were UTC, microseconds since the epoch: floor division by `DAY_US` gives `day`."""
    day: NDArray[np.int64]
    """[n] local date, days since 1970-01-01."""
    month: NDArray[np.int64]
    """[n] local month, months since 1970-01."""
    day_class: NDArray[np.uint8]
    """[n] a `DayClass`."""
    is_dst: NDArray[np.bool_]
    """[n] whether daylight saving time holds, by the rule of `offsets.offset_table`."""


def local_times(zone: str, instants_us: NDArray[np.int64], holidays: Collection[date] = ()) -> LocalTimes:
    """Local time of instants (int64[n] microseconds since the epoch, in any order) in an IANA zone.

    Fastest where neighbours lie close together. Raises `zones.UnknownZone`, and ValueError where an instant lies
    outside the years that have a table.
    """
    count = len(instants_us)
    times = LocalTimes(
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.uint8),
        np.empty(count, np.bool_),
    )
    if count:
        table = offset_table(zone, int(instants_us.min()), int(instants_us.max()))
        _fill(to_read(instants_us), table, day_numbers(holidays), times)
    return times


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - _EPOCH_ORDINAL


def date_of(number: int) -> date:
    """The date that is so many days after 1970-01-01."""
    return date.fromordinal(number + _EPOCH_ORDINAL)


def day_numbers(days: Collection[date]) -> NDArray[np.int64]:
    """Distinct dates as ascending numbers of days since 1970-01-01, int64."""
    return np.array(sorted({day_number(day) for day in days}), dtype=np.int64)


@inlined_kernel
def month_of_day(day: int) -> int:
    """Month of a date, both counted from 1970-01, in the proleptic Gregorian calendar.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    shifted = day + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    # Years begin in March here.
    return (year_of_era + era * 400) * 12 + (5 * day_of_year + 2) // 153 + 2 - 1_970 * 12


@inlined_kernel
def class_of_day(day: int, holidays: NDArray[np.int64]) -> int:
    """The `DayClass` of a date (days since 1970-01-01); `holidays` are ascending, in the same count."""
    low, high = 0, len(holidays)
    while low < high:
        middle = (low + high) // 2
        if holidays[middle] < day:
            low = middle + 1
        else:
            high = middle
    if low < len(holidays) and holidays[low] == day:
        return 3
    weekday = (day + _EPOCH_WEEKDAY) % 7
    return weekday - _SATURDAY + 1 if weekday >= _SATURDAY else 0


@kernel
def _fill(instants: NDArray[np.int64], table: OffsetTable, holidays: NDArray[np.int64], times: LocalTimes) -> None:
    piece = 0
    day_start = np.int64(0)
    day_end = np.int64(0)
    day = np.int64(0)
    month = np.int64(0)
    day_class = np.int64(0)
    for row in range(len(instants)):
        instant = instants[row]
        if instant < table.starts_us[piece] or (
            piece + 1 < len(table.starts_us) and instant >= table.starts_us[piece + 1]
        ):
            low, high = 0, len(table.starts_us)
            while high - low > 1:
                middle = (low + high) // 2
                if table.starts_us[middle] <= instant:
                    low = middle
                else:
                    high = middle
            piece = low
        wall = instant + table.offset_us[piece]
        if wall < day_start or wall >= day_end:
            day = wall // DAY_US
            day_start = day * DAY_US
            day_end = day_start + DAY_US
            month = np.int64(month_of_day(day))
            day_class = np.int64(class_of_day(day, holidays))
        times.wall_us[row] = wall
        times.day[row] = day
        times.month[row] = month
        times.day_class[row] = day_class
        times.is_dst[row] = table.is_dst[piece]
