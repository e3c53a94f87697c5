"""Energyworx's documented test scenarios, as requests."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from tests.support.energy.cases import MINUTE_US, VECTORS, EnergyCase, Expected, group_of, instant_us, timeslice

from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind, HolidayCalendar, Label
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import Readings, RegularTimes
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, ChannelRequest
from tallybook_engine.determinants.result import Reason

QUARTER_US = 15 * MINUTE_US
CHANNEL = "ACTIVE_DELIVERY_INT15T_VEE"
READ = "ACTIVE_DELIVERY_READ_VEE"
CLASSIFIERS = {
    CHANNEL: ChannelClassifier(CHANNEL, "kWh", 3, Label.END, interval_us=QUARTER_US),
    READ: ChannelClassifier(READ, "kWh", 3, kind=ChannelKind.REGISTER),
}
GROUP = group_of([timeslice("PEAK", "weekday", "07:00", "23:00", None)])
WITHOUT_TAG = BillingConfiguration(CLASSIFIERS, {"group": GROUP})
WITH_TAG = BillingConfiguration(CLASSIFIERS, {"group": GROUP}, HolidayCalendar("none", 1, frozenset()))
ZONE = "Europe/Amsterdam"


def quarters(first: str, last: str, bad_label: str | None = None) -> Readings:
    """0.001 kWh in every quarter hour with a label in (first, last]; one of them questionable."""
    start, end = instant_us(first), instant_us(last)
    times = RegularTimes(start + QUARTER_US, QUARTER_US, (end - start) // QUARTER_US)
    quality = np.zeros(times.count, np.uint8)
    if bad_label is not None:
        quality[(instant_us(bad_label) - times.first_us) // QUARTER_US] = DEFAULT_QUALITY.code("questionable")
    return Readings(times, np.ones(times.count, np.int64), quality)


@cache
def energyworx_cases(folder: Path = VECTORS / "energyworx") -> tuple[EnergyCase, ...]:
    """Scenario by scenario; each id of the file is there."""
    document = json.loads((folder / "scenarios.json").read_text(encoding="utf-8"))
    ids = [case["id"] for case in document["cases"]]
    month = instant_us("2025-02-15T23:00Z"), instant_us("2025-03-15T23:00Z")
    interval, sliced = ChannelRequest(CHANNEL, Kind.INTERVAL), ChannelRequest(CHANNEL, Kind.TIMESLICE, "group")
    named = frozenset({CHANNEL})
    missing, bad, boundaries, no_tag = ids
    whole = quarters("2025-01-01T00:00Z", "2025-03-15T23:00Z")
    return (
        EnergyCase(
            missing,
            BillingRequest("meter", *month, ZONE, (interval,)),
            {CHANNEL: quarters("2025-02-13T00:00Z", "2025-02-14T00:00Z")},
            WITH_TAG,
            (),
            Reason.NO_READINGS,
            named,
        ),
        EnergyCase(
            bad,
            BillingRequest("meter", *month, ZONE, (interval, sliced)),
            {CHANNEL: quarters("2025-01-01T00:00Z", "2025-03-15T23:00Z", "2025-03-01T12:00Z")},
            WITH_TAG,
            (),
            Reason.NOT_BILLABLE,
            named,
        ),
        EnergyCase(
            f"{bad}, but not in the period",
            BillingRequest("meter", *month, ZONE, (interval, sliced)),
            {CHANNEL: quarters("2025-01-01T00:00Z", "2025-03-15T23:00Z", "2025-02-15T23:00Z")},
            WITH_TAG,
            (Expected(Kind.INTERVAL, CHANNEL, *month, Fraction(28 * 96, 1000), present_count=28 * 96),),
        ),
        *_boundaries(boundaries),
        EnergyCase(
            no_tag,
            BillingRequest("meter", *month, ZONE, (interval, sliced)),
            {CHANNEL: whole},
            WITHOUT_TAG,
            (),
            Reason.NO_HOLIDAY_CALENDAR,
            named,
        ),
        EnergyCase(
            f"{no_tag}, and no timeslice is asked for",
            BillingRequest("meter", *month, ZONE, (interval,)),
            {CHANNEL: whole},
            WITHOUT_TAG,
            (Expected(Kind.INTERVAL, CHANNEL, *month, Fraction(28 * 96, 1000)),),
        ),
    )


def _boundaries(name: str) -> list[EnergyCase]:
    """Four labels, worth 1, 10, 100 and 1000: the period takes the ones it should."""
    labels = RegularTimes(instant_us("2025-03-01T00:00Z"), QUARTER_US, 4)
    values, quality = np.array([1, 10, 100, 1_000]), np.zeros(4, np.uint8)
    readings = {CHANNEL: Readings(labels, values, quality), READ: Readings(labels, values, quality)}
    first, last = labels.first_us, labels.first_us + 2 * QUARTER_US
    both = (ChannelRequest(CHANNEL, Kind.INTERVAL), ChannelRequest(READ, Kind.REGISTER))
    return [
        EnergyCase(
            name,
            BillingRequest("meter", first, last, ZONE, both),
            readings,
            WITH_TAG,
            (
                Expected(Kind.INTERVAL, CHANNEL, first, last, Fraction(110, 1000), present_count=2, expected_count=2),
                Expected(Kind.REGISTER, READ, first, last, Fraction(100, 1000)),
                Expected(Kind.REGISTER_DIFFERENCE, READ, first, last, Fraction(99, 1000)),
            ),
        ),
        EnergyCase(
            f"{name}, of one instant",
            BillingRequest("meter", last, last, ZONE, both),
            readings,
            WITH_TAG,
            (
                Expected(Kind.INTERVAL, CHANNEL, last, last, Fraction(100, 1000), present_count=1, expected_count=1),
                Expected(Kind.REGISTER, READ, last, last, Fraction(100, 1000)),
                Expected(Kind.REGISTER_DIFFERENCE, READ, last, last, Fraction(0)),
            ),
        ),
    ]
