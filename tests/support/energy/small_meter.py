"""A small meter: an energy, a power and a register channel, a timeslice group that overlaps, one Friday."""

from __future__ import annotations

import numpy as np
from tests.support.energy.cases import MINUTE_US, instant_us

from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    ChannelKind,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes
from tallybook_engine.determinants.request import BillingConfiguration, ChannelRequest

HOUR_US = 60 * MINUTE_US
ZONE = "Europe/Amsterdam"
START = instant_us("2025-01-09T23:00Z")
DAY = (START, START + 24 * HOUR_US)
GROUP = TimesliceGroup(
    "group",
    (
        TimesliceInterval("PEAK", Days.WEEKDAYS, 8 * 60, 20 * 60),
        TimesliceInterval("EVENING", Days.WEEKDAYS, 18 * 60, 22 * 60),
    ),
)
CONFIGURATION = BillingConfiguration(
    {
        "energy": ChannelClassifier("active", "kWh", 3, Label.END, interval_us=HOUR_US),
        "power": ChannelClassifier("demand", "kW", 3, Label.END, interval_us=HOUR_US),
        "read": ChannelClassifier("dial", "kWh", 1, kind=ChannelKind.REGISTER, dial_digits=3),
    },
    {"group": GROUP},
    HolidayCalendar("nl", 4, frozenset()),
    catalog_version=17,
)
INTERVAL = ChannelRequest("energy", Kind.INTERVAL)
SLICES = ChannelRequest("energy", Kind.TIMESLICE, "group")
PMAX = ChannelRequest("energy", Kind.PMAX, as_power=True)
REGISTER = ChannelRequest("read", Kind.REGISTER)


def hours(values: list[int], codes: list[int] | None = None, first_us: int = START + HOUR_US) -> Readings:
    """Hours on a grid, from the period's first on."""
    quality = np.array(codes or [0] * len(values), dtype=np.uint8)
    return Readings(RegularTimes(first_us, HOUR_US, len(values)), np.array(values, dtype=np.int64), quality)


def reads(*rows: tuple[int, int]) -> Readings:
    """(timestamp, value) of a register."""
    labels = np.array([at for at, _ in rows], dtype=np.int64)
    return Readings(ListedTimes(labels, 1), np.array([value for _, value in rows]), np.zeros(len(rows), dtype=np.uint8))
