"""A percentage of an amount of money, rounded once, half away from zero."""

from __future__ import annotations

import numpy as np

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import ZERO, add128, divide192, divisor_of, umul64

_UNIT = divisor_of(UNIT)
_HALF = np.uint64(UNIT // 2)
_MINOR_LIMIT = np.uint64(2**63)


@kernel
def percentage_of(amount: np.int64, rate: np.int64) -> tuple[bool, np.int64]:
    """(fits, a rate of an amount): minor units, the rate of scale 12; both above -2^63.

    It fits where its magnitude is below 2^63.
    """
    negative = (amount < 0) != (rate < 0)
    lo, mid = umul64(np.uint64(-amount if amount < 0 else amount), np.uint64(-rate if rate < 0 else rate))
    lo, mid = add128(lo, mid, _HALF, ZERO)
    lo, mid, hi, _, _, _ = divide192(
        lo, mid, ZERO, _UNIT.lo, _UNIT.mid, _UNIT.hi, _UNIT.normalised, _UNIT.shift, _UNIT.reciprocal
    )
    if (mid | hi) != ZERO or lo >= _MINOR_LIMIT:
        return False, np.int64(0)
    found = np.int64(lo)
    return True, -found if negative else found
