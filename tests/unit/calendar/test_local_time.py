"""Local time in bulk: odd zones, odd days, and the table behind it."""

from __future__ import annotations

import importlib.resources
import struct
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest
from tests.support.energy.cases import instant_us

from tallybook_engine.calendar.local_time import DAY_US, DayClass, date_of, day_number, local_times
from tallybook_engine.calendar.months import day_bounds, month_bounds
from tallybook_engine.calendar.offsets import FIRST_YEAR, LAST_YEAR, SAMPLE_STEP, offset_table
from tallybook_engine.calendar.zones import UnknownZone, zone_names

HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("zone", "instant", "wall", "is_dst"),
    [
        ("Europe/Amsterdam", "2025-03-30T00:59:59Z", "2025-03-30T01:59:59", False),
        ("Europe/Amsterdam", "2025-03-30T01:00:00Z", "2025-03-30T03:00:00", True),
        ("Europe/Amsterdam", "2025-10-26T00:30:00Z", "2025-10-26T02:30:00", True),
        ("Europe/Amsterdam", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00", False),
        # tzdata marks Dublin's winter, with a negative saving
        ("Europe/Dublin", "2025-01-15T12:00:00Z", "2025-01-15T12:00:00", False),
        ("Europe/Dublin", "2025-07-15T12:00:00Z", "2025-07-15T13:00:00", True),
        # Half an hour of summer time
        ("Australia/Lord_Howe", "2025-04-05T14:59:00Z", "2025-04-06T01:59:00", True),
        ("Australia/Lord_Howe", "2025-04-05T15:00:00Z", "2025-04-06T01:30:00", False),
        # The offset moved, and no daylight saving time began
        ("America/Caracas", "2016-05-01T06:59:00Z", "2016-05-01T02:29:00", False),
        ("America/Caracas", "2016-05-01T07:00:00Z", "2016-05-01T03:00:00", False),
        # Morocco's marked winter is Ramadan
        ("Africa/Casablanca", "2025-03-10T12:00:00Z", "2025-03-10T12:00:00", False),
        ("Africa/Casablanca", "2025-07-10T12:00:00Z", "2025-07-10T13:00:00", True),
        # A midnight that does not exist
        ("America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03T23:59:59", False),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-04T01:00:00", True),
        # A year without a change has no daylight saving time, though the one before had
        ("America/Sao_Paulo", "2020-01-15T12:00:00Z", "2020-01-15T09:00:00", False),
        ("Asia/Kathmandu", "2024-02-28T18:15:00Z", "2024-02-29T00:00:00", False),
        ("Africa/Monrovia", "1971-06-01T00:44:30Z", "1971-06-01T00:00:00", False),
        # tzdata says what is to come by a rule
        ("America/New_York", "2099-07-01T12:00:00Z", "2099-07-01T08:00:00", True),
    ],
)
def test_wall_time_and_daylight_saving_time(zone, instant, wall, is_dst):
    found = local_times(zone, np.array([instant_us(instant)], dtype=np.int64))
    assert (found.wall_us[0], found.is_dst[0]) == (instant_us(wall), is_dst)
    moment = datetime.fromisoformat(wall).replace(tzinfo=UTC)
    assert date_of(int(found.day[0])) == moment.date()
    assert found.month[0] == (moment.year - 1970) * 12 + moment.month - 1


def test_order_does_not_matter():
    instants = np.arange(instant_us("2010-01-01"), instant_us("2020-01-01"), 7 * HOUR_US)
    found = local_times("Europe/Lisbon", instants)
    order = np.random.default_rng(1).permutation(len(instants))
    shuffled = local_times("Europe/Lisbon", instants[order])
    for column, other in zip(found, shuffled, strict=True):
        assert np.array_equal(np.asarray(column)[order], np.asarray(other))
    assert len(local_times("Europe/Lisbon", instants[:0]).day) == 0


