"""Reactive energy: what is drawn above a share of the active energy, and the power factor.

Excess is the reactive energy above `ratio` times the active energy, never below 0: of the period as a whole, or
interval by interval and added up. The power factor is active over apparent energy, the root of the squares' sum.

Source: Germany, grid companies' price sheets (Blindmehrarbeit: above 50 % of the active energy, cos phi 0.9); France,
Enedis TURPE, tan phi 0.4; IEEE Std 1459 for the (arithmetic) power factor of energies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from tallybook_engine.decimals import QUANTITY_SCALE, UNIT
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.periods import whole_and_months
from tallybook_engine.demand.scheme import Demand, Scheme, at_least
from tallybook_engine.determinants.numbers import fitting, quantity_of, rounded
from tallybook_engine.determinants.parts import Part


@dataclass(frozen=True)
class ExcessReactive(Scheme):
    """Reactive energy above a share of the active energy; the request's channel is the active one."""

    reactive_channel: str
    ratio: int = UNIT // 2
    """Share of the active energy that is free, tan phi; scale 12."""
    is_by_interval: bool = False
    """Compare each interval, where both channels have a value for it, and add the excesses up."""

    def __post_init__(self) -> None:
        at_least(self.ratio, 0, "ratio")

    def other_channels(self) -> tuple[str, ...]:
        return (self.reactive_channel,)


@dataclass(frozen=True)
class PowerFactor(Scheme):
    """Active over apparent energy, 0 to 1; the request's channel is the active one."""

    reactive_channel: str

    def other_channels(self) -> tuple[str, ...]:
        return (self.reactive_channel,)


def excess_of(active: int, reactive: int, ratio: int) -> Fraction:
    """Reactive energy above the free share, in units of scale 12; all three at scale 12."""
    return max(Fraction(0), reactive - Fraction(active * ratio, UNIT))


def power_factor_of(active: int, reactive: int) -> int | None:
    """Active over apparent energy, of the same scale; scale 12, rounded half away from zero. None of no energy.

    A negative active energy has a negative factor.
    """
    squares = active * active + reactive * reactive
    if squares == 0:
        return None
    # round(x) of a root: floor(2 x) decides the half; the factor is irrational or exact, so no half is missed.
    doubled = isqrt(4 * active * active * UNIT * UNIT // squares)
    factor = (doubled + 1) // 2
    return -factor if active < 0 else factor


def excess_reactive(scheme: ExcessReactive, load: Load, reactive: Load, split_by_month: bool) -> Iterator[Demand]:
    """Of the period, and of each of its months where they are asked for."""
    unit = reactive.classifier.unit
    pairs = _pairs(load, reactive) if scheme.is_by_interval else None
    for sums in _sums(load, reactive, split_by_month):
        if pairs is None:
            excess = excess_of(sums.active, sums.reactive, scheme.ratio)
        else:
            excess = sum(
                (excess_of(active, drawn, scheme.ratio) for at, active, drawn in pairs if sums.has(at)),
                start=Fraction(0),
            )
        yield sums.demand(fitting(rounded(excess)), unit)


def power_factor(load: Load, reactive: Load, split_by_month: bool) -> Iterator[Demand]:
    """Of the period, and of each of its months where they are asked for."""
    for sums in _sums(load, reactive, split_by_month):
        yield sums.demand(power_factor_of(sums.active, sums.reactive), "1")


@dataclass(frozen=True)
class _Sums:
    """Both energies of one period, scale 12."""

    start_us: int
    end_us: int
    is_month: bool
    active: int
    reactive: int
    quality: str | None
    """The worst status of both."""
    part: Part

    def has(self, instant_us: int) -> bool:
        return self.start_us <= instant_us < self.end_us

    def demand(self, value: int | None, unit: str) -> Demand:
        return Demand(self.start_us, self.end_us, self.is_month, value, unit, self.quality, self.part)


def _sums(load: Load, reactive: Load, split_by_month: bool) -> Iterator[_Sums]:
    bounds = load.month_bounds()
    scans = [(of, of.scan(bounds)) for of in (load, reactive)]
    for cells, start, end, is_month in whole_and_months(bounds, split_by_month):
        parts = [(of, scan.part(cells)) for of, scan in scans]
        active_sum, reactive_sum = (quantity_of(part.total, of.classifier.decimal_places) for of, part in parts)
        code = max((part.worst for _, part in parts if part.worst is not None), default=None)
        quality = None if code is None else load.quality.statuses[code].name
        yield _Sums(start, end, is_month, active_sum, reactive_sum, quality, parts[0][1])


def _pairs(load: Load, reactive: Load) -> list[tuple[int, int, int]]:
    """(start, active, reactive at scale 12) of the intervals that both channels have a value for."""
    found = []
    for of in (load, reactive):
        starts, lengths, first = of.intervals()
        rows = slice(first, first + len(starts))
        usable = of.quality.has_value()[of.readings.quality[rows]]
        factor = 10 ** (QUANTITY_SCALE - of.classifier.decimal_places)
        columns = zip(
            starts.tolist(), lengths.tolist(), of.readings.values[rows].tolist(), usable.tolist(), strict=True
        )
        found.append({(start, length): value * factor for start, length, value, is_usable in columns if is_usable})
    active, drawn = found
    # One that reaches into the period from before belongs to the period's first month.
    return [(max(key[0], load.start_us), active[key], drawn[key]) for key in active if key in drawn]
