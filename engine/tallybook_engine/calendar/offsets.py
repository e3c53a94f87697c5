"""A zone's offsets from UTC as a table, so that millions of instants become local time without a library call a row.

The table is found by asking `zoneinfo` (the pinned `tzdata`, see `calendar.zones`) what it says at sparse instants and
halving the gap wherever two answers differ, once a zone and year.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.calendar import zones

FIRST_YEAR = 3
"""First local year that has a table: room for any zone's offset before it."""
LAST_YEAR = 9997
"""Last local year that has a table: room for any zone's offset after it."""
SAMPLE_STEP = timedelta(hours=72)
"""How far apart `zoneinfo` is asked. No zone keeps an offset for less than 166 hours between two others; a test that
reads the compiled zones says so of the pinned data."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_DAY_US = 86_400_000_000


class OffsetTable(NamedTuple):
    """A zone's time over whole local years, as k pieces in which offset and DST do not change; kernels read it.

    A new piece begins wherever the offset or tzdata's mark changes, and with each local year.
    """

    starts_us: NDArray[np.int64]
    """[k] first instant of each piece, microseconds since the epoch, ascending."""
    offset_us: NDArray[np.int64]
    """[k] what is added to an instant to get local wall time, microseconds."""
    is_dst: NDArray[np.bool_]
    """[k] whether daylight saving time holds, by the rule of `offset_table`."""
    end_us: int
    """The first instant after the last piece."""


def offset_table(zone: str, first_us: int, last_us: int) -> OffsetTable:
    """The table of an IANA zone that holds both instants, and every instant a day around them.

    DST holds where the offset is above the smallest of its local year, in years in which tzdata marks a change of DST.
    So Dublin's inverted mark and Casablanca's fast become the summer time that they are, and Caracas, which moved its
    offset in 2016 without a mark, has none. Years are the local ones, from the first instant of 1 January.

    Raises `zones.UnknownZone`, and ValueError outside of the local years `FIRST_YEAR` to `LAST_YEAR`.
    """
    first_year, last_year = _year(first_us - _DAY_US), _year(last_us + _DAY_US)
    if not FIRST_YEAR <= first_year <= last_year <= LAST_YEAR:
        raise ValueError(f"instants {first_us} .. {last_us} are not within the years {FIRST_YEAR} .. {LAST_YEAR}")
    return _table(zone, first_year, last_year)


@lru_cache(maxsize=4_096)
def _table(zone: str, first_year: int, last_year: int) -> OffsetTable:
    # Local time is a day ahead or behind at most, so a year's pieces lie in three UTC years.
    changes: list[tuple[int, int, int]] = []
    for year in range(first_year - 1, last_year + 2):
        for change in _changes(zone, year):
            if not changes or change[1:] != changes[-1][1:]:
                changes.append(change)
    starts: list[int] = []
    offsets: list[int] = []
    flags: list[bool] = []
    for year in range(first_year, last_year + 1):
        start, end = zones.midnight(zone, date(year, 1, 1)), zones.midnight(zone, date(year + 1, 1, 1))
        inside = [
            (max(start, at), offset, dst)
            for (at, offset, dst), (following, _, _) in pairwise([*changes, (end, 0, 0)])
            if at < end and following > start
        ]
        smallest = min(offset for _, offset, _ in inside)
        is_marked = len({dst for _, _, dst in inside}) > 1
        for at, offset, _ in inside:
            is_dst = is_marked and offset > smallest
            starts.append(at)
            offsets.append(offset)
            flags.append(is_dst)
    columns = np.array(starts, np.int64), np.array(offsets, np.int64), np.array(flags, np.bool_)
    for column in columns:
        column.flags.writeable = False
    return OffsetTable(*columns, zones.midnight(zone, date(last_year + 1, 1, 1)))


@lru_cache(maxsize=1 << 16)
def _changes(zone: str, year: int) -> tuple[tuple[int, int, int], ...]:
    """(instant, offset, mark) of the start of a UTC year and of each change inside it, microseconds."""
    here = zones.zone(zone)
    at, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    state = _state(at.astimezone(here))
    found = [(at, *state)]
    while at < end:
        following = min(at + SAMPLE_STEP, end)
        following_state = _state(following.astimezone(here))
        if following_state != state:
            low, high = at, following
            while high - low > _SECOND:
                middle = low + (high - low) // (2 * _SECOND) * _SECOND
                if _state(middle.astimezone(here)) == state:
                    low = middle
                else:
                    high = middle
            if high < end:
                found.append((high, *following_state))
        at, state = following, following_state
    return tuple(((moment - _EPOCH) // _MICROSECOND, offset, dst) for moment, offset, dst in found)


def _state(wall: datetime) -> tuple[int, int]:
    offset, dst = wall.utcoffset(), wall.dst()
    assert offset is not None, "a ZoneInfo always knows its offset"
    assert dst is not None, "a ZoneInfo always knows its mark"
    return offset // _MICROSECOND, dst // _MICROSECOND


def _year(instant_us: int) -> int:
    try:
        return (_EPOCH + timedelta(microseconds=instant_us)).year
    except OverflowError:
        return 0
