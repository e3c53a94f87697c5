"""Periods: counted from the anchor, half-open, in the contract's zone."""

from datetime import date, datetime, timedelta

import numpy as np
import pytest

from tallybook_engine.calendar.periods import (
    FIRST_DATE,
    LAST_DATE,
    anchor_date,
    boundaries,
    boundary,
    boundary_date,
    period_at,
)
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit

CALENDAR, CONTRACT = Basis.CALENDAR, Basis.CONTRACT
DAY, WEEK, MONTH, YEAR = PeriodUnit
HOUR_US = 3_600_000_000


def instant(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("basis", "interval", "unit", "start", "expected"),
    [
        # A contract of 2024-11-26..2025-11-26, every 2 months: streamOS's own example of both billing types.
        (
            CONTRACT,
            2,
            MONTH,
            "2024-11-26",
            "2024-11-26 2025-01-26 2025-03-26 2025-05-26 2025-07-26 2025-09-26 2025-11-26",
        ),
        (
            CALENDAR,
            2,
            MONTH,
            "2024-11-26",
            "2024-11-01 2025-01-01 2025-03-01 2025-05-01 2025-07-01 2025-09-01 2025-11-01",
        ),
        pytest.param(
            CONTRACT, 1, MONTH, "2023-01-31", "2023-01-31 2023-02-28 2023-03-31 2023-04-30", id="clamped to the month"
        ),
        pytest.param(CONTRACT, 1, MONTH, "2024-01-30", "2024-01-30 2024-02-29 2024-03-30", id="a leap February"),
        pytest.param(
            CONTRACT, 1, YEAR, "2024-02-29", "2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29", id="a leap day"
        ),
        (CALENDAR, 1, YEAR, "2024-11-26", "2024-01-01 2025-01-01 2026-01-01"),
        pytest.param(
            CALENDAR, 1, WEEK, "2024-11-28", "2024-11-25 2024-12-02 2024-12-09", id="ISO weeks begin on Monday"
        ),
        pytest.param(CALENDAR, 2, WEEK, "2024-11-25", "2024-11-25 2024-12-09", id="a Monday stays"),
        (CONTRACT, 1, WEEK, "2024-11-28", "2024-11-28 2024-12-05 2024-12-12"),
        (CALENDAR, 10, DAY, "2024-11-26", "2024-11-26 2024-12-06 2024-12-16"),
    ],
)
def test_boundaries_are_counted_from_the_anchor(basis, interval, unit, start, expected):
    frequency = Frequency(basis, interval, unit)
    anchor = anchor_date(frequency, date.fromisoformat(start))
    days = expected.split()
    assert [boundary_date(frequency, anchor, index).isoformat() for index in range(len(days))] == days


def test_boundaries_before_the_anchor():
    monthly = Frequency(CONTRACT, 1, MONTH)
    assert boundary_date(monthly, date(2023, 3, 31), -1) == date(2023, 2, 28)
    assert boundary_date(monthly, date(2023, 3, 31), -3) == date(2022, 12, 31)


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2023-03-26", 23), ("2023-06-01", 24), ("2023-10-29", 25)],
)
def test_a_day_is_as_long_as_the_zone_makes_it(day, hours):
    daily = Frequency(CALENDAR, 1, DAY)
    start = midnight("Europe/Amsterdam", date.fromisoformat(day))
    # When the period of its first and of its last instant is asked
    first = period_at(daily, date(2023, 1, 1), "Europe/Amsterdam", start)
    last = period_at(daily, date(2023, 1, 1), "Europe/Amsterdam", start + hours * HOUR_US - 1)
    # Then both are the whole day
    assert first == last == (start, start + hours * HOUR_US)


