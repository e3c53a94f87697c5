"""Periods against the oracle, for any frequency, zone and instant."""

from datetime import UTC, date, datetime
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

import tallybook_oracle.calendar as oracle
from tallybook_engine.calendar.periods import anchor_date, boundaries, boundary_date, period_at
from tallybook_engine.calendar.zones import midnight, zone_names
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit

DAYS = st.dates(date(1900, 1, 1), date(2199, 12, 31))
ZONES = st.sampled_from(sorted(zone_names()))
BASES = st.sampled_from(Basis)


@given(ZONES, DAYS)
@example("America/Sao_Paulo", date(2018, 11, 4))
@example("America/Toronto", date(1919, 3, 31))
@example("America/St_Johns", date(2006, 10, 29))
@example("Pacific/Apia", date(2011, 12, 30))
@example("Africa/Monrovia", date(1972, 1, 7))
def test_a_date_begins_where_the_oracle_finds_it(zone, day):
    assert midnight(zone, day) == oracle.first_instant(zone, day)


@given(BASES, st.sampled_from(PeriodUnit), st.integers(1, 40), DAYS, st.integers(0, 30))
def test_boundaries_are_where_the_oracle_counts_them(basis, unit, interval, start, index):
    frequency = Frequency(basis, interval, unit)
    anchor = anchor_date(frequency, start)
    assert anchor == oracle.anchor(basis.value, unit.value, start)
    assert boundary_date(frequency, anchor, index) == oracle.boundary_date(unit.value, interval, anchor, index)


@given(
    BASES,
    # Fewer and longer periods of short units, so that the oracle has few to walk.
    st.sampled_from([(PeriodUnit.DAY, 97), (PeriodUnit.WEEK, 13), (PeriodUnit.MONTH, 5), (PeriodUnit.YEAR, 1)]),
    st.dates(date(1950, 1, 1), date(2090, 12, 31)),
    ZONES,
    st.integers(0, 5 * 366 * 86_400_000_000),
)
def test_an_instant_lies_in_the_period_that_the_oracle_finds(basis, unit_and_interval, start, zone, offset_us):
    unit, interval = unit_and_interval
    frequency = Frequency(basis, interval, unit)
    moment = midnight(zone, start) + offset_us
    found = period_at(frequency, anchor_date(frequency, start), zone, moment)
    assert found == oracle.period(basis.value, unit.value, interval, start, zone, moment)


@given(
    BASES,
    st.sampled_from(PeriodUnit),
    st.integers(1, 40),
    DAYS,
    ZONES,
    st.integers(-(10**15), 4 * 10**15),
    st.integers(0, 2 * 10**14),
)
def test_periods_tile_the_time(basis, unit, interval, start, zone, first_us, span_us):
    frequency = Frequency(basis, interval, unit)
    anchor = anchor_date(frequency, start)
    # Given every boundary from one instant to another
    found = boundaries(frequency, anchor, zone, first_us, first_us + span_us).tolist()
    # Then they ascend, hold both instants, and are the periods that each of their instants has
    assert found == sorted(set(found))
    assert found[0] <= first_us
    assert found[-2] <= first_us + span_us < found[-1]
    for period_start, period_end in list(pairwise(found))[:20]:
        for inside in (period_start, (period_start + period_end) // 2, period_end - 1):
            assert period_at(frequency, anchor, zone, inside) == (period_start, period_end)


@given(ZONES, st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_day_holds_the_instants_of_its_date(zone, moment):
    moment_us = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000
    start, end = period_at(Frequency(Basis.CALENDAR, 1, PeriodUnit.DAY), date(2000, 1, 1), zone, moment_us)
    assert start <= moment_us < end
    assert 0 < end - start <= 49 * 3_600_000_000
