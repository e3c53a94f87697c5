"""What is configured about meters, and the edges of it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.energy.cases import MINUTE_US, instant_us

from tallybook_engine.determinants.configuration import (
    MAX_TIMESLICES,
    UNCOVERED,
    ChannelClassifier,
    Days,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.interval import channel_totals, period_frame
from tallybook_engine.determinants.quality import DEFAULT_QUALITY, MAX_STATUSES, QualityStatus, QualityTable
from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES, Readings, RegularTimes


def slices(count: int) -> TimesliceGroup:
    """As many slices, ten minutes each, from midnight."""
    return TimesliceGroup(
        "group", tuple(TimesliceInterval(f"T{at}", Days.DAILY, 10 * at, 10 * at + 10) for at in range(count))
    )


def test_a_group_has_so_many_slices_and_no_more():
    start = instant_us("2025-05-05T00:00Z")
    count = 24 * 6
    readings = Readings(
        RegularTimes(start, 10 * MINUTE_US, count), np.arange(count, dtype=np.int64), np.zeros(count, np.uint8)
    )
    within = period_frame("UTC", start, start + 1_440 * MINUTE_US, slices(MAX_TIMESLICES))
    assert within.columns == (*(f"T{at}" for at in range(MAX_TIMESLICES)), UNCOVERED, None)
    found = channel_totals(within, readings, Label.BEGIN, DEFAULT_QUALITY)
    sums = [found.sum_of(0, 0, column) for column in range(len(within.columns))]
    assert sums == [*range(MAX_TIMESLICES), sum(range(MAX_TIMESLICES, count)), sum(range(count))]
    with pytest.raises(ValueError, match="slices"):
        slices(MAX_TIMESLICES + 1)
    with pytest.raises(ValueError, match="slices"):
        slices(0)


def test_a_table_has_so_many_statuses():
    table = QualityTable(tuple(QualityStatus(str(code)) for code in range(MAX_STATUSES)))
    assert table.code(str(MAX_STATUSES - 1)) == MAX_STATUSES - 1
    start = instant_us("2025-05-05T00:00Z")
    codes = np.arange(MAX_STATUSES).astype(np.uint8)
    readings = Readings(RegularTimes(start, MINUTE_US, MAX_STATUSES), np.ones(MAX_STATUSES, np.int64), codes)
    within = period_frame("UTC", start, start + 1_440 * MINUTE_US)
    assert channel_totals(within, readings, Label.BEGIN, table).row_count[0, 0, 0].tolist() == [1] * MAX_STATUSES


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChannelClassifier("a", "kWh", MAX_DECIMAL_PLACES + 1),
        lambda: ChannelClassifier("a", "kWh", -1),
        lambda: ChannelClassifier("a", "kWh", 3, interval_us=0),
        lambda: ChannelClassifier("a", "kWh", 3, dial_digits=0),
        lambda: ChannelClassifier("a", "kWh", 3, dial_digits=16),
        lambda: TimesliceInterval("a", Days.DAILY, 0, 1_441),
        lambda: TimesliceInterval("a", Days.DAILY, 1_440, 60),
        lambda: TimesliceInterval("a", Days.DAILY, 60, 60),
        lambda: TimesliceInterval("a", Days.DAILY, 0, 60, months=(13,)),
        lambda: TimesliceGroup("g", (TimesliceInterval(UNCOVERED, Days.DAILY, 0, 60),)),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError):  # noqa: PT011 - each says what is wrong in its own words
        make()


def test_a_window_over_midnight_is_two_of_the_same_date():
    assert TimesliceInterval("a", Days.DAILY, 1_320, 360).windows() == ((0, 360), (1_320, 1_440))
    assert TimesliceInterval("a", Days.DAILY, 0, 1_440).windows() == ((0, 1_440),)
