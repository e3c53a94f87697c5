"""NREL SAM's Utilityrate5 tariffs on real loads: monthly energy by period, peaks, and billing demand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.energy.cases import MINUTE_US, VECTORS, EnergyCase, Expected, group_of, instant_us, scaled

from tallybook_engine.decimals import UNIT
from tallybook_engine.demand.ratchet import Ratchet
from tallybook_engine.demand.time_of_use import TimeOfUseDemand
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import Readings, RegularTimes
from tallybook_engine.determinants.request import (
    BillingConfiguration,
    BillingRequest,
    ChannelRequest,
    DemandRequest,
)

ZONE = "Etc/UTC"
YEAR = 2018
"""A year of 365 days whose 1 January is a Monday."""
PLACES = 12
ENERGY_TOLERANCE = Fraction(1, 10**6)
"""The cases' sums are sums of binary floats of 17 digits; channels have twelve decimals."""
POWER_TOLERANCE = Fraction(1, 10**12)


@dataclass(frozen=True)
class SamTariff:
    """A tariff's file, and what is made of it."""

    document: Mapping[str, Any]
    case: EnergyCase


@cache
def load_readings(path: Path, interval_minutes: int) -> Readings:
    """Mean power in kW of each interval, which for an hour is also its energy."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = file.read().split()
    length_us = interval_minutes * MINUTE_US
    times = RegularTimes(instant_us(f"{YEAR}-01-01T00:00:00"), length_us, len(texts))
    values = np.array([scaled(text, PLACES) for text in texts], dtype=np.int64)
    return Readings(times, values, np.zeros(len(texts), np.uint8))


def schedule_group(name: str, weekday: Sequence[Sequence[float]], weekend: Sequence[Sequence[float]]) -> TimesliceGroup:
    """A table of months by hours as windows: its numbers are the slices."""
    intervals = []
    for days, table in ((Days.WEEKDAYS, weekday), (Days.WEEKEND, weekend)):
        for month, hours in enumerate(table, start=1):
            begin = 0
            for hour in range(1, 25):
                if hour == 24 or hours[hour] != hours[begin]:
                    channel = str(int(hours[begin]))
                    intervals.append(TimesliceInterval(channel, days, begin * 60, hour * 60, None, (month,)))
                    begin = hour
    return TimesliceGroup(name, tuple(intervals))


def month_period(month: int) -> tuple[int, int]:
    """Bounds of a month of the year."""
    year, following = (YEAR + 1, 1) if month == 12 else (YEAR, month + 1)
    return (
        instant_us(datetime(YEAR, month, 1, tzinfo=UTC).isoformat()),
        instant_us(datetime(year, following, 1, tzinfo=UTC).isoformat()),
    )


@cache
def sam_tariffs(folder: Path = VECTORS / "sam") -> tuple[SamTariff, ...]:
    """A year by month of each tariff."""
    made = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        made.append(SamTariff(document, _case(document, folder)))
    return tuple(made)


def sam_cases() -> tuple[EnergyCase, ...]:
    """The requests."""
    return tuple(tariff.case for tariff in sam_tariffs())


def _case(document: Mapping[str, Any], folder: Path) -> EnergyCase:
    tariff = document["tariff"]
    readings = load_readings(folder / f"{document['load_file']}.gz", document["interval_minutes"])
    length_us = document["interval_minutes"] * MINUTE_US
    groups = {
        "energy": schedule_group("energy", tariff["ur_ec_sched_weekday"], tariff["ur_ec_sched_weekend"]),
        "demand": schedule_group("demand", tariff["ur_dc_sched_weekday"], tariff["ur_dc_sched_weekend"]),
    }
    demands = [DemandRequest("peaks", "power", TimeOfUseDemand("demand"))]
    if tariff.get("ur_enable_billing_demand"):
        demands.append(DemandRequest("billing_demand", "power", ratchet_of(tariff), history_of(tariff)))
    request = BillingRequest(
        document["id"],
        month_period(1)[0],
        month_period(12)[1],
        ZONE,
        (
            ChannelRequest("energy", Kind.INTERVAL),
            ChannelRequest("energy", Kind.TIMESLICE, "energy"),
            ChannelRequest("power", Kind.PMAX),
        ),
        tuple(demands),
        split_by_month=True,
    )
    classifiers = {
        "energy": ChannelClassifier("energy", "kWh", PLACES, Label.BEGIN, interval_us=length_us),
        "power": ChannelClassifier("power", "kW", PLACES, Label.BEGIN, interval_us=length_us),
    }
    no_holidays = HolidayCalendar("none", 1, frozenset())
    configuration = BillingConfiguration(classifiers, groups, no_holidays, DEFAULT_QUALITY)
    return EnergyCase(
        document["id"], request, {"energy": readings, "power": readings}, configuration, tuple(_expected(document))
    )


def ratchet_of(tariff: Mapping[str, Any]) -> Ratchet:
    """The tariff's lookback."""
    shares = tariff["ur_billing_demand_lookback_percentages"]
    return Ratchet(
        int(tariff["ur_billing_demand_lookback_period"]),
        tuple(round(percentage * UNIT / 100) for percentage, _ in shares),
        tuple(bool(in_full) for _, in_full in shares),
        round(tariff["ur_billing_demand_minimum"] * UNIT),
    )


def history_of(tariff: Mapping[str, Any]) -> tuple[int, ...]:
    """Peaks of the year before, from January."""
    return tuple(round(peak * UNIT) for peak in tariff.get("ur_yearzero_usage_peaks", ()))


def _expected(document: Mapping[str, Any]) -> list[Expected]:
    expected = []
    for said in document["expected_determinants"]:
        period: dict[str, Any] = dict(zip(("start_us", "end_us"), month_period(said["month"]), strict=True))
        period["is_month"] = True
        length_us = document["interval_minutes"] * MINUTE_US
        year_us = month_period(1)[0]
        energy = [(Kind.INTERVAL, None, said["kwh"])]
        energy += [(Kind.TIMESLICE, name, number) for name, number in said["kwh_by_period"].items()]
        expected += [
            Expected(kind, "energy", value=Fraction(number), slice=name, tolerance=ENERGY_TOLERANCE, **period)
            for kind, name, number in energy
        ]
        expected.append(
            Expected(
                Kind.PMAX,
                "power",
                value=Fraction(said["kw_max"]),
                tolerance=POWER_TOLERANCE,
                peak_start_us=year_us + said["kw_max_index"] * length_us,
                **period,
            )
        )
        for name, number in said["kw_max_by_demand_period"].items():
            expected.append(
                Expected(
                    Kind.DEMAND,
                    "power",
                    value=Fraction(number),
                    slice=name,
                    demand="peaks",
                    tolerance=POWER_TOLERANCE,
                    peak_start_us=year_us + said["kw_max_index_by_demand_period"][name] * length_us,
                    **period,
                )
            )
        if document["billing_demand_wo_sys"]:
            number = document["billing_demand_wo_sys"][said["month"] - 1]
            expected.append(
                Expected(
                    Kind.DEMAND,
                    "power",
                    value=Fraction(number),
                    demand="billing_demand",
                    tolerance=POWER_TOLERANCE,
                    **period,
                )
            )
    return expected


__all__ = ["SamTariff", "group_of", "load_readings", "sam_cases", "sam_tariffs"]