@pytest.mark.parametrize(
    ("moment", "start", "end"),
    [
        ("2013-01-31T23:59:59.999999-05:00", "2013-01-01T00:00:00-05:00", "2013-02-01T00:00:00-05:00"),
        ("2013-02-01T00:00:00-05:00", "2013-02-01T00:00:00-05:00", "2013-03-01T00:00:00-05:00"),
        pytest.param(
            "2013-04-01T03:59:59Z",
            "2013-03-01T00:00:00-05:00",
            "2013-04-01T00:00:00-04:00",
            id="March is an hour shorter",
        ),
        pytest.param(
            "2012-06-15T12:00:00Z", "2012-06-01T00:00:00-04:00", "2012-07-01T00:00:00-04:00", id="before the anchor"
        ),
    ],
)
def test_periods_are_half_open(moment, start, end):
    found = period_at(Frequency(CALENDAR, 1, MONTH), date(2013, 1, 1), "America/New_York", instant(moment))
    assert found == (instant(start), instant(end))


def test_a_date_that_a_zone_leaves_out_has_no_period():
    daily = Frequency(CALENDAR, 1, DAY)
    before, after = (midnight("Pacific/Apia", date(2011, 12, day)) for day in (29, 31))
    assert period_at(daily, date(2011, 1, 1), "Pacific/Apia", after - 1) == (before, after)
    assert period_at(daily, date(2011, 1, 1), "Pacific/Apia", after)[0] == after
    assert boundaries(daily, date(2011, 1, 1), "Pacific/Apia", after - 1, after).tolist() == [
        before,
        after,
        midnight("Pacific/Apia", date(2012, 1, 1)),
    ]


def test_boundaries_place_a_column_of_instants():
    monthly = Frequency(CALENDAR, 1, MONTH)
    first, last = instant("2013-01-15T00:00:00Z"), instant("2013-12-31T23:00:00-05:00")
    found = boundaries(monthly, date(2013, 1, 1), "America/New_York", first, last)
    assert len(found) == 13
    assert found.dtype == np.int64
    instants = np.linspace(first, last, 500).astype(np.int64)
    for moment, place in zip(instants.tolist(), (np.searchsorted(found, instants, "right") - 1).tolist(), strict=True):
        expected = period_at(monthly, date(2013, 1, 1), "America/New_York", moment)
        assert (found[place], found[place + 1]) == expected


def test_boundaries_end_after_the_last_instant():
    daily = Frequency(CALENDAR, 1, DAY)
    start = midnight("UTC", date(2024, 1, 1))
    assert boundaries(daily, date(2024, 1, 1), "UTC", start, start).tolist() == [start, start + 24 * HOUR_US]
    assert len(boundaries(daily, date(2024, 1, 1), "UTC", start, start + 24 * HOUR_US)) == 3
    with pytest.raises(ValueError, match="before the first"):
        boundaries(daily, date(2024, 1, 1), "UTC", start, start - 1)


@pytest.mark.parametrize("unit", list(PeriodUnit))
def test_the_ends_of_the_calendar(unit):
    frequency = Frequency(CALENDAR, 1_000, unit)
    first, last = (midnight("Asia/Tokyo", day) for day in (FIRST_DATE, LAST_DATE))
    # Given instants just inside, then there is a period
    assert period_at(frequency, date(2024, 1, 1), "Asia/Tokyo", first)[0] == first
    assert period_at(frequency, date(2024, 1, 1), "Asia/Tokyo", last - 1)[1] == last
    # Given instants just outside, then there is an error
    for outside in (first - 1, last):
        with pytest.raises(ValueError, match="is outside"):
            period_at(frequency, date(2024, 1, 1), "Asia/Tokyo", outside)


def test_boundary_is_the_first_instant_of_its_date():
    monthly = Frequency(CONTRACT, 1, MONTH)
    assert boundary(monthly, date(2018, 10, 4), "America/Sao_Paulo", 1) == instant("2018-11-04T01:00:00-02:00")


def test_half_hourly_days_have_46_48_and_50_intervals():
    daily = Frequency(CALENDAR, 1, DAY)
    found = boundaries(
        daily, date(2024, 1, 1), "Europe/London", instant("2024-01-01T00:00:00Z"), instant("2024-12-31T12:00:00Z")
    )
    lengths, counts = np.unique(np.diff(found) // (HOUR_US // 2), return_counts=True)
    assert dict(zip(lengths.tolist(), counts.tolist(), strict=True)) == {46: 1, 48: 364, 50: 1}
    assert timedelta(microseconds=int(found[-1] - found[0])) == timedelta(days=366)
