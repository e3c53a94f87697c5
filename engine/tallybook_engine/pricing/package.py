"""Package: units are sold in packages of one size; begun packages count (UP) or only full ones do (DOWN).

Lago and Stripe package, Solvimon block_size, Kill Bill blocks.
"""

from dataclasses import dataclass

import numpy as np

from tallybook_engine.decimals import AMOUNT_LIMIT, QUANTITY_LIMIT, UNIT, Rounding
from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import (
    ZERO,
    Limb,
    Triple,
    add128,
    divide192,
    lt192,
    mul128,
    to_limbs,
    umul64,
    widen,
)
from tallybook_engine.pricing.line import LineKind, PriceLine

_UNIT = to_limbs(UNIT, 2)
_LIMIT = to_limbs(QUANTITY_LIMIT, 3)
_MINUS_LIMIT = to_limbs(-QUANTITY_LIMIT, 3)
_TOO_MUCH = to_limbs(AMOUNT_LIMIT, 3)
_TOO_LITTLE = to_limbs(-AMOUNT_LIMIT, 3)


@dataclass(frozen=True, slots=True)
class Package:
    """One amount for each package of `size` units."""

    size: int
    """Units of a package, scale 12, above 0."""
    amount: int
    """Price of a package, scale 12."""
    rounding: Rounding = Rounding.UP
    """UP: a begun package costs as much as a full one; DOWN: nothing."""


def rounding_addend(model: Package) -> int:
    """What is added to a quantity so that whole packages come out of a division that cuts."""
    return model.size - 1 if model.rounding is Rounding.UP else 0


@inlined_kernel
def package_price(row: np.void, lo: Limb, hi: Limb) -> Triple:
    """Exact price (scale 24), or where it lies beyond the limit no less than that, which a cap can still bring back."""
    addend, size, amount = row["package_addend"], row["package_size"], row["package_amount"]
    lo, hi = add128(lo, hi, addend[0], addend[1])
    if (hi | size[1] | size[2] | amount[1]) == ZERO:
        # As nearly always: a word of packages, a word each, and three hold the product whatever it is.
        cost_lo, cost_hi = umul64(lo // size[0], amount[0])
        lo, carried = umul64(cost_lo, _UNIT[0])
        mid, hi = umul64(cost_hi, _UNIT[0])
        mid, hi = add128(mid, hi, carried, ZERO)
        return lo, mid, hi
    lo, mid, hi = widen(lo, hi)
    count_lo, count_hi, _, _, _, _ = divide192(lo, mid, hi, size[0], size[1], size[2], size[3], size[4], size[5])
    lo, mid, hi = mul128(count_lo, count_hi, amount[0], amount[1])
    # Still scale 12: up to 10^27 packages of 10^15 would not fit three limbs at scale 24.
    if not lt192(lo, mid, hi, _LIMIT[0], _LIMIT[1], _LIMIT[2]):
        return _TOO_MUCH
    if not lt192(_MINUS_LIMIT[0], _MINUS_LIMIT[1], _MINUS_LIMIT[2], lo, mid, hi):
        return _TOO_LITTLE
    return mul128(lo, mid, _UNIT[0], _UNIT[1])


def package_lines(model: Package, quantity: int) -> list[PriceLine]:
    """One line that counts packages, or none for none."""
    count = (quantity + rounding_addend(model)) // model.size
    if count == 0:
        return []
    return [PriceLine(LineKind.PACKAGE, 0, count * UNIT, model.amount, 0, count * model.amount * UNIT)]