def test_a_holiday_is_one_on_any_day_of_the_week():
    week = np.arange(instant_us("2024-12-30"), instant_us("2025-01-06"), DAY_US)
    found = local_times("UTC", week, [date(2025, 1, 1), date(2025, 1, 4), date(2025, 1, 1)])
    assert [DayClass(each).name for each in found.day_class] == [
        "WEEKDAY",
        "WEEKDAY",
        "HOLIDAY",
        "WEEKDAY",
        "WEEKDAY",
        "HOLIDAY",
        "SUNDAY",
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Amsterdam", "2025-03-30", 23),
        ("Europe/Amsterdam", "2025-10-26", 25),
        ("Australia/Lord_Howe", "2025-10-05", 23.5),
        ("Australia/Lord_Howe", "2025-04-06", 24.5),
        ("America/Caracas", "2016-05-01", 23.5),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("Europe/Amsterdam", "2024-02-29", 24),
    ],
)
def test_days_are_as_long_as_the_zone_makes_them(zone, day, hours):
    noon = instant_us(f"{day}T12:00:00")
    number = day_number(date.fromisoformat(day))
    bounds = day_bounds(zone, noon - 2 * DAY_US, noon + 2 * DAY_US).tolist()
    (length,) = [
        (end - start) / HOUR_US
        for start, end in pairwise(bounds)
        if local_times(zone, np.array([start], dtype=np.int64)).day[0] == number
    ]
    assert length == hours


def test_months_are_partial_at_the_ends():
    start, end = instant_us("2024-01-31T12:00Z"), instant_us("2024-04-01T12:00Z")
    assert month_bounds("Europe/Amsterdam", start, end).tolist() == [
        start,
        instant_us("2024-01-31T23:00Z"),
        instant_us("2024-02-29T23:00Z"),
        instant_us("2024-03-31T22:00Z"),
        end,
    ]
    assert month_bounds("Europe/Amsterdam", start, start + 1).tolist() == [start, start + 1]
    with pytest.raises(ValueError, match="empty"):
        month_bounds("Europe/Amsterdam", start, start)


def test_years_and_zones_that_have_no_table_are_refused():
    with pytest.raises(UnknownZone):
        offset_table("Europe/Atlantis", 0, 0)
    for year in (FIRST_YEAR - 1, LAST_YEAR + 1):
        moment = int((datetime(year, 7, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**6
        with pytest.raises(ValueError, match="years"):
            offset_table("Europe/Amsterdam", moment, moment)
    for instant in (-(2**62), 2**62):
        with pytest.raises(ValueError, match="years"):
            local_times("Europe/Amsterdam", np.array([instant], dtype=np.int64))


def test_no_zone_keeps_an_offset_for_less_than_the_step_that_it_is_asked_at():
    """A shorter one could be stepped over: the compiled zones say that there is none."""
    for name in zone_names():
        for first, last in pairwise(compiled_changes(name)):
            assert last - first > SAMPLE_STEP.total_seconds(), name


def compiled_changes(name: str) -> list[int]:
    """Instants of changes of offset or mark in a compiled zone (RFC 8536, version 2), in seconds."""
    data = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    first = struct.unpack(">6l", data[20:44])
    skip = 44 + first[3] * 5 + first[4] * 6 + first[5] + first[2] * 8 + first[1] + first[0]
    header = struct.unpack(">6l", data[skip + 20 : skip + 44])
    at = skip + 44
    count, type_count = header[3], header[4]
    instants = struct.unpack(f">{count}q", data[at : at + 8 * count])
    indexes = data[at + 8 * count : at + 9 * count]
    types = [
        struct.unpack(">lB", data[offset : offset + 5])
        for offset in range(at + 9 * count, at + 9 * count + 6 * type_count, 6)
    ]
    return [
        instant
        for position, (instant, index) in enumerate(zip(instants, indexes, strict=True))
        if position == 0 or types[index] != types[indexes[position - 1]]
    ]
