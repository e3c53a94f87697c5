"""Periods once more: dates counted one by one, first instants found by looking at every minute."""

from __future__ import annotations

import importlib.resources
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

DAY_UNITS = {"DAY": 1, "WEEK": 7}
MONTH_UNITS = {"MONTH": 1, "YEAR": 12}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def zone(name: str) -> ZoneInfo:
    """A zone of the tzdata package."""
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


@cache
def first_instant(zone_name: str, day: date) -> int:
    """First instant of a local date, microseconds since the epoch: the first one whose date there is no earlier."""
    here = zone(zone_name)
    instant = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=26)
    while instant.astimezone(here).date() < day:
        instant += timedelta(minutes=1)
    instant -= timedelta(minutes=1)
    while instant.astimezone(here).date() < day:
        instant += timedelta(seconds=1)
    return int((instant - _EPOCH) / timedelta(microseconds=1))


def anchor(basis: str, unit: str, contract_start: date) -> date:
    """Where the boundaries are counted from."""
    day = contract_start
    if basis == "CALENDAR":
        while not (
            unit == "DAY"
            or (unit == "WEEK" and day.isoweekday() == 1)
            or (unit == "MONTH" and day.day == 1)
            or (unit == "YEAR" and (day.month, day.day) == (1, 1))
        ):
            day -= timedelta(days=1)
    return day


def boundary_date(unit: str, interval: int, anchored_at: date, index: int) -> date:
    """Boundary `index`, at least 0: that many intervals after the anchor, the day clamped to the month."""
    if unit in DAY_UNITS:
        day = anchored_at
        for _ in range(index * interval * DAY_UNITS[unit]):
            day += timedelta(days=1)
        return day
    year, month = anchored_at.year, anchored_at.month
    for _ in range(index * interval * MONTH_UNITS[unit]):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    day_of_month = anchored_at.day
    while True:
        try:
            return date(year, month, day_of_month)
        except ValueError:
            day_of_month -= 1


def period(
    basis: str, unit: str, interval: int, contract_start: date, zone_name: str, instant_us: int
) -> tuple[int, int]:
    """The period (start, end) that holds an instant at or after the contract's start."""
    anchored_at = anchor(basis, unit, contract_start)
    index = 0
    while True:
        start, end = (
            first_instant(zone_name, boundary_date(unit, interval, anchored_at, k)) for k in (index, index + 1)
        )
        if start <= instant_us < end:
            return start, end
        index += 1
