"""Spreading an amount over parts by their weights, by largest remainder: the parts add up to it exactly.

Each part gets its share cut to the minor unit; what is left goes, a unit each, to the largest remainders, of equal ones
to the first (Hare's method, as votes become seats).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import ONE, ZERO, divide_pair, umul64

_WEIGHT_LIMIT = np.uint64(2**63)


@kernel
def spread(
    amount: np.int64,
    weights: NDArray[np.int64],
    count: int,
    parts: NDArray[np.int64],
    remainders: NDArray[np.uint64],
) -> tuple[bool, bool]:
    """(fits, whether any weight is above 0); writes an amount, above -2^63, in parts of its sign, one a weight.

    A weight of 0 or below has no part. `remainders` is room to work in, as long as the others are: `count` or more.
    It fits where the weights above 0 are below 2^63 together; otherwise nothing is said of the parts.
    """
    total = ZERO
    for index in range(count):
        parts[index] = 0
        remainders[index] = ZERO
        if weights[index] > 0:
            total += np.uint64(weights[index])
            if total >= _WEIGHT_LIMIT:
                return False, True
    if total == ZERO:
        return True, False
    magnitude = np.uint64(-amount if amount < 0 else amount)
    left = magnitude
    for index in range(count):
        if weights[index] > 0:
            lo, hi = umul64(magnitude, np.uint64(weights[index]))
            part, remainders[index] = divide_pair(lo, hi, total)
            parts[index] = np.int64(part)
            left -= part
    while left != ZERO:
        largest = 0
        for index in range(1, count):
            if remainders[index] > remainders[largest]:
                largest = index
        # There are more remainders above 0 than units, so one that has its unit is never found again.
        remainders[largest] = ZERO
        parts[largest] += 1
        left -= ONE
    if amount < 0:
        for index in range(count):
            parts[index] = -parts[index]
    return True, True
