"""AEMO's NEM12 and NEM13 files: intervals with a quality each, and register readings with the quantity between them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.energy.cases import (
    MINUTE_US,
    VECTORS,
    EnergyCase,
    Expected,
    decimals_of,
    fraction,
    instant_us,
    readings_of,
)

from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind, Label
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityStatus, QualityTable
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, ChannelRequest, OnInvalid

ZONE = "Etc/GMT-10"
"""NEM time: ten hours ahead of UTC all year."""
OFFSET = "+10:00"
RANK = "AFSEN"
"""Letters of the quality methods from the best to the worst, as the cases rank them."""


@dataclass
class NemChannel:
    """What one file says of one register of one meter."""

    minutes: int
    """Of the last record 200: a meter may change its intervals from one day to the next."""
    rows: dict[int, tuple[str, str]] = field(default_factory=dict)
    """(value, quality) by the interval's start."""
    length_us: dict[int, int] = field(default_factory=dict)
    """Length of the interval, by its start."""


@cache
def nem12_channels(path: Path) -> Mapping[tuple[str, str], NemChannel]:
    """By NMI and suffix. Quality V of a day says that records 400 have it interval by interval."""
    channels: dict[tuple[str, str], NemChannel] = {}
    channel: NemChannel | None = None
    day_rows: list[int] = []
    for record in csv.reader(io.StringIO(_text(path))):
        match record[0] if record else "":
            case "200":
                key = (record[1], record[4])
                channel = channels.setdefault(key, NemChannel(int(record[8])))
                channel.minutes = int(record[8])
            case "300":
                assert channel is not None
                start = instant_us(datetime.strptime(record[1] + OFFSET, "%Y%m%d%z").isoformat())
                count = 1_440 // channel.minutes
                day_rows = [start + index * channel.minutes * MINUTE_US for index in range(count)]
                # Files that were made by hand leave the quality out.
                quality = record[2 + count] if len(record) > 2 + count and record[2 + count] else "A"
                for at, value in zip(day_rows, record[2 : 2 + count], strict=True):
                    channel.rows[at] = (value.strip(), quality)
                    channel.length_us[at] = channel.minutes * MINUTE_US
            case "400":
                assert channel is not None
                for at in day_rows[int(record[1]) - 1 : int(record[2])]:
                    channel.rows[at] = (channel.rows[at][0], record[3])
    return channels


def _text(path: Path) -> str:
    if path.suffix.lower() != ".zip":
        return path.read_text(encoding="utf-8")
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return archive.read(name).decode("utf-8")


def table_of(statuses: set[str]) -> QualityTable:
    """Quality methods, with their type and method codes, ranked by letter."""
    ranked = sorted(statuses, key=lambda status: (RANK.index(status[0]), status))
    return QualityTable(tuple(QualityStatus(status, is_billable=True) for status in ranked))


@cache
def nem12_cases(folder: Path = VECTORS / "nem12") -> tuple[EnergyCase, ...]:
    """A case a register."""
    document = json.loads((folder / "nem12.json").read_text(encoding="utf-8"))
    return tuple(_nem12_case(case, folder) for case in document["cases"])


def _nem12_case(said: Mapping[str, Any], folder: Path) -> EnergyCase:
    channel = nem12_channels(folder / said["file"])[(said["nmi"], said["suffix"])]
    starts = sorted(channel.rows)
    lengths = [channel.length_us[start] for start in starts]
    assert lengths[0] == said["interval_minutes"] * MINUTE_US
    places = decimals_of([value for value, _ in channel.rows.values()])
    table = table_of({quality for _, quality in channel.rows.values()})
    rows = [(start + length, *channel.rows[start]) for start, length in zip(starts, lengths, strict=True)]
    classifier = ChannelClassifier(said["suffix"], "kWh", places, Label.END)
    even = len(set(lengths)) == 1
    length_us = lengths[0] if even else np.array(lengths, dtype=np.int64)
    start, end = _instant(said["first_start"]), _instant(said["last_end"])
    request = BillingRequest(
        said["nmi"],
        start,
        end,
        ZONE,
        (ChannelRequest("channel", Kind.INTERVAL), ChannelRequest("channel", Kind.PMAX)),
        split_by_month=True,
    )
    return EnergyCase(
        said["id"],
        request,
        {"channel": readings_of(rows, places, table, length_us)},
        BillingConfiguration({"channel": classifier}, quality=table),
        tuple(_nem12_expected(said, start, end)),
    )


def _nem12_expected(said: Mapping[str, Any], start: int, end: int) -> Iterator[Expected]:
    # The letter is what the case ranks; of several methods of the worst letter it names one.
    worst = said["worst_quality"][0]
    yield Expected(
        Kind.INTERVAL,
        "channel",
        start,
        end,
        fraction(said["sum"]),
        quality=worst,
        present_count=said["n"],
        by_status=said["quality_counts"],
    )
    yield _maximum(said, start, end, quality=worst, occurrence_count=said["max_ties"])
    for month, part in said["by_month"].items():
        first = datetime.fromisoformat(f"{month}-01T00:00:00{OFFSET}")
        following = (first + timedelta(days=32)).replace(day=1)
        bounds = max(start, instant_us(first.isoformat())), min(end, instant_us(following.isoformat()))
        yield Expected(Kind.INTERVAL, "channel", *bounds, fraction(part["sum"]), is_month=True)
        yield _maximum(part, *bounds, is_month=True)


def _maximum(said: Mapping[str, Any], start: int, end: int, **more: Any) -> Expected:
    return Expected(
        Kind.PMAX,
        "channel",
        start,
        end,
        fraction(said["max"]),
        peak_start_us=_instant(said["max_start_first"]),
        peak_end_us=_instant(said["max_end_first"]),
        **more,
    )


def _instant(text: str) -> int:
    return instant_us(text + OFFSET)


@cache
def nem13_cases(folder: Path = VECTORS / "nem12") -> tuple[EnergyCase, ...]:
    """Each register's pair of readings, without dial digits and with them."""
    document = json.loads((folder / "nem13_registers.json").read_text(encoding="utf-8"))
    return tuple(_nem13_case(case, index, rolls) for index, case in enumerate(document["cases"]) for rolls in (0, 1))


def _nem13_case(said: Mapping[str, Any], index: int, rolls: int) -> EnergyCase:
    start, end = (
        instant_us(datetime.strptime(said[name] + OFFSET, "%Y%m%d%H%M%S%z").isoformat())
        for name in ("previous_time", "current_time")
    )
    rows = [
        (start, said["previous_read"], said["previous_quality"]),
        (end, said["current_read"], said["current_quality"]),
    ]
    places = decimals_of([value for _, value, _ in rows])
    table = table_of({quality for _, _, quality in rows})
    digits = said["dial_digits"] if rolls else None
    classifier = ChannelClassifier("read", "kWh", places, kind=ChannelKind.REGISTER, dial_digits=digits)
    request = BillingRequest(
        said["nmi"], start, end, ZONE, (ChannelRequest("read", Kind.REGISTER),), on_invalid=OnInvalid.CANCEL
    )
    difference = said["diff_with_rollover"] if rolls else said["diff"]
    expected = (
        Expected(Kind.REGISTER, "read", start, end, fraction(said["current_read"]), quality=said["current_quality"]),
        Expected(Kind.REGISTER_DIFFERENCE, "read", start, end, fraction(difference)),
    )
    return EnergyCase(
        f"{said['id']} {index}{' rolling over' if rolls else ''}",
        request,
        {"read": readings_of(rows, places, table, 1)},
        BillingConfiguration({"read": classifier}, quality=table),
        expected,
    )
