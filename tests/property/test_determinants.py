"""Laws of billing determinants, and the engine against the oracle, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.energy.random_meters import (
    STATUSES,
    VALUELESS,
    RandomMeter,
    calendars,
    groups,
    meters,
    near_instants,
    zones,
)

from tallybook_engine.calendar.local_time import DayClass, date_of, local_times
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.determinants.accumulate import NO_ROW, Totals, accumulate, empty_totals
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    ChannelKind,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.interval import Frame, channel_totals, frame, period_frame, place
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes
from tallybook_engine.determinants.register import register_difference, register_row
from tallybook_oracle import determinants as oracle
from tallybook_oracle import local_time as oracle_time

DAY_US = 86_400_000_000


def oracle_rows(meter: RandomMeter) -> list[oracle.OracleReading]:
    readings = meter.readings
    return [
        oracle.OracleReading(
            readings.label(row),
            readings.length_us(row),
            Fraction(int(readings.values[row])),
            STATUSES[int(readings.quality[row])],
        )
        for row in range(readings.times.count)
    ]


def laid_out(meter: RandomMeter, group: TimesliceGroup | None = None, calendar: HolidayCalendar | None = None) -> Frame:
    return period_frame(meter.zone, meter.start_us, meter.end_us, group, calendar)


def totals_of(meter: RandomMeter, within: Frame, *, as_power: bool = False) -> Totals:
    return channel_totals(within, meter.readings, meter.classifier.label, DEFAULT_QUALITY, as_power=as_power)


def same(left: Totals, right: Totals) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@given(meters(), groups(), st.data(), st.booleans())
def test_totals_are_the_oracles_bit_for_bit(meter, group, data, as_power):
    calendar = data.draw(calendars(meter))
    within = laid_out(meter, group, calendar)
    found = totals_of(meter, within, as_power=as_power)
    windows = tuple(
        oracle.OracleWindow(each.channel, each.days.value, each.start_minute, each.end_minute, each.is_dst, each.months)
        for each in group.intervals
    )
    request = oracle.OracleRequest(
        meter.zone,
        meter.start_us,
        meter.end_us,
        meter.classifier.label.value,
        STATUSES,
        VALUELESS,
        windows,
        calendar.dates,
        as_power,
    )
    expected = oracle.determinants(request, oracle_rows(meter))
    assert max(month for month, _ in expected if month is not None) == within.cell_count - 1
    for cell in range(within.cell_count):
        for column, name in enumerate(within.columns):
            said = expected[(cell, oracle.TOTAL if name is None else name)]
            assert found.sum_of(0, cell, column) == said.total
            rows = found.row_count[0, cell, column]
            assert {STATUSES[code]: rows[code] for code in np.flatnonzero(rows)} == dict(said.by_status)
            assert DEFAULT_QUALITY.worst(rows) == said.worst(STATUSES)
            row = int(found.best_row[0, cell, column])
            if said.maximum is None:
                assert row == NO_ROW
                continue
            assert meter.readings.label(row) == said.maximum_label_us
            assert found.best_count[0, cell, column] == said.occurrences
            assert found.best_value[0, cell, column] == meter.readings.values[row]
            assert found.best_length_us[0, cell, column] == meter.readings.length_us(row)


@given(meters(), groups())
def test_parts_of_a_split_add_up_to_the_whole(meter, group):
    by_month = laid_out(meter, group)
    whole = frame(meter.zone, by_month.cell_bounds[[0, -1]], group)
    months, total = totals_of(meter, by_month), totals_of(meter, whole)
    for column in range(len(whole.columns)):
        assert sum(months.sum_of(0, cell, column) for cell in range(by_month.cell_count)) == total.sum_of(0, 0, column)
    assert np.array_equal(months.row_count.sum(axis=1), total.row_count[:, 0])


@given(meters(), st.lists(st.sampled_from([60, 150, 420, 1_020, 1_380]), min_size=1, max_size=4, unique=True))
def test_slices_that_partition_the_day_add_up_to_the_total_with_uncovered(meter, cuts):
    edges = sorted(cuts)
    group = TimesliceGroup(
        "group",
        tuple(
            TimesliceInterval(f"T{index}", Days.DAILY, start, end)
            for index, (start, end) in enumerate(pairwise([0, *edges]))
        ),
    )
    within = laid_out(meter, group)
    found = totals_of(meter, within)
    for cell in range(within.cell_count):
        parts = sum(found.sum_of(0, cell, column) for column in range(within.total))
        assert parts == found.sum_of(0, cell, within.total)
        assert np.array_equal(
            found.row_count[0, cell, : within.total].sum(axis=0), found.row_count[0, cell, within.total]
        )


@given(meters(even=True), groups(), st.lists(st.integers(0, 120), max_size=4), st.randoms())
def test_order_and_chunking_change_no_bit(meter, group, cuts, random):
    within = laid_out(meter, group)
    whole = totals_of(meter, within)
    count = meter.readings.times.count
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    chunks = [(first, last) for first, last in pairwise(edges) if first < last]
    random.shuffle(chunks)
    found = empty_totals(1, within.cell_count, len(within.columns), len(STATUSES))
    for first, last in chunks:
        length_us = meter.readings.times.interval_us
        labels = np.array([meter.readings.label(row) for row in range(first, last)], dtype=np.int64)
        accumulate(
            meter.readings.values[np.newaxis, first:last].copy(),
            meter.readings.quality[np.newaxis, first:last].copy(),
            place(within, ListedTimes(labels, length_us), meter.classifier.label),
            DEFAULT_QUALITY.has_value(),
            found,
            first_row=first,
        )
    assert same(found, whole)


@given(meters(even=True), groups(), st.integers(1, 9))
@settings(max_examples=20)
def test_threads_change_no_bit(meter, group, channel_count):
    assume(meter.readings.times.count)
    within = laid_out(meter, group)
    random = np.random.default_rng(7)
    values = random.permuted(np.tile(meter.readings.values, (channel_count, 1)), axis=1)
    quality = random.permuted(np.tile(meter.readings.quality, (channel_count, 1)), axis=1)
    placed = place(within, meter.readings.times, meter.classifier.label)
    with ThreadPoolExecutor(3) as executor:
        for spread in (map, executor.map):
            found = empty_totals(channel_count, within.cell_count, len(within.columns), len(STATUSES))
            accumulate(values, quality, placed, DEFAULT_QUALITY.has_value(), found, spread=spread, task_bytes=64)
            for channel in range(channel_count):
                alone = replace(meter, readings=Readings(meter.readings.times, values[channel], quality[channel]))
                one = totals_of(alone, within)
                assert all(np.array_equal(a[channel], b[0]) for a, b in zip(found, one, strict=True))


@given(meters(), groups())
def test_moving_label_and_timestamps_together_changes_nothing(meter, group):
    times = meter.readings.times
    lengths = times.interval_us
    to_end = meter.classifier.label is Label.BEGIN
    sign = 1 if to_end else -1
    if isinstance(times, RegularTimes):
        moved: RegularTimes | ListedTimes = replace(times, first_us=times.first_us + sign * times.interval_us)
    else:
        moved = ListedTimes(times.labels_us + sign * lengths, lengths)
    other = replace(
        meter,
        classifier=replace(meter.classifier, label=Label.END if to_end else Label.BEGIN),
        readings=replace(meter.readings, times=moved),
    )
    # What reaches over the period's bounds belongs to it by one label and not by the other.
    starts, ends = interval_bounds(meter)
    assume(meter.start_us < meter.end_us)
    for bound in (meter.start_us, meter.end_us):
        assume(not ((starts < bound) & (bound < ends)).any())
    within = laid_out(meter, group)
    assert same(totals_of(meter, within), totals_of(other, within))


def interval_bounds(meter: RandomMeter) -> tuple[np.ndarray, np.ndarray]:
    rows = range(meter.readings.times.count)
    labels = np.array([meter.readings.label(row) for row in rows], dtype=np.int64)
    lengths = np.array([meter.readings.length_us(row) for row in rows], dtype=np.int64)
    return (labels - lengths, labels) if meter.classifier.label is Label.END else (labels, labels + lengths)


@given(zones, st.integers(1990, 2030), groups(), st.sampled_from(Label))
@settings(max_examples=25)
def test_a_year_equals_its_months(zone, year, group, label):
    start, end = midnight(zone, date(year, 1, 1)), midnight(zone, date(year + 1, 1, 1))
    hour = 3_600_000_000
    # Half-hourly instants, so that months of half-hour zones begin with an interval.
    times = RegularTimes(start - 4 * hour, hour // 2, (end - start) // (hour // 2) + 16)
    random = np.random.default_rng(year)
    readings = Readings(
        times, random.integers(0, 10**9, times.count), random.choice(np.array([0, 0, 3, 6], np.uint8), times.count)
    )
    whole = period_frame(zone, start, end, group)
    yearly = channel_totals(whole, readings, label, DEFAULT_QUALITY)
    assume((np.diff(whole.cell_bounds) % (hour // 2) == 0).all())
    for cell, (first, last) in enumerate(pairwise(whole.cell_bounds.tolist())):
        month = period_frame(zone, first, last, group)
        alone = channel_totals(month, readings, label, DEFAULT_QUALITY)
        assert all(np.array_equal(a[:, cell], b[:, 0]) for a, b in zip(yearly, alone, strict=True))


@given(zones, st.lists(near_instants(), min_size=1, max_size=20), st.lists(st.integers(0, 20), max_size=3))
def test_local_time_is_the_oracles(zone, instants, holidays):
    dates = frozenset(date_of(instants[0] // DAY_US + offset) for offset in holidays)
    found = local_times(zone, np.array(instants, dtype=np.int64), dates)
    for row, instant in enumerate(instants):
        wall = oracle_time.wall(zone, instant)
        assert date_of(int(found.day[row])) == wall.date()
        assert found.month[row] == (wall.year - 1970) * 12 + wall.month - 1
        micros = ((wall.hour * 60 + wall.minute) * 60 + wall.second) * 10**6 + wall.microsecond
        assert found.wall_us[row] - found.day[row] * DAY_US == micros
        assert DayClass(found.day_class[row]).name == oracle_time.day_class(wall.date(), dates)
        assert found.is_dst[row] == oracle_time.is_dst(zone, instant)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 999), st.sampled_from([0, 0, 3, 6])), max_size=8),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 12),
    st.sampled_from([None, 1, 3]),
)
def test_registers_are_the_oracles(rows, start, end, tolerance, dial_digits):
    by_time = {at: (value, code) for at, value, code in rows}
    times = sorted(by_time)
    readings = Readings(
        ListedTimes(np.array(times, dtype=np.int64), 1),
        np.array([by_time[at][0] for at in times], dtype=np.int64),
        np.array([by_time[at][1] for at in times], dtype=np.uint8),
    )
    said = [oracle.OracleReading(at, 1, Fraction(by_time[at][0]), STATUSES[by_time[at][1]]) for at in times]
    found = [register_row(readings, DEFAULT_QUALITY, at, tolerance) for at in (start, end)]
    expected = [oracle.register_reading(said, VALUELESS, at, tolerance) for at in (start, end)]
    assert [None if row is None else readings.label(row) for row in found] == [
        None if each is None else each.label_us for each in expected
    ]
    first, last = expected
    if first is not None and last is not None:
        classifier = ChannelClassifier("read", "kWh", 0, kind=ChannelKind.REGISTER, dial_digits=dial_digits)
        counted = register_difference(classifier, int(first.value), int(last.value))
        assert counted == oracle.register_difference(first.value, last.value, dial_digits)
