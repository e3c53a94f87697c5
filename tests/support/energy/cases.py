"""Energy vectors as values: a request, readings, a configuration, and what is expected of the answer.

What a case is run through is its test's own affair: `run` here is the engine; a test over gRPC makes the same result
of its answer and gives it to `check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import Days, TimesliceGroup, TimesliceInterval
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.determinants.readings import Instants, ListedTimes, Readings
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest
from tallybook_engine.determinants.result import Cancellation, Determinant, Reason, Result

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "energy"
MINUTE_US = 60_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNSAID = "what the case does not say"


@dataclass(frozen=True)
class Expected:
    """One determinant, by what it is of; a field that the case does not say is left at its default."""

    kind: Kind
    channel: str
    start_us: int
    end_us: int
    value: Fraction | None
    slice: str | None = None
    demand: str | None = None
    is_month: bool = False
    tolerance: Fraction = Fraction(0)
    quality: str | None = UNSAID
    """Or the beginnings of it: a case that ranks letters says "S" of S11."""
    expected_count: int | None = None
    present_count: int | None = None
    missing_count: int | None = None
    by_status: Mapping[str, int] | None = None
    peak_start_us: int | None = None
    peak_end_us: int | None = None
    peak_quality: str | None = None
    occurrence_count: int | None = None


@dataclass(frozen=True)
class EnergyCase:
    """A request that the case asks, and its expected answer: determinants or a reason to cancel."""

    id: str
    request: BillingRequest
    readings: Mapping[str, Readings]
    configuration: BillingConfiguration
    expected: tuple[Expected, ...] = ()
    reason: Reason | None = None
    """Given, the request is cancelled."""
    channels: frozenset[str] = field(default_factory=frozenset)
    """That the cancellation names."""


def run(case: EnergyCase) -> Result | Cancellation:
    """Through the engine."""
    return calculate(case.request, case.readings, case.configuration)


def check(case: EnergyCase, outcome: Result | Cancellation) -> None:
    """Every expected determinant is there with what the case says of it."""
    if case.reason is not None:
        assert isinstance(outcome, Cancellation)
        assert outcome.reason is case.reason
        assert {cause.channel for cause in outcome.causes} == case.channels
        return
    assert isinstance(outcome, Result), outcome
    found = {
        (each.kind, each.channel, each.slice, each.demand, each.start_us, each.end_us, each.is_month): each
        for each in outcome.determinants
    }
    assert len(found) == len(outcome.determinants)
    for expected in case.expected:
        key = (
            expected.kind,
            expected.channel,
            expected.slice,
            expected.demand,
            expected.start_us,
            expected.end_us,
            expected.is_month,
        )
        assert key in found, f"{key} is not in {list(found)}"
        _check_one(expected, found[key])


def _check_one(expected: Expected, found: Determinant) -> None:
    said = f"{expected} but {found}"
    if expected.value is None or found.value is None:
        assert expected.value is None, said
        assert found.value is None, said
    else:
        assert abs(Fraction(found.value, 10**12) - expected.value) <= expected.tolerance, said
    if expected.quality is None or found.quality is None:
        assert expected.quality in (UNSAID, found.quality), said
    else:
        assert expected.quality == UNSAID or found.quality.startswith(expected.quality), said
    counts, peak = found.counts, found.peaks[0] if found.peaks else None
    pairs: list[tuple[Any, Any]] = [
        (expected.expected_count, counts and counts.expected),
        (expected.present_count, counts and counts.present),
        (expected.missing_count, counts and counts.missing),
        (expected.by_status, counts and dict(counts.by_status)),
        (expected.peak_start_us, peak and peak.start_us),
        (expected.peak_end_us, peak and peak.end_us),
        (expected.peak_quality, peak and peak.quality),
        (expected.occurrence_count, peak and peak.occurrence_count),
    ]
    for wanted, has in pairs:
        assert wanted is None or wanted == has, said


def instant_us(text: str) -> int:
    """Of an ISO 8601 text; a naive one is UTC."""
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)


def fraction(number: Decimal | str | int | None) -> Fraction | None:
    """An exact number of a file, read without floats."""
    return None if number is None else Fraction(str(number))


def minute(text: str) -> int:
    """Minutes since midnight of "HH:MM"."""
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


DAYS = {
    "any": Days.DAILY,
    "daily": Days.DAILY,
    "weekday": Days.WEEKDAYS,
    "weekend": Days.WEEKEND,
    "saturday": Days.SATURDAY,
    "sunday": Days.SUNDAY,
    "holiday": Days.HOLIDAYS,
}


def timeslice(channel: str, days: str, start: str, end: str, is_dst: bool | None) -> TimesliceInterval:
    """A window as the cases write it."""
    return TimesliceInterval(channel, DAYS[days], minute(start), minute(end), is_dst)


def group_of(intervals: Sequence[TimesliceInterval]) -> TimesliceGroup:
    """The case's timeslice group."""
    return TimesliceGroup("group", tuple(intervals))


def readings_of(
    rows: Sequence[tuple[int, str, str]], decimal_places: int, table: QualityTable, interval_us: int | Instants
) -> Readings:
    """(label, value, status) rows in order of time, the value a decimal text; a blank one is of the worst status."""
    values = [scaled(text, decimal_places) if text else 0 for _, text, _ in rows]
    worst = len(table.statuses) - 1
    codes = [table.code(status) if text else worst for _, text, status in rows]
    labels = np.array([label for label, _, _ in rows], dtype=np.int64)
    return Readings(ListedTimes(labels, interval_us), np.array(values, dtype=np.int64), np.array(codes, dtype=np.uint8))


def scaled(text: str, decimal_places: int) -> int:
    """A decimal text as an integer; more decimals than the channel has are rounded, as binary floats print them."""
    return int(Decimal(text).scaleb(decimal_places).to_integral_value(rounding="ROUND_HALF_UP"))


def decimals_of(texts: Sequence[str]) -> int:
    """Decimals that the longest of some texts has."""
    return max((len(text.partition(".")[2]) for text in texts), default=0)
