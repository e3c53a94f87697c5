"""Largest value of the events (Lago: max_agg). Without events the quantity prices as 0."""

from __future__ import annotations

import numpy as np

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import lt128

NO_EVENT = -(10**27) + 1
"""Quantity of a maximum over no events, scale 12: the least value there is; it is shown as 0."""


@kernel
def max_after(
    low: np.uint64, high: np.uint64, value_low: np.uint64, value_high: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """The quantity after one more event; scale 12, two limbs each."""
    if lt128(low, high, value_low, value_high):
        return value_low, value_high
    return low, high
