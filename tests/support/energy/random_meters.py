"""Meters of all sorts, for properties: zones, grids with holes and uneven intervals, statuses, slices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import strategies as st
from tests.support.energy.cases import MINUTE_US, instant_us

from tallybook_engine.calendar.zones import zone_names
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes

HARD_ZONES = (
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "America/Caracas",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/St_Johns",
    "Asia/Beirut",
    "Europe/Amsterdam",
)
"""Half an hour of summer time, an inverted mark, a moved offset, midnights that do not exist, a date left out."""
HARD_INSTANTS = (
    "2016-05-01T00:00:00",
    "2018-11-04T00:00:00",
    "2025-03-30T00:00:00",
    "2025-10-26T00:00:00",
    "2011-12-30T00:00:00",
    "2009-11-01T00:00:00",
    "2024-02-29T00:00:00",
    "2025-04-05T12:00:00",
)

zones = st.one_of(st.sampled_from(HARD_ZONES), st.sampled_from(sorted(zone_names())))


@st.composite
def near_instants(draw: st.DrawFn) -> int:
    """Around something hard, or anywhere in two centuries; a whole number of minutes."""
    if draw(st.booleans()):
        return instant_us(draw(st.sampled_from(HARD_INSTANTS))) + draw(st.integers(-3_000, 3_000)) * MINUTE_US
    days = draw(st.dates(date(1901, 1, 1), date(2099, 12, 31)))
    moment = datetime(days.year, days.month, days.day, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 1_439)))
    return int(moment.timestamp()) * 1_000_000


@dataclass(frozen=True)
class RandomMeter:
    """One channel and a period that it has something of."""

    zone: str
    start_us: int
    end_us: int
    classifier: ChannelClassifier
    readings: Readings


values = st.one_of(
    st.integers(-5, 5),
    st.integers(0, 10**7),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**63 - 1, -(2**63), 0]),
)


@st.composite
def meters(draw: st.DrawFn, *, even: bool = False, small: bool = False) -> RandomMeter:
    """Up to 120 readings of 5 to 90 minutes."""
    label = draw(st.sampled_from(Label))
    first = draw(near_instants())
    length_us = draw(st.sampled_from([5, 10, 15, 30, 60])) * MINUTE_US
    count = draw(st.integers(0, 120))
    sort = draw(st.sampled_from(["regular", "holes"] if even else ["regular", "holes", "uneven"]))
    if sort == "regular":
        times: RegularTimes | ListedTimes = RegularTimes(first, length_us, count)
    elif sort == "holes":
        kept = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=np.bool_)
        times = ListedTimes((first + np.arange(count, dtype=np.int64) * length_us)[kept], length_us)
    else:
        lengths = np.array(
            draw(st.lists(st.sampled_from([5, 15, 15, 30, 90]), min_size=count, max_size=count)), dtype=np.int64
        )
        ends = first + np.cumsum(lengths * MINUTE_US)
        times = ListedTimes(ends if label is Label.END else ends - lengths * MINUTE_US, lengths * MINUTE_US)
    drawn = st.integers(-1_000, 1_000) if small else values
    numbers = draw(st.lists(drawn, min_size=times.count, max_size=times.count))
    good = st.sampled_from([0] * 10 + [3, 6])
    codes = draw(st.lists(good, min_size=times.count, max_size=times.count))
    start = first + draw(st.integers(-20, 40)) * 15 * MINUTE_US
    end = start + draw(st.one_of(st.integers(0, 3_000), st.just(60 * 1_440))) * MINUTE_US
    return RandomMeter(
        draw(zones),
        start,
        end,
        ChannelClassifier("meter", "kWh", draw(st.integers(0, 6)), label),
        Readings(times, np.array(numbers, dtype=np.int64), np.array(codes, dtype=np.uint8)),
    )


@st.composite
def groups(draw: st.DrawFn) -> TimesliceGroup:
    """One to five windows."""
    windows = draw(
        st.lists(
            st.builds(
                TimesliceInterval,
                channel=st.sampled_from(["T1", "T2", "T3"]),
                days=st.sampled_from(Days),
                start_minute=st.sampled_from([0, 60, 150, 420, 1_380]),
                end_minute=st.sampled_from([30, 120, 480, 1_439, 1_440]),
                is_dst=st.sampled_from([None, None, True, False]),
                months=st.sampled_from([(), (), (3, 4, 5), (10, 11, 12)]),
            ),
            min_size=1,
            max_size=5,
        )
    )
    return TimesliceGroup("group", tuple(windows))


@st.composite
def calendars(draw: st.DrawFn, meter: RandomMeter) -> HolidayCalendar:
    """Some of the dates around a meter's period."""
    first = datetime.fromtimestamp(meter.start_us / 1e6, tz=UTC).date()
    offsets = draw(st.lists(st.integers(-1, 3), max_size=3))
    return HolidayCalendar("holidays", 1, frozenset(first + timedelta(days=offset) for offset in offsets))


STATUSES = tuple(status.name for status in DEFAULT_QUALITY.statuses)
VALUELESS = frozenset(status.name for status in DEFAULT_QUALITY.statuses if not status.has_value)
