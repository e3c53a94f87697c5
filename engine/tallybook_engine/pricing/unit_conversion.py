"""Unit conversion: the metered quantity in the unit that is billed (tokens to thousands of tokens), rounded once.

It comes before included quantity and tiers. Source: OpenMeter's unit config; `places` 0 and rounding UP is the usual
"per begun thousand", factor 1 with places is quantity rounding (Lago's billable metric rounding).
"""

from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np

from tallybook_engine.decimals import QUANTITY_LIMIT, QUANTITY_SCALE, UNIT, DoesNotFit, Rounding
from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import (
    ONE,
    ZERO,
    Limb,
    add192,
    divide192,
    is_zero192,
    lt192,
    mul128,
    to_limbs,
)

PLACES_MIN = -14
"""Rounding to 10^14 is the coarsest."""
PLACES_MAX = QUANTITY_SCALE

_LIMIT = to_limbs(QUANTITY_LIMIT, 3)


@dataclass(frozen=True, slots=True)
class UnitConversion:
    """Measured units into priced units: exactly one of `divisor` and `factor` is given."""

    divisor: int | None
    """Divide by this, scale 12, above 0."""
    factor: int | None
    """Multiply by this, scale 12, above 0."""
    rounding_places: int = PLACES_MAX
    """Decimals kept, -14 to 12; negative places round to tens, hundreds and so on."""
    rounding: Rounding = Rounding.HALF_AWAY_FROM_ZERO


class ConversionSteps(NamedTuple):
    """A conversion as integers: ((quantity x multiplier + addend) // divisor) x step, all at scale 12."""

    multiplier: int
    addend: int
    divisor: int
    step: int
    to_even: bool
    """Where the division leaves no rest there was a tie, and an odd quotient is one too much."""


def conversion_steps(conversion: UnitConversion) -> ConversionSteps:
    """The integers of a conversion. ValueError if it is not one divisor or factor above 0, with places in range."""
    given = [number for number in (conversion.divisor, conversion.factor) if number is not None]
    if len(given) != 1 or not 0 < given[0] < QUANTITY_LIMIT:
        raise ValueError("a conversion has either a divisor or a factor, above 0 and below 10^15")
    if not PLACES_MIN <= conversion.rounding_places <= PLACES_MAX:
        raise ValueError(f"{conversion.rounding_places} places are not in {PLACES_MIN} .. {PLACES_MAX}")
    step = 10 ** (QUANTITY_SCALE - conversion.rounding_places)
    if conversion.factor is not None:
        numerator, denominator = conversion.factor, UNIT * step
    else:
        numerator, denominator = UNIT, given[0] * step
    common = gcd(numerator, denominator)
    multiplier, divisor = numerator // common, denominator // common
    match conversion.rounding:
        case Rounding.UP:
            addend = divisor - 1
        case Rounding.DOWN:
            addend = 0
        case Rounding.HALF_AWAY_FROM_ZERO | Rounding.HALF_EVEN:
            addend = divisor // 2
    # Only an even divisor has a half.
    to_even = conversion.rounding is Rounding.HALF_EVEN and divisor % 2 == 0
    return ConversionSteps(multiplier, addend, divisor, step, to_even)


def converted_quantity(conversion: UnitConversion, quantity: int) -> int:
    """The converted quantity (scale 12) of one that is not negative. DoesNotFit from 10^15 on."""
    multiplier, addend, divisor, step, to_even = conversion_steps(conversion)
    quotient, rest = divmod(quantity * multiplier + addend, divisor)
    if to_even and rest == 0:
        quotient -= quotient % 2
    if quotient * step >= QUANTITY_LIMIT:
        raise DoesNotFit("the converted quantity is not below 10^15")
    return quotient * step


@inlined_kernel
def convert_quantity(row: np.void, lo: Limb, hi: Limb) -> tuple[bool, Limb, Limb]:
    """(fits, lo, hi) of the converted quantity of one that is not negative."""
    multiplier, addend = row["conversion_multiplier"], row["conversion_addend"]
    divisor, step = row["conversion_divisor"], row["conversion_step"]
    lo, mid, hi = mul128(lo, hi, multiplier[0], multiplier[1])
    lo, mid, hi = add192(lo, mid, hi, addend[0], addend[1], addend[2])
    lo, mid, hi, rest_lo, rest_mid, rest_hi = divide192(
        lo, mid, hi, divisor[0], divisor[1], divisor[2], divisor[3], divisor[4], divisor[5]
    )
    if row["conversion_to_even"] and is_zero192(rest_lo, rest_mid, rest_hi):
        lo &= ~ONE
    # A quotient beyond the limit must not reach the next multiplication, which would wrap.
    if not lt192(lo, mid, hi, _LIMIT[0], _LIMIT[1], _LIMIT[2]):
        return False, ZERO, ZERO
    lo, mid, hi = mul128(lo, mid, step[0], step[1])
    if not lt192(lo, mid, hi, _LIMIT[0], _LIMIT[1], _LIMIT[2]):
        return False, ZERO, ZERO
    return True, lo, mid
