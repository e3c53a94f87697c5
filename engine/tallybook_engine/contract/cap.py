"""Cap: a level comes to at most so much in a billing period; what is over it is taken off, after the discount."""

from __future__ import annotations

import numpy as np

from tallybook_engine.kernels import kernel

NO_CAP = 2**63 - 1
"""The cap of a level without one: nothing is above it."""


@kernel
def overage(amount: np.int64, cap: np.int64) -> np.int64:
    """What is taken off an amount, at least 0; minor units, the cap at least 0."""
    return amount - cap if amount > cap else np.int64(0)
