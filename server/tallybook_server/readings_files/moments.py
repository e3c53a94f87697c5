"""Times as texts (ISO 8601) to instants, and wall times to instants of a zone, without an object a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar.offsets import offset_table
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.text import Index
from tallybook_server.readings_files.numbers import Bytes, Positions

_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_MINUTE_US = 60_000_000
_SECOND_US = 1_000_000
_FRACTION_DIGITS = 6
_OFFSET_MINUTES_MAX = 24 * 60
_BROKEN = -1


class Moments(NamedTuple):
    """n times as written."""

    times_us: NDArray[np.int64]
    """[n] microseconds since the epoch: an instant, or where no offset is written the wall time as if it were UTC."""
    is_naive: NDArray[np.bool_]
    """[n] whether no offset is written."""
    is_wrong: NDArray[np.bool_]
    """[n] whether it is no time."""

    def at(self, rows: Positions) -> Moments:
        """Those of some rows."""
        return Moments(self.times_us[rows], self.is_naive[rows], self.is_wrong[rows])


def parse_moments(data: Bytes, starts: Positions, ends: Positions) -> Moments:
    """Times that ``data[starts[i]:ends[i]]`` write: a date, "T" or a space, hours and minutes, then as one likes
    seconds, their decimals (at most 6 that are not 0) and "Z" or an offset. 24:00 is the next midnight. A date alone is
    its midnight.
    """
    count = len(starts)
    moments = Moments(np.zeros(count, np.int64), np.zeros(count, np.bool_), np.zeros(count, np.bool_))
    _parse(data, starts, ends, moments.times_us, moments.is_naive, moments.is_wrong)
    return moments


class LocalInstants(NamedTuple):
    """Instants of wall times in a zone."""

    first_us: NDArray[np.int64]
    """[n] the instant, or the first of two; meaningless where `is_skipped`."""
    second_us: NDArray[np.int64]
    """[n] the second of two where the wall time occurs twice, else the same."""
    is_skipped: NDArray[np.bool_]
    """[n] whether clocks jump over it."""


def local_instants(zone: str, walls_us: NDArray[np.int64]) -> LocalInstants:
    """Raises `zones.UnknownZone`, and ValueError for wall times outside of the years that have a table."""
    if not len(walls_us):
        return LocalInstants(walls_us, walls_us, np.zeros(0, np.bool_))
    table = offset_table(zone, int(walls_us.min()), int(walls_us.max()))
    wall_ends = np.append(table.starts_us[1:], table.end_us) + table.offset_us
    wall_starts = table.starts_us + table.offset_us
    last = len(wall_ends) - 1
    # Clocks going back let the next piece begin, on the wall, before this one ends.
    first = np.minimum(np.searchsorted(np.maximum.accumulate(wall_ends), walls_us, side="right"), last)
    second = np.minimum(first + 1, last)
    second = np.where(walls_us >= wall_starts[second], second, first)
    return LocalInstants(
        walls_us - table.offset_us[first], walls_us - table.offset_us[second], walls_us < wall_starts[first]
    )


@inlined_kernel
def _digits(data: Bytes, position: Index, count: Index, end: Index) -> Index:
    """The number that so many digits write; `_BROKEN` if they are none."""
    if position + count > end:
        return _BROKEN
    number = np.int64(0)
    for at in range(position, position + count):
        digit = np.int64(data[at]) - 48
        if digit < 0 or digit > 9:
            return _BROKEN
        number = number * 10 + digit
    return number


@inlined_kernel
def _day_number(year: Index, month: Index, day: Index) -> Index:
    """Days since 1970-01-01. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil."""
    shifted = year - (month <= 2)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


@inlined_kernel
def _month_days(year: Index, month: Index) -> Index:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@kernel
def _parse(
    data: Bytes,
    starts: Positions,
    ends: Positions,
    times: NDArray[np.int64],
    is_naive: NDArray[np.bool_],
    is_wrong: NDArray[np.bool_],
) -> None:
    for row in range(len(starts)):
        position, end = starts[row], ends[row]
        while position < end and data[position] == ord(" "):
            position += 1
        while position < end and data[end - 1] == ord(" "):
            end -= 1
        is_wrong[row] = True
        year = _digits(data, position, 4, end)
        month = _digits(data, position + 5, 2, end)
        day = _digits(data, position + 8, 2, end)
        if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
            continue
        if data[position + 4] != ord("-") or data[position + 7] != ord("-"):
            continue
        time = _day_number(year, month, day) * _DAY_US
        position += 10
        if position == end:
            times[row], is_naive[row], is_wrong[row] = time, True, False
            continue
        if data[position] != ord("T") and data[position] != ord(" "):
            continue
        hour = _digits(data, position + 1, 2, end)
        minute = _digits(data, position + 4, 2, end)
        if hour < 0 or hour > 24 or minute < 0 or minute > 59 or data[position + 3] != ord(":"):
            continue
        within = hour * _HOUR_US + minute * _MINUTE_US
        position += 6
        if position < end and data[position] == ord(":"):
            second = _digits(data, position + 1, 2, end)
            if second < 0 or second > 59:
                continue
            within += second * _SECOND_US
            position += 3
            if position < end and data[position] == ord("."):
                position += 1
                unit = np.int64(_SECOND_US)
                fraction_count = 0
                is_fine = True
                while position < end and ord("0") <= data[position] <= ord("9"):
                    digit = np.int64(data[position]) - 48
                    unit //= 10
                    within += digit * unit
                    fraction_count += 1
                    if fraction_count > _FRACTION_DIGITS and digit != 0:
                        is_fine = False
                    position += 1
                if fraction_count == 0 or not is_fine:
                    continue
        if within > _DAY_US:
            continue
        time += within
        if position == end:
            times[row], is_naive[row], is_wrong[row] = time, True, False
            continue
        if data[position] == ord(" "):
            position += 1
        if position + 1 == end and (data[position] == ord("Z") or data[position] == ord("z")):
            times[row], is_wrong[row] = time, False
            continue
        if position == end or (data[position] != ord("+") and data[position] != ord("-")):
            continue
        sign = 1 if data[position] == ord("+") else -1
        hours = _digits(data, position + 1, 2, end)
        position += 3
        minutes = np.int64(0)
        if position < end:
            if data[position] == ord(":"):
                position += 1
            minutes = _digits(data, position, 2, end)
            position += 2
        if position != end or hours < 0 or minutes < 0 or minutes > 59:
            continue
        if hours * 60 + minutes >= _OFFSET_MINUTES_MAX:
            continue
        times[row], is_wrong[row] = time - sign * (hours * 60 + minutes) * _MINUTE_US, False
