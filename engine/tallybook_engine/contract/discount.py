"""Discount: a percentage off what a level comes to, once that is above a threshold.

ALL takes the percentage of the whole amount, EXCESS of what lies above the threshold. The discount is rounded once,
half away from zero. It is the first of a level's modifiers, as OpenMeter applies it (percentage before maximum).
"""

from __future__ import annotations

import numpy as np

from tallybook_engine.contract.percentage import percentage_of
from tallybook_engine.kernels import kernel

NO_DISCOUNT = 0
"""The rate of a level without one."""


@kernel
def discount_of(amount: np.int64, threshold: np.int64, rate: np.int64, on_excess: bool) -> np.int64:
    """What is taken off an amount, at least 0; amounts in minor units, the rate of scale 12, from 0 to 1.

    `on_excess`: of what lies above the threshold, which is at least 0.
    """
    if amount <= max(threshold, np.int64(0)):
        return np.int64(0)
    # At most the amount itself, so that it fits.
    _, discount = percentage_of(amount - threshold if on_excess else amount, rate)
    return discount
