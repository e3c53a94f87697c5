"""A real meter, BEGIN-labelled, with sums, slices and Pmax of each of its months and some of its days."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.energy.cases import (
    MINUTE_US,
    VECTORS,
    EnergyCase,
    Expected,
    decimals_of,
    fraction,
    group_of,
    instant_us,
    readings_of,
    timeslice,
)

from tallybook_engine.determinants.configuration import ChannelClassifier, HolidayCalendar, Label
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityStatus, QualityTable
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, ChannelRequest

TABLE = QualityTable((QualityStatus("measured", is_billable=True), QualityStatus("missing", True, has_value=False)))

FLOAT_NOISE = Fraction(1, 10**9)
"""The case's sums are sums of binary floats (`fsum`), printed in full."""


@cache
def real_cases(folder: Path = VECTORS / "real") -> tuple[EnergyCase, ...]:
    """One a period of each meter's file."""
    return tuple(case for path in sorted(folder.glob("*.json")) for case in _cases_of(path))


def _cases_of(path: Path) -> list[EnergyCase]:
    document = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    length_us = document["interval_minutes"] * MINUTE_US
    with gzip.open(path.with_suffix(".csv.gz"), "rt", encoding="utf-8", newline="") as file:
        rows: dict[int, str] = {}
        for row in csv.DictReader(file):
            # The file has rows twice; the case keeps the first.
            rows.setdefault(instant_us(row["start"]), row["value"])
    places = decimals_of(list(rows.values()))
    label = Label.BEGIN if document["label"] == "start" else Label.END
    classifiers = {
        "energy": ChannelClassifier("energy", "kWh", places, label, interval_us=length_us),
        "power": ChannelClassifier("power", "kWh", places, label, interval_us=length_us),
    }
    readings = readings_of([(at, rows[at], "measured") for at in sorted(rows)], places, TABLE, length_us)
    intervals = [
        timeslice(channel, window["days"], window["frm"], window["to"], window.get("dst"))
        for channel, windows in document["timeslices"].items()
        for window in windows
    ]
    calendar = HolidayCalendar("holidays", 1, frozenset(date.fromisoformat(day) for day in document["holidays"]))
    configuration = BillingConfiguration(classifiers, {"group": group_of(intervals)}, calendar, TABLE)
    channels = (
        ChannelRequest("energy", Kind.INTERVAL),
        ChannelRequest("energy", Kind.TIMESLICE, "group"),
        ChannelRequest("energy", Kind.PMAX),
        ChannelRequest("power", Kind.PMAX, as_power=True),
    )
    return [
        EnergyCase(
            f"{document['id']} {said['local_start']}",
            BillingRequest("meter", instant_us(said["start"]), instant_us(said["end"]), document["timezone"], channels),
            {"energy": readings, "power": readings},
            configuration,
            tuple(_expected(said)),
        )
        for said in document["expected"]
    ]


def _expected(said: dict[str, Any]) -> list[Expected]:
    period: dict[str, Any] = {"start_us": instant_us(said["start"]), "end_us": instant_us(said["end"])}
    expected = [
        Expected(
            Kind.INTERVAL if name == "TOTAL" else Kind.TIMESLICE,
            "energy",
            value=fraction(number),
            slice=None if name == "TOTAL" else name,
            tolerance=FLOAT_NOISE,
            present_count=said["counts"][name],
            expected_count=said["expected_intervals"] if name == "TOTAL" else None,
            missing_count=said["missing"] if name == "TOTAL" else None,
            **period,
        )
        for name, number in said["sums"].items()
    ]
    pmax = said.get("pmax")
    for channel, unit in (("energy", "kwh"), ("power", "kw")):
        expected.append(
            Expected(
                Kind.PMAX,
                channel,
                value=fraction(pmax[unit]) if pmax else None,
                peak_start_us=instant_us(pmax["at_start"]) if pmax else None,
                peak_end_us=instant_us(pmax["at_end"]) if pmax else None,
                **period,
            )
        )
    return expected
