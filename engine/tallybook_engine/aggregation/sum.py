"""Sum of a value over the events (Stripe meters: sum; Lago: sum_agg)."""

from __future__ import annotations

import numpy as np

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import add128


@kernel
def sum_after(
    low: np.uint64, high: np.uint64, value_low: np.uint64, value_high: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """The quantity after one more event; scale 12, two limbs each."""
    return add128(low, high, value_low, value_high)
