"""Local time once more: each instant by itself, and daylight saving time by looking at every hour of its year."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache

from tallybook_oracle.calendar import first_instant, zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


def wall(zone_name: str, instant_us: int) -> datetime:
    """Local wall time of an instant."""
    return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(zone(zone_name))


@cache
def _offsets_of_year(zone_name: str, year: int) -> tuple[timedelta, bool]:
    """The smallest offset of a local year, and whether its marks of daylight saving time change."""
    at, end = first_instant(zone_name, date(year, 1, 1)), first_instant(zone_name, date(year + 1, 1, 1))
    offsets, marks = set(), set()
    while at < end:
        here = wall(zone_name, at)
        offsets.add(here.utcoffset() or timedelta(0))
        marks.add(here.dst())
        at += HOUR_US
    return min(offsets), len(marks) > 1


def is_dst(zone_name: str, instant_us: int) -> bool:
    """Whether the offset is above the smallest of its local year, in a year in which the marks change."""
    here = wall(zone_name, instant_us)
    # A year begins at the first instant of 1 January, also where the clock shows an earlier date once more.
    year = here.year
    if instant_us >= first_instant(zone_name, date(year + 1, 1, 1)):
        year += 1
    smallest, changes = _offsets_of_year(zone_name, year)
    return changes and (here.utcoffset() or timedelta(0)) > smallest


def day_class(day: date, holidays: frozenset[date]) -> str:
    """HOLIDAY, SUNDAY, SATURDAY or WEEKDAY."""
    if day in holidays:
        return "HOLIDAY"
    return {5: "SATURDAY", 6: "SUNDAY"}.get(day.weekday(), "WEEKDAY")


def month_starts(zone_name: str, start_us: int, end_us: int) -> list[int]:
    """First instants of the local months that begin inside of a period, its own start first."""
    day = wall(zone_name, start_us).date().replace(day=1) - timedelta(days=1)
    starts = [start_us]
    while True:
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        at = first_instant(zone_name, day)
        if at >= end_us:
            return starts
        if at > start_us and at != starts[-1]:
            starts.append(at)
