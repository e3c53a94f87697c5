"""Demand schemes once more: every window tried, with fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from tallybook_oracle.local_time import HOUR_US, wall


@dataclass(frozen=True)
class OracleInterval:
    """Energy of an interval that has a value."""

    start_us: int
    length_us: int
    energy: Fraction

    @property
    def end_us(self) -> int:
        """Its end."""
        return self.start_us + self.length_us


@dataclass(frozen=True)
class OracleMean:
    """Mean power of a window."""

    start_us: int
    power: Fraction


def windows(intervals: Sequence[OracleInterval], window_us: int) -> list[OracleMean]:
    """Every window that begins with an interval and that intervals fill without a gap."""
    found = []
    for first in range(len(intervals)):
        start = at = intervals[first].start_us
        energy = Fraction(0)
        for interval in intervals[first:]:
            if interval.start_us != at or interval.end_us > start + window_us:
                break
            energy += interval.energy
            at = interval.end_us
        if at == start + window_us:
            found.append(OracleMean(start, energy * HOUR_US / window_us))
    return found


def largest(found: Sequence[OracleMean]) -> OracleMean | None:
    """The first largest."""
    return max(found, key=lambda each: (each.power, -each.start_us), default=None)


def blocks(zone: str, found: Sequence[OracleMean], window_us: int) -> list[OracleMean]:
    """Those that begin at multiples of their length from local midnight."""
    kept = []
    for each in found:
        here = wall(zone, each.start_us)
        since_midnight = (here.hour * 3_600 + here.minute * 60 + here.second) * 10**6 + here.microsecond
        if since_midnight % window_us == 0:
            kept.append(each)
    return kept


def mean_of_top(
    zone: str, found: Sequence[OracleMean], count: int, share: Fraction, share_hours: range | None
) -> Fraction | None:
    """The mean of the largest blocks of so many different days; blocks of some hours count at a share."""
    best: dict[date, Fraction] = {}
    for each in found:
        here = wall(zone, each.start_us)
        power = each.power
        if share_hours is not None and (here.hour in share_hours or here.hour + 24 in share_hours):
            power *= share
        best[here.date()] = max(best.get(here.date(), power), power)
    top = sorted(best.values(), reverse=True)[:count]
    return sum(top, Fraction(0)) / len(top) if top else None


def mean_of_monthly_peaks(peaks: Sequence[Fraction], floor: Fraction, count: int) -> Fraction:
    """The mean of the last peaks, each at least a floor."""
    last = [max(peak, floor) for peak in peaks[-count:]]
    return sum(last, Fraction(0)) / len(last)


def ratchet(
    peaks: Sequence[Fraction],
    month: int,
    lookback: int,
    shares: Sequence[Fraction],
    in_full: Sequence[bool],
    minimum: Fraction,
) -> Fraction:
    """Billing demand of the last month; shares are by month of the year."""
    demand = minimum
    for back in range(lookback + 1):
        if back < len(peaks):
            demand = max(demand, peaks[-1 - back] * shares[(month - 1 - back) % 12])
    if in_full[month - 1]:
        demand = max(demand, peaks[-1])
    return demand


def spread_peaks(zone: str, found: Sequence[OracleMean], count: int, days_apart: int, window_us: int) -> list[int]:
    """Beginnings of the largest windows, so many local days from each other."""
    chosen: list[int] = []
    for each in sorted(found, key=lambda each: (-each.power, each.start_us)):
        day = wall(zone, each.start_us).date()
        if len(chosen) < count and all(
            abs((day - wall(zone, other).date()).days) >= days_apart and abs(each.start_us - other) >= window_us
            for other in chosen
        ):
            chosen.append(each.start_us)
    return sorted(chosen)
