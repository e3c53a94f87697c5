"""Number of events (Stripe meters: count; Lago: count_agg): each is one unit, whatever it carries."""

from __future__ import annotations

import numpy as np

from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import add128

ONE_LOW = np.uint64(10**12)
ONE_HIGH = np.uint64(0)


@kernel
def count_after(low: np.uint64, high: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The quantity after one more event; scale 12."""
    return add128(low, high, ONE_LOW, ONE_HIGH)
