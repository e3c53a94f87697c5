"""Billing determinants once more: row by row, with fractions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from tallybook_oracle.local_time import day_class, is_dst, month_starts, wall

TOTAL = "the total"
UNCOVERED = "UNCOVERED"


@dataclass(frozen=True)
class OracleReading:
    """One row."""

    label_us: int
    length_us: int
    value: Fraction
    status: str


@dataclass(frozen=True)
class OracleWindow:
    """A window of a timeslice group."""

    slice: str
    days: str
    """DAILY, WEEKDAYS, WEEKEND, SATURDAY, SUNDAY or HOLIDAYS."""
    start_minute: int
    end_minute: int
    is_dst: bool | None = None
    months: tuple[int, ...] = ()


@dataclass(frozen=True)
class OracleRequest:
    """What is asked."""

    zone: str
    start_us: int
    end_us: int
    label: str
    """END or BEGIN."""
    statuses: tuple[str, ...]
    """From the best to the worst."""
    valueless: frozenset[str] = frozenset()
    windows: tuple[OracleWindow, ...] | None = None
    holidays: frozenset[date] = frozenset()
    as_power: bool = False
    """Maxima are of value by hour."""


@dataclass
class OracleDeterminant:
    """What is answered of one slice of one period."""

    total: Fraction = Fraction(0)
    by_status: Counter[str] = field(default_factory=Counter)
    present: int = 0
    maximum: Fraction | None = None
    maximum_label_us: int | None = None
    occurrences: int = 0

    def worst(self, statuses: Sequence[str]) -> str | None:
        """The worst status that it has."""
        return max(self.by_status, key=statuses.index, default=None)


Answer = dict[tuple[int | None, str], OracleDeterminant]
"""By (month, counted from 0; None for the whole period) and slice, `TOTAL` and `UNCOVERED` among them."""

DAYS = {
    "DAILY": {"WEEKDAY", "SATURDAY", "SUNDAY", "HOLIDAY"},
    "WEEKDAYS": {"WEEKDAY"},
    "WEEKEND": {"SATURDAY", "SUNDAY"},
    "SATURDAY": {"SATURDAY"},
    "SUNDAY": {"SUNDAY"},
    "HOLIDAYS": {"HOLIDAY"},
}


def is_taken(request: OracleRequest, label_us: int) -> bool:
    """Whether a period takes a label."""
    if request.start_us == request.end_us:
        return label_us == request.start_us
    if request.label == "END":
        return request.start_us < label_us <= request.end_us
    return request.start_us <= label_us < request.end_us


def slices_of(request: OracleRequest, start_us: int) -> list[str]:
    """The slices that claim an interval that starts so."""
    if request.windows is None:
        return []
    here = wall(request.zone, start_us)
    minute = Fraction(here.hour * 60 + here.minute) + Fraction(here.second * 10**6 + here.microsecond, 60 * 10**6)
    found = []
    for window in request.windows:
        if window.start_minute < window.end_minute:
            fits = window.start_minute <= minute < window.end_minute
        else:
            fits = minute >= window.start_minute or minute < window.end_minute
        fits = fits and day_class(here.date(), request.holidays) in DAYS[window.days]
        fits = fits and (not window.months or here.month in window.months)
        if fits and window.is_dst is not None:
            fits = is_dst(request.zone, start_us) == window.is_dst
        if fits and window.slice not in found:
            found.append(window.slice)
    return found or [UNCOVERED]


def determinants(request: OracleRequest, rows: Sequence[OracleReading]) -> Answer:
    """Of the whole period and of each of its months."""
    starts = [request.start_us]
    if request.start_us < request.end_us:
        starts = month_starts(request.zone, request.start_us, request.end_us)
    names = [TOTAL]
    if request.windows is not None:
        names += [*dict.fromkeys(window.slice for window in request.windows), UNCOVERED]
    months: list[int | None] = [None, *range(len(starts))]
    answer: Answer = {(month, name): OracleDeterminant() for month in months for name in names}
    for row in sorted(rows, key=lambda row: row.label_us):
        if not is_taken(request, row.label_us):
            continue
        start_us = row.label_us - row.length_us if request.label == "END" else row.label_us
        month = max((index for index, at in enumerate(starts) if at <= start_us), default=0)
        for name in [TOTAL, *slices_of(request, start_us)]:
            for part in (None, month):
                _add(answer[(part, name)], request, row)
    return answer


def _add(to: OracleDeterminant, request: OracleRequest, row: OracleReading) -> None:
    to.by_status[row.status] += 1
    if row.status in request.valueless:
        return
    to.present += 1
    to.total += row.value
    compared = row.value * 3_600_000_000 / row.length_us if request.as_power else row.value
    if to.maximum is None or compared > to.maximum:
        to.maximum, to.maximum_label_us, to.occurrences = compared, row.label_us, 1
    elif compared == to.maximum:
        to.occurrences += 1


def register_reading(
    rows: Sequence[OracleReading], valueless: frozenset[str], instant_us: int, tolerance_us: int
) -> OracleReading | None:
    """The nearest reading within the tolerance, the earlier of two."""
    near = [row for row in rows if abs(row.label_us - instant_us) <= tolerance_us and row.status not in valueless]
    return min(near, key=lambda row: (abs(row.label_us - instant_us), row.label_us), default=None)


def register_difference(start: Fraction, end: Fraction, dial_digits: int | None) -> Fraction:
    """What was counted."""
    if end < start and dial_digits is not None:
        return end + 10**dial_digits - start
    return end - start
