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
from math import gcd, isqrt

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import QUANTITY_SCALE, UNIT
from tallybook_engine.demand.load import Load
from tallybook_engine.demand.periods import whole_and_months
from tallybook_engine.demand.scheme import Demand, Scheme, not_negative
from tallybook_engine.determinants.numbers import fitting, quantity_of, rounded
from tallybook_engine.determinants.parts import Part
from tallybook_engine.kernels import inlined_kernel, kernel
from tallybook_engine.kernels.arrays import to_read
from tallybook_engine.kernels.wide import add128, from_limbs, to_limbs, umul64

_LIMBS = 3
"""Of a factor that intervals are compared with: the ratio is below 10^15, at scale 12, and so are both channels."""


@dataclass(frozen=True)
class ExcessReactive(Scheme):
    """Reactive energy above a share of the active energy; the request's channel is the active one."""

    reactive_channel: str
    ratio: int = UNIT // 2
    """Share of the active energy that is free, tan phi; scale 12."""
    is_by_interval: bool = False
    """Compare each interval, where both channels have a value for it, and add the excesses up."""

    def __post_init__(self) -> None:
        not_negative(self.ratio, "ratio")

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
    excesses = _excess_by_cell(load, reactive, scheme.ratio) if scheme.is_by_interval else None
    for sums in _sums(load, reactive, split_by_month):
        if excesses is None:
            excess = excess_of(sums.active, sums.reactive, scheme.ratio)
        else:
            excess = sum((excesses[cell] for cell in sums.cells), start=Fraction(0))
        yield sums.demand(fitting(rounded(excess)), unit)


def power_factor(load: Load, reactive: Load, split_by_month: bool) -> Iterator[Demand]:
    """Of the period, and of each of its months where they are asked for."""
    for sums in _sums(load, reactive, split_by_month):
        yield sums.demand(power_factor_of(sums.active, sums.reactive), "1")


@dataclass(frozen=True)
class _Sums:
    """Both energies of one period, scale 12."""

    cells: range
    """The months that it is made of."""
    start_us: int
    end_us: int
    is_month: bool
    active: int
    reactive: int
    quality: str | None
    """The worst status of both."""
    part: Part

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
        yield _Sums(cells, start, end, is_month, active_sum, reactive_sum, quality, parts[0][1])


def _excess_by_cell(load: Load, reactive: Load, ratio: int) -> list[Fraction]:
    """The excess of each local month, in units of scale 12.

    An interval counts where both channels have a value for it, and reactive energy is above its share. What counts is
    found interval by interval; the excess is the difference of the sums of both energies over these.
    """
    active_factor, reactive_factor = (10 ** (QUANTITY_SCALE - of.classifier.decimal_places) for of in (load, reactive))
    # reactive > active * ratio, in the integers of both columns, which are compared after multiplication.
    shares = (reactive_factor * UNIT, active_factor * ratio)
    common = gcd(*shares)
    bounds = load.month_bounds()
    sums = np.zeros((len(bounds) - 1, 4), np.uint64)
    factors = np.array([to_limbs(share // common, _LIMBS) for share in shares], dtype=np.uint64)
    _add_excesses(*_columns(load), *_columns(reactive), factors, bounds, sums)
    return [Fraction(from_limbs(*row[2:]) * shares[0] - from_limbs(*row[:2]) * shares[1], UNIT) for row in sums]


def _columns(of: Load) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(starts, lengths, values) of the intervals of the period that have a value; they begin one after the other."""
    starts, lengths, first = of.intervals()
    rows = slice(first, first + len(starts))
    usable = of.quality.has_value()[of.readings.quality[rows]]
    columns = [column[usable] for column in (starts, lengths, of.readings.values[rows])]
    starts, lengths, values = (to_read(column) for column in columns)
    return starts, lengths, values


@kernel
def _add_excesses(
    active_starts: NDArray[np.int64],
    active_lengths: NDArray[np.int64],
    active_values: NDArray[np.int64],
    reactive_starts: NDArray[np.int64],
    reactive_lengths: NDArray[np.int64],
    reactive_values: NDArray[np.int64],
    factors: NDArray[np.uint64],
    bounds: NDArray[np.int64],
    sums: NDArray[np.uint64],
) -> None:
    """Adds (active, reactive), 128 bits each, of the intervals that count to the month in which each begins.

    One that reaches into the period from before belongs to its first month.
    """
    active, reactive, cell = 0, 0, 0
    while active < len(active_starts) and reactive < len(reactive_starts):
        start, other_start = active_starts[active], reactive_starts[reactive]
        if start < other_start:
            active += 1
            continue
        if start > other_start:
            reactive += 1
            continue
        is_same = active_lengths[active] == reactive_lengths[reactive]
        value, drawn = active_values[active], reactive_values[reactive]
        active += 1
        reactive += 1
        while cell + 1 < len(bounds) and start >= bounds[cell + 1]:
            cell += 1
        if cell + 1 == len(bounds):
            return
        if is_same and _is_above(drawn, factors[0], value, factors[1]):
            sums[cell, 0], sums[cell, 1] = _added(sums[cell, 0], sums[cell, 1], value)
            sums[cell, 2], sums[cell, 3] = _added(sums[cell, 2], sums[cell, 3], drawn)


@inlined_kernel
def _added(low: np.uint64, high: np.uint64, value: np.int64) -> tuple[np.uint64, np.uint64]:
    return add128(low, high, np.uint64(value), np.uint64(value >> 63))


@inlined_kernel
def _is_above(a: np.int64, a_factor: NDArray[np.uint64], b: np.int64, b_factor: NDArray[np.uint64]) -> bool:
    """Whether a times its factor, above 0, is above b times its factor, at least 0; both of three limbs."""
    if a >= 0 and b < 0:
        return bool(a > 0 or b_factor[0] != 0 or b_factor[1] != 0 or b_factor[2] != 0)
    if a < 0 and b >= 0:
        return False
    a_size, b_size = np.uint64(abs(a)), np.uint64(abs(b))
    a0, a1, a2, a3 = _times(a_size, a_factor[0], a_factor[1], a_factor[2])
    b0, b1, b2, b3 = _times(b_size, b_factor[0], b_factor[1], b_factor[2])
    if a3 != b3:
        larger = a3 > b3
    elif a2 != b2:
        larger = a2 > b2
    elif a1 != b1:
        larger = a1 > b1
    elif a0 != b0:
        larger = a0 > b0
    else:
        return False
    return bool(larger == (a >= 0))


@inlined_kernel
def _times(
    size: np.uint64, low: np.uint64, mid: np.uint64, high: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """One limb times three, as four."""
    first, first_carry = umul64(size, low)
    second, second_carry = umul64(size, mid)
    third, fourth = umul64(size, high)
    # A product's upper limb is at most 2^64 - 2, so that each of these takes a carry.
    second, carried = add128(second, second_carry, first_carry, np.uint64(0))
    third, fourth = add128(third, fourth, carried, np.uint64(0))
    return first, second, third, fourth
