"""A plan's minimum and cap: the exact price is raised to the one, then cut to the other.

Both are part of the plan's exact price F of an accumulation period, so they see what all its events cost together.
"""

import numpy as np

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import Limb, Triple, lt192
from tallybook_engine.pricing.line import LineKind, PriceLine


@inlined_kernel
def at_least_minimum(row: np.void, lo: Limb, mid: Limb, hi: Limb) -> Triple:
    """max(amount, minimum), exact (scale 24)."""
    minimum = row["minimum"]
    if lt192(lo, mid, hi, minimum[0], minimum[1], minimum[2]):
        return minimum[0], minimum[1], minimum[2]
    return lo, mid, hi


@inlined_kernel
def at_most_cap(row: np.void, lo: Limb, mid: Limb, hi: Limb) -> Triple:
    """min(amount, cap), exact (scale 24)."""
    cap = row["cap"]
    if lt192(cap[0], cap[1], cap[2], lo, mid, hi):
        return cap[0], cap[1], cap[2]
    return lo, mid, hi


def minimum_lines(minimum: int | None, amount: int) -> list[PriceLine]:
    """What is missing to the minimum (scale 12) of an exact amount (scale 24), if anything."""
    if minimum is None or amount >= minimum * UNIT:
        return []
    return [PriceLine(LineKind.MINIMUM, 0, 0, None, 0, minimum * UNIT - amount)]


def cap_lines(cap: int | None, amount: int) -> list[PriceLine]:
    """What lies above the cap (scale 12) of an exact amount (scale 24), negative, if anything."""
    if cap is None or amount <= cap * UNIT:
        return []
    return [PriceLine(LineKind.CAP, 0, 0, None, 0, cap * UNIT - amount)]
