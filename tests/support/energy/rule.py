"""The cases of the rule itself: a 15-minute load, END-labelled, a power channel beside it, and a register."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.energy.cases import (
    MINUTE_US,
    VECTORS,
    EnergyCase,
    Expected,
    fraction,
    group_of,
    instant_us,
    readings_of,
    timeslice,
)

from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind, HolidayCalendar, Label
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityStatus, QualityTable
from tallybook_engine.determinants.readings import Readings
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, ChannelRequest, OnInvalid
from tallybook_engine.determinants.result import Reason

QUARTER_US = 15 * MINUTE_US
BILLABLE = frozenset({"measured", "estimated"})
ENERGY = ChannelClassifier("energy", "kWh", 6, Label.END, ChannelKind.INTERVAL, QUARTER_US)
POWER = ChannelClassifier("power", "kW", 1, Label.END, ChannelKind.INTERVAL, QUARTER_US)
READ = ChannelClassifier("read", "kWh", 3, Label.END, ChannelKind.REGISTER, dial_digits=5)


@cache
def rule_cases(folder: Path = VECTORS / "rule") -> tuple[EnergyCase, ...]:
    """Each case as a request with and without months; and the one without data once more, as it is by default."""
    document = json.loads((folder / "rule.json").read_text(encoding="utf-8"), parse_float=Decimal)
    table = QualityTable(
        tuple(
            QualityStatus(name, name in BILLABLE, name != "missing") for name in document["quality_rank_best_to_worst"]
        )
    )
    intervals = [
        timeslice(channel, *window) for channel, windows in document["timeslices"].items() for window in windows
    ]
    calendar = HolidayCalendar("holidays", 1, frozenset(date.fromisoformat(day) for day in document["holidays"]))
    configuration = BillingConfiguration(
        {"energy": ENERGY, "power": POWER, "read": READ}, {"group": group_of(intervals)}, calendar, table
    )
    readings = _readings(folder, table)
    return tuple(
        made for case in document["cases"] for made in _cases(case, document["timezone"], readings, configuration)
    )


def _readings(folder: Path, table: QualityTable) -> dict[str, Readings]:
    with gzip.open(folder / "interval.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with gzip.open(folder / "register.csv.gz", "rt", encoding="utf-8", newline="") as file:
        reads = list(csv.DictReader(file))
    energy = [(instant_us(row["end_utc"]), row["kwh"], row["quality"]) for row in rows]
    power = [(instant_us(row["end_utc"]), row["kw_rounded"], row["quality"]) for row in rows]
    register = [(instant_us(row["timestamp_utc"]), row["reading"], row["quality"]) for row in reads]
    return {
        "energy": readings_of(energy, ENERGY.decimal_places, table, QUARTER_US),
        "power": readings_of(power, POWER.decimal_places, table, QUARTER_US),
        "read": readings_of(register, READ.decimal_places, table, 1),
    }


def _cases(
    case: Mapping[str, Any], zone: str, readings: Mapping[str, Readings], configuration: BillingConfiguration
) -> Iterator[EnergyCase]:
    start, end = instant_us(case["whole"]["start"]), instant_us(case["whole"]["end"])
    channels = (
        ChannelRequest("energy", Kind.INTERVAL),
        ChannelRequest("energy", Kind.TIMESLICE, "group"),
        ChannelRequest("power", Kind.PMAX),
        ChannelRequest("read", Kind.REGISTER),
    )
    for splits in (False, True):
        request = BillingRequest("meter", start, end, zone, channels, (), splits, OnInvalid.REPORT)
        expected = list(_expected(case["whole"], configuration, is_month=False))
        if splits:
            for part in case["split_by_month"]:
                expected += _expected(part, configuration, is_month=True)
        yield EnergyCase(
            f"{case['id']} {'by month' if splits else 'whole'}", request, readings, configuration, tuple(expected)
        )
    if not case["whole"]["present"]:
        request = BillingRequest("meter", start, end, zone, channels)
        named = frozenset({"energy", "power", "read"})
        yield EnergyCase(f"{case['id']} by default", request, readings, configuration, (), Reason.NO_READINGS, named)


def _expected(part: Mapping[str, Any], configuration: BillingConfiguration, *, is_month: bool) -> Iterator[Expected]:
    period: dict[str, Any] = {
        "start_us": instant_us(part["start"]),
        "end_us": instant_us(part["end"]),
        "is_month": is_month,
    }
    names = configuration.timeslice_groups["group"].channels()
    for name in ("TOTAL", *names):
        said = part[name]
        is_total = name == "TOTAL"
        yield Expected(
            Kind.INTERVAL if is_total else Kind.TIMESLICE,
            "energy",
            value=fraction(said["value"]),
            slice=None if is_total else name,
            quality=said["worst_quality"],
            present_count=said["count"],
            expected_count=part["expected_intervals"] if is_total else None,
            missing_count=part["expected_intervals"] - part["present"] if is_total else None,
            **period,
        )
    pmax = part.get("PMAX")
    if pmax is None:
        yield Expected(Kind.PMAX, "power", value=None, quality=None, **period)
    else:
        label = instant_us(pmax["timestamp_first"])
        yield Expected(
            Kind.PMAX,
            "power",
            value=fraction(pmax["kw"]),
            quality=pmax["period_worst_quality"],
            peak_start_us=label - QUARTER_US,
            peak_end_us=label,
            peak_quality=pmax["quality_at_peak"],
            occurrence_count=pmax["ties"],
            **period,
        )
    read = part["READ"]
    yield Expected(
        Kind.REGISTER,
        "read",
        value=fraction(read["value"]) if read else None,
        quality=read["quality"] if read else None,
        **period,
    )
    yield Expected(Kind.REGISTER_DIFFERENCE, "read", value=fraction(part.get("READ_DIFF")), **period)
