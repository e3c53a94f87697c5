"""Demand schemes with expected figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.energy.cases import MINUTE_US, VECTORS, EnergyCase, Expected, instant_us
from tests.support.energy.sam import PLACES, YEAR, ZONE, load_readings, month_period

from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.model import DemandScheme
from tallybook_engine.demand.monthly_peaks import MeanOfMonthlyPeaks
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.demand.top_peaks import MeanOfTopPeaks
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, DemandRequest

QUARTER_US = 15 * MINUTE_US
NO_HOLIDAYS = HolidayCalendar("none", 1, frozenset())
PRINTED = Fraction(1, 2000)
"""The page prints three decimals."""
FLOAT_NOISE = Fraction(1, 10**11)


@cache
def demand_cases(folder: Path = VECTORS / "demand") -> tuple[EnergyCase, ...]:
    """By the words of their ids."""
    document = json.loads((folder / "demand.json").read_text(encoding="utf-8"), parse_float=Decimal)
    made = []
    for said in document:
        if "capaciteitstarief" in said["id"]:
            made.append(_monthly_peaks(said))
        elif "top3" in said["id"]:
            made.append(_top_peaks(said))
        elif "tou_day" in said["id"]:
            made.append(_day_by_period(said))
        else:
            raise ValueError(f"no scheme is known for {said['id']}")
    return tuple(made)


def _case(
    said: Mapping[str, Any],
    scheme: DemandScheme,
    readings: Readings,
    period: tuple[int, int],
    expected: list[Expected],
    group: TimesliceGroup | None = None,
) -> EnergyCase:
    length_us = readings.times.interval_us
    assert isinstance(length_us, int)
    request = BillingRequest("meter", *period, ZONE, (), (DemandRequest("demand", "power", scheme),))
    classifier = ChannelClassifier("power", "kW", PLACES, Label.BEGIN, interval_us=length_us)
    groups = {} if group is None else {group.id: group}
    configuration = BillingConfiguration({"power": classifier}, groups, NO_HOLIDAYS)
    return EnergyCase(said["id"], request, {"power": readings}, configuration, tuple(expected))


def _monthly_peaks(said: Mapping[str, Any]) -> EnergyCase:
    """A quarter hour of each month has its peak, and nothing else is known."""
    labels = np.array([month_period(month)[0] for month in range(1, 13)], dtype=np.int64)
    values = np.array([int(peak * UNIT) for peak in said["month_peaks_kw"]], dtype=np.int64)
    readings = Readings(ListedTimes(labels, QUARTER_US), values, np.zeros(12, np.uint8))
    start, end = month_period(12)
    expected = Expected(
        Kind.DEMAND,
        "power",
        start,
        end,
        Fraction(said["expected_avg_kw"]),
        demand="demand",
        is_month=True,
        tolerance=PRINTED,
    )
    floor = min(Fraction(number) for number in said["floored"])
    scheme = MeanOfMonthlyPeaks(12, int(floor * UNIT))
    return _case(said, scheme, readings, (month_period(1)[0], end), [expected])


def _top_peaks(said: Mapping[str, Any]) -> EnergyCase:
    """The residential load in quarter hours: four alike an hour."""
    hourly = load_readings(VECTORS / "sam" / "pvsamv1_residential_load.csv.gz", 60)
    times = RegularTimes(hourly.times.first_us, QUARTER_US, 4 * hourly.times.count)  # type: ignore[union-attr]
    readings = Readings(times, np.repeat(hourly.values, 4), np.repeat(hourly.quality, 4))
    is_night_half = "night_half" in said["id"]
    scheme = MeanOfTopPeaks(3, share=UNIT // 2, share_start_minute=22 * 60, share_end_minute=6 * 60)
    if not is_night_half:
        scheme = MeanOfTopPeaks(3)
    expected = [
        Expected(
            Kind.DEMAND,
            "power",
            *month_period(month),
            Fraction(number),
            demand="demand",
            is_month=True,
            tolerance=FLOAT_NOISE,
        )
        for month, number in enumerate(said["expected"], start=1)
    ]
    return _case(said, scheme, readings, (month_period(1)[0], month_period(12)[1]), expected)


def _day_by_period(said: Mapping[str, Any]) -> EnergyCase:
    """One day, two periods."""
    start = instant_us(f"{YEAR}-01-01T00:00:00")
    hours = said["load_kw_24h"]
    hour_us = 60 * MINUTE_US
    readings = Readings(
        RegularTimes(start, hour_us, len(hours)),
        np.array([hour * UNIT for hour in hours], dtype=np.int64),
        np.zeros(len(hours), np.uint8),
    )
    group = TimesliceGroup(
        "group",
        (
            TimesliceInterval("1", Days.DAILY, 15 * 60, 20 * 60),
            TimesliceInterval("2", Days.DAILY, 20 * 60, 15 * 60),
        ),
    )
    end = start + len(hours) * hour_us
    expected = [
        Expected(Kind.DEMAND, "power", start, end, Fraction(peak), slice=name, demand="demand")
        for name, peak in said["peaks"].items()
    ]
    return _case(said, TimeOfUseDemand("group"), readings, (start, end), expected, group)
