"""Billing periods: the cases of streamOS, the clamped day, the exclusive end, what the contract's dates clip."""

from datetime import date
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tallybook_oracle.calendar as oracle
from tallybook_engine.calendar.billing_dates import billing_periods
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit


def whole_starts(basis, interval, unit, start, end, count=100):
    frequency = Frequency(Basis[basis], interval, PeriodUnit[unit])
    end = end and date.fromisoformat(end)
    found = list(islice(billing_periods(frequency, date.fromisoformat(start), end, "UTC"), count))
    return [str(each.whole_start_date) for each in found] + [str(found[-1].whole_end_date)]


@pytest.mark.parametrize(
    ("basis", "interval", "unit", "start", "end", "boundaries"),
    [
        # streamOS, billing dates: the same contract under both types.
        ("CONTRACT", 2, "MONTH", "2024-11-26", "2025-11-26",
         ["2024-11-26", "2025-01-26", "2025-03-26", "2025-05-26", "2025-07-26", "2025-09-26", "2025-11-26"]),
        ("CALENDAR", 2, "MONTH", "2024-11-26", "2025-11-26",
         ["2024-11-01", "2025-01-01", "2025-03-01", "2025-05-01", "2025-07-01", "2025-09-01", "2025-11-01",
          "2026-01-01"]),
        # The day is clamped to the month, counted from the anchor each time.
        ("CONTRACT", 1, "MONTH", "2024-01-31", "2024-05-01",
         ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]),
        ("CONTRACT", 1, "YEAR", "2024-02-29", "2026-02-28", ["2024-02-29", "2025-02-28", "2026-02-28"]),
        ("CALENDAR", 1, "YEAR", "2024-02-29", "2025-01-02", ["2024-01-01", "2025-01-01", "2026-01-01"]),
        ("CALENDAR", 1, "WEEK", "2024-11-27", "2024-12-09", ["2024-11-25", "2024-12-02", "2024-12-09"]),
        ("CONTRACT", 10, "DAY", "2024-02-25", "2024-03-07", ["2024-02-25", "2024-03-06", "2024-03-16"]),
    ],
)  # fmt: skip
def test_boundaries(basis, interval, unit, start, end, boundaries):
    assert whole_starts(basis, interval, unit, start, end) == boundaries


def test_the_contract_clips_its_first_and_last_period():
    monthly = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
    first, *_, last = billing_periods(monthly, date(2024, 1, 10), date(2024, 3, 5), "Europe/Amsterdam")
    assert (first.start_date, first.end_date, first.whole_start_date) == (
        date(2024, 1, 10),
        date(2024, 2, 1),
        date(2024, 1, 1),
    )
    assert (first.day_count, first.whole_day_count) == (22, 31)
    assert (last.start_date, last.end_date, last.whole_end_date) == (
        date(2024, 3, 1),
        date(2024, 3, 5),
        date(2024, 4, 1),
    )
    assert (last.day_count, last.whole_day_count) == (4, 31)
    # 2024-01-10 begins at 23:00 UTC of the day before
    assert first.start_us == 1_704_841_200_000_000


def test_a_date_that_a_zone_skipped_is_no_period():
    daily = Frequency(Basis.CONTRACT, 1, PeriodUnit.DAY)
    found = list(billing_periods(daily, date(2011, 12, 28), date(2012, 1, 1), "Pacific/Apia"))
    assert [each.start_date.day for each in found] == [28, 29, 31]


def test_the_calendar_ends_an_endless_contract():
    yearly = Frequency(Basis.CONTRACT, 1000, PeriodUnit.YEAR)
    assert len(list(billing_periods(yearly, date(2000, 1, 1), None, "UTC"))) == 8


@given(
    basis=st.sampled_from(Basis),
    unit=st.sampled_from(PeriodUnit),
    interval=st.integers(1, 400),
    start=st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    length_days=st.integers(1, 4000),
    from_days=st.integers(-100, 5000),
)
def test_periods_are_the_oracles_and_tile_the_contract(basis, unit, interval, start, length_days, from_days):
    end = date.fromordinal(start.toordinal() + length_days)
    frequency = Frequency(basis, interval, unit)
    found = list(billing_periods(frequency, start, end, "UTC"))
    assert (found[0].start_date, found[-1].end_date) == (start, end)
    assert all(one.end_date == other.start_date for one, other in pairwise(found))
    anchor = oracle.anchor(basis.value, unit.value, start)
    assert [each.whole_start_date for each in found] == [
        oracle.boundary_date(unit.value, interval, anchor, index) for index in range(len(found))
    ]
    # From a day on it is the same list without what ends before.
    from_date = date.fromordinal(max(start.toordinal() + from_days, 1))
    later = list(billing_periods(frequency, start, end, "UTC", from_date))
    assert later == [each for each in found if each.whole_end_date > from_date]
