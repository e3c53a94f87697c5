"""Minimum: a level comes to at least so much in a billing period; the true-up is a line of its own, after the cap.

The amount is of rounded lines, so that the true-up is what the shown lines lack (Flexprice and Lago do the same).
"""

from __future__ import annotations

import numpy as np

from tallybook_engine.kernels import kernel

NO_MINIMUM = -(2**63)
"""The minimum of a level without one: nothing is below it."""

_LARGEST = np.int64(2**63 - 1)


@kernel
def true_up(amount: np.int64, minimum: np.int64) -> tuple[bool, np.int64]:
    """(fits, what an amount lacks, at least 0); minor units, the amount above -2^63.

    It fits where it is below 2^63: what an amount below 0 lacks need not.
    """
    if amount >= minimum:
        return True, np.int64(0)
    if amount < 0 and minimum > _LARGEST + amount:
        return False, np.int64(0)
    return True, minimum - amount
