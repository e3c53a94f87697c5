"""Readings' integers as quantities: scale 12, within the limits, quotients rounded once."""

from __future__ import annotations

from fractions import Fraction

from tallybook_engine.decimals import QUANTITY_LIMIT, QUANTITY_SCALE, UNIT, DoesNotFit, ratio

HOUR_US = 3_600_000_000


def quantity_of(value: int, decimal_places: int) -> int:
    """An integer at a channel's scale as a quantity (scale 12). DoesNotFit from 10^15 on."""
    return fitting(value * 10 ** (QUANTITY_SCALE - decimal_places))


def power_of(energy: int, decimal_places: int, length_us: int) -> int:
    """Mean power of an interval in the unit of energy less its hour (kWh: kW), scale 12, rounded half away from zero.

    DoesNotFit from 10^15 on.
    """
    return fitting(ratio(energy * 10 ** (QUANTITY_SCALE - decimal_places) * HOUR_US, length_us))


def quotient(dividend: int, divisor: int) -> int:
    """Ratio of two integers of one scale, scale 12, rounded half away from zero; `divisor` is not 0."""
    return ratio(dividend * UNIT, divisor) if divisor > 0 else ratio(-dividend * UNIT, -divisor)


def rounded(value: Fraction) -> int:
    """The nearest integer; a half goes away from zero."""
    return ratio(value.numerator, value.denominator)


def fitting(quantity: int) -> int:
    """The quantity (scale 12) itself. DoesNotFit if its magnitude is 10^15 or more."""
    if abs(quantity) >= QUANTITY_LIMIT:
        raise DoesNotFit(f"a determinant of {quantity} at scale {QUANTITY_SCALE} is not below 10^15")
    return quantity


def power_unit(unit: str) -> str | None:
    """The unit of power of a unit of energy: "kW" of "kWh". None where there is none."""
    return unit[:-1] if len(unit) > 1 and unit.endswith(("h", "H")) else None
