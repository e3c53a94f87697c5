"""The calendars of a simulation: which parts and billing periods there are, shared by contracts that share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.periods import anchor_date, boundaries
from tallybook_engine.catalog.model import Frequency, PeriodUnit
from tallybook_engine.simulation.grouping import NEVER_US, Parts
from tallybook_engine.simulation.usage import SimulationTooLargeError

PERIODS_MAX = 1_048_576
"""Billing and accumulation periods of all calendars of a simulation together."""

_DAY_US = 86_400_000_000
_DAYS = {PeriodUnit.DAY: 1, PeriodUnit.WEEK: 7, PeriodUnit.MONTH: 28, PeriodUnit.YEAR: 365}


@dataclass(frozen=True, slots=True)
class CalendarKey:
    """What contracts have in common that have the same periods."""

    time_zone: str
    anchor: date
    billing: Frequency
    accumulation: Frequency


@dataclass(frozen=True, slots=True)
class Calendars:
    """The periods of all calendars, one calendar behind the other."""

    parts: Parts
    part_range: NDArray[np.int64]
    """[calendars, 2] parts of each calendar."""
    period_first_part: NDArray[np.int64]
    """[accumulation periods] the part at which each begins."""
    period_end_part: NDArray[np.int64]
    """[accumulation periods] the part behind its last."""
    period_start_us: NDArray[np.int64]
    period_end_us: NDArray[np.int64]
    billing_start_us: NDArray[np.int64]
    billing_end_us: NDArray[np.int64]


def make_calendars(spans: Mapping[CalendarKey, tuple[int, int]], go_on: GoOn = unasked) -> Calendars:
    """The calendars that hold these (first, last) instants, in their order. Raises SimulationTooLargeError."""
    _check_size(spans)
    part_starts, periods, billings, ranges = [], [], [], []
    first_parts, end_parts, period_starts, period_ends, billing_starts, billing_ends = [], [], [], [], [], []
    part_count = period_count = billing_count = 0
    for key, (first_us, last_us) in asking(spans.items(), go_on):
        if first_us > last_us:
            ranges.append((part_count, part_count))
            continue
        accumulated = boundaries(
            key.accumulation, anchor_date(key.accumulation, key.anchor), key.time_zone, first_us, last_us
        )
        start_us, end_us = int(accumulated[0]), int(accumulated[-1])
        billed = boundaries(key.billing, anchor_date(key.billing, key.anchor), key.time_zone, start_us, end_us - 1)
        starts = np.union1d(accumulated[:-1], billed[(billed > start_us) & (billed < end_us)])
        period = np.searchsorted(accumulated, starts, side="right") - 1
        part_starts.append(starts)
        periods.append(period + period_count)
        billings.append(np.searchsorted(billed, starts, side="right") - 1 + billing_count)
        first_parts.append(np.searchsorted(period, np.arange(len(accumulated) - 1), side="left") + part_count)
        end_parts.append(np.searchsorted(period, np.arange(len(accumulated) - 1), side="right") + part_count)
        period_starts.append(accumulated[:-1])
        period_ends.append(accumulated[1:])
        billing_starts.append(billed[:-1])
        billing_ends.append(billed[1:])
        ranges.append((part_count, part_count + len(starts)))
        part_count += len(starts)
        period_count += len(accumulated) - 1
        billing_count += len(billed) - 1
    return Calendars(
        Parts(_joined(part_starts, np.int64), _joined(periods, np.int32), _joined(billings, np.int32)),
        np.array(ranges, dtype=np.int64).reshape(-1, 2),
        _joined(first_parts, np.int64),
        _joined(end_parts, np.int64),
        _joined(period_starts, np.int64),
        _joined(period_ends, np.int64),
        _joined(billing_starts, np.int64),
        _joined(billing_ends, np.int64),
    )


def opened_billing(
    key: CalendarKey, first_us: NDArray[np.int64], last_us: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(start of the first, end of the last) billing period in which usage of these (first, last) instants may open a
    line: a line opens also where an accumulation period with usage begins. Raises SimulationTooLargeError."""
    low_us, high_us = int(first_us.min()), int(last_us.max())
    _check_size({key: (low_us, high_us)})
    accumulated = boundaries(
        key.accumulation, anchor_date(key.accumulation, key.anchor), key.time_zone, low_us, high_us
    )
    billed = boundaries(key.billing, anchor_date(key.billing, key.anchor), key.time_zone, int(accumulated[0]), high_us)
    begins_us = accumulated[np.searchsorted(accumulated, first_us, side="right") - 1]
    first = np.searchsorted(billed, begins_us, side="right") - 1
    last = np.searchsorted(billed, last_us, side="right") - 1
    return billed[first], billed[last + 1]


def _joined(arrays: list[NDArray[np.int64]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(arrays).astype(dtype) if arrays else np.empty(0, dtype=dtype)


def _check_size(spans: Mapping[CalendarKey, tuple[int, int]]) -> None:
    """No more boundaries are looked for than may be there."""
    total = 0
    for key, (first_us, last_us) in spans.items():
        if first_us != NEVER_US:
            days = (last_us - first_us) // _DAY_US
            for frequency in (key.billing, key.accumulation):
                total += days // (_DAYS[frequency.unit] * frequency.interval) + 2
    if total > PERIODS_MAX:
        raise SimulationTooLargeError(
            f"about {total} periods between the first and the last usage of its contracts; at most {PERIODS_MAX}"
        )
